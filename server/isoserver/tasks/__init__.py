"""Tasks: code that runs to an end with tools at hand, and can be looked up later."""
