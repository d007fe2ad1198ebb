"""Persistent V8 contexts for notebooks, programs and agents."""
