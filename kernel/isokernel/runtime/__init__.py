"""The JavaScript side of a context, and how Python reads it."""
