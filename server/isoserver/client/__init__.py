"""The command-line client: the standard library alone, so that it is a single file."""
