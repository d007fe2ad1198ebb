"""From a cell's text to what V8 runs."""
