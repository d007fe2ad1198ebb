"""Runs: code that is ordered, kept by its id, and looked up until it is forgotten."""
