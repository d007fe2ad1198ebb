"""Who makes a request, what that principal may use, and how often."""
