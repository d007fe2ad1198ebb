"""The folders of contexts: made on first use, read and written over HTTP and MCP."""
