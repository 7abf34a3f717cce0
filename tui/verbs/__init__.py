"""The commands: the app's work without the app. Data goes to stdout, narration to stderr."""
