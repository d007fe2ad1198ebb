"""Contexts: where code runs, one process each, in the terms of Jupyter's protocol."""
