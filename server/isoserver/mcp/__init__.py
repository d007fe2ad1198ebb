"""The door for agents: the Model Context Protocol over stdio, HTTP and SSE."""
