"""Code that runs for long, and is looked up by its id."""
