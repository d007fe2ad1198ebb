"""Servers on the nodes of a Ray cluster: Ray starts them, restarts them, adds nodes."""
