"""TypeScript to JavaScript: SWC, running in V8, in an isolate of its own."""
