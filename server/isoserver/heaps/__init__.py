"""Heaps: saved states of V8 contexts, under the hash of their content."""
