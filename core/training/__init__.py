"""The local engine. Only workers import it: it needs torch."""
