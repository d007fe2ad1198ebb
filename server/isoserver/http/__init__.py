"""HTTP without any feature: the handlers' root, routes, bodies, guards, OpenAPI."""
