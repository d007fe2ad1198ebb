"""HTTP apart from the features: server, handlers' root, guards, routes, OpenAPI."""
