"""Events as Jupyter messages, messages as bytes."""
