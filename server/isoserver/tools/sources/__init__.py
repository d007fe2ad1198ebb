"""Where tools come from: MCP servers, OpenAPI documents, GraphQL endpoints."""
