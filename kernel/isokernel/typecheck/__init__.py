"""Checking the types of code before it runs, with TypeScript's own checker in V8."""
