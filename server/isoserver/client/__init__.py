"""The command-line client: the standard library only, so that one file is all of it."""
