"""The Model Context Protocol over stdio, streamable HTTP and SSE."""
