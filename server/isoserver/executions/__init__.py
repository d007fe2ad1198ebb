"""Executions: code that runs by itself, and what stays of it to be looked up."""
