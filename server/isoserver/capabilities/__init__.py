"""What code may do beyond its context: decided by policies, done by the server."""
