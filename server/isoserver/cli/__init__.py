"""The command line, above both packages."""
