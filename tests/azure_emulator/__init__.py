"""An Azure on the loopback interface that the unpatched SDKs talk to."""
