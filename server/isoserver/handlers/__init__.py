"""What answers HTTP requests: parse, one call, status."""
