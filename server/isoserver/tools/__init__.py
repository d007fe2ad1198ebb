"""Tools: what code in contexts can call, where it comes from, and who may call it."""
