"""What code in a context can call: sources, their tools, and who may."""
