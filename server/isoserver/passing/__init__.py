"""Requests for other servers of a cluster: passed on to them, and answered."""
