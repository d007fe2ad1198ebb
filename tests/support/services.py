"""Services of ours on loopback: one with an OpenAPI document, one with GraphQL."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import graphql
from tornado.httpserver import HTTPServer
from tornado.iostream import StreamClosedError
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

if TYPE_CHECKING:
    from collections.abc import Callable


KEY = "s3cret/key+of==the service"

DOCUMENT: dict[str, Any] = {
    "openapi": "3.0.3",
    "info": {"title": "Issues", "version": "1"},
    "paths": {
        "/repos/{owner}/issues": {
            "parameters": [
                {
                    "name": "owner",
                    "in": "path",
                    "required": True,
                    "schema": {"type": "string"},
                }
            ],
            "get": {
                "operationId": "issues/list",
                "summary": "List issues",
                "tags": ["issues"],
                "parameters": [
                    {"$ref": "#/components/parameters/labels"},
                    {
                        "name": "filter",
                        "in": "query",
                        "style": "deepObject",
                        "explode": True,
                        "schema": {"type": "object"},
                    },
                    {
                        "name": "X-Trace",
                        "in": "header",
                        "schema": {"type": "string"},
                    },
                    {"name": "session", "in": "cookie", "schema": {"type": "string"}},
                ],
                "responses": {
                    "200": {
                        "description": "ok",
                        "content": {
                            "application/json": {
                                "schema": {
                                    "type": "array",
                                    "items": {"$ref": "#/components/schemas/Issue"},
                                }
                            }
                        },
                    }
                },
            },
            "post": {
                "operationId": "issues/create",
                "summary": "Create an issue",
                "tags": ["issues"],
                "requestBody": {
                    "required": True,
                    "content": {
                        "application/json": {
                            "schema": {"$ref": "#/components/schemas/NewIssue"}
                        }
                    },
                },
                "responses": {"201": {"description": "made"}},
            },
        },
        "/form": {
            "post": {
                "requestBody": {
                    "content": {
                        "application/x-www-form-urlencoded": {
                            "schema": {
                                "type": "object",
                                "properties": {"a": {"type": "string"}},
                            }
                        }
                    }
                },
                "responses": {"200": {"description": "ok"}},
            }
        },
        "/odd/{kind}": {
            "get": {
                "operationId": "odd",
                "parameters": [
                    {
                        "name": "kind",
                        "in": "path",
                        "required": True,
                        "schema": {"type": "string"},
                    }
                ],
                "responses": {"200": {"description": "ok"}},
            }
        },
    },
    "components": {
        "parameters": {
            "labels": {
                "name": "labels",
                "in": "query",
                "schema": {"type": "array", "items": {"type": "string"}},
            }
        },
        "schemas": {
            "NewIssue": {
                "type": "object",
                "required": ["title"],
                "properties": {
                    "title": {"type": "string", "minLength": 1},
                    "body": {"type": "string", "nullable": True},
                    "parent": {"$ref": "#/components/schemas/Issue"},
                },
            },
            "Issue": {
                "type": "object",
                "properties": {
                    "number": {
                        "type": "integer",
                        "minimum": 0,
                        "exclusiveMinimum": True,
                    },
                    "parent": {"$ref": "#/components/schemas/Issue"},
                },
            },
        },
    },
}

SDL = """
"A person."
type Person { id: ID!, name: String!, boss: Person, friends(first: Int!): [Person!] }
input Change { name: String!, tags: [String!], kind: Kind }
enum Kind { GOOD BAD }
type Query {
  "Find a person."
  person(id: ID!): Person
  people: [Person!]!
  version: String!
  broken: String
  secretPlan: String
}
type Mutation { rename(id: ID!, change: Change!): Person, wipe: Boolean }
"""

PEOPLE: dict[str, dict[str, Any]] = {
    "1": {"id": "1", "name": "Ada", "boss": {"id": "2", "name": "Bob", "boss": None}}
}


class _Handler(RequestHandler):
    def log_exception(self, *_: Any) -> None:
        """Keep what a test provokes out of the output."""

    def seen(self) -> dict[str, Any]:
        """What was received."""
        return {
            "path": self.request.path,
            "query": self.request.query,
            "headers": dict(self.request.headers),
            "body": self.request.body.decode("utf-8", "replace"),
        }


class _Document(_Handler):
    def get(self) -> None:
        self.finish(DOCUMENT)


class _Elsewhere(_Handler):
    def get(self) -> None:
        self.finish({**DOCUMENT, "servers": [{"url": "https://evil.example/api"}]})


class _Old(_Handler):
    def get(self) -> None:
        self.finish({"swagger": "2.0", "paths": {}})


class _Issues(_Handler):
    def get(self, owner: str) -> None:
        self.set_header("Content-Type", "application/json")
        self.finish(json.dumps([self.seen() | {"owner": owner}]))

    def post(self, owner: str) -> None:
        self.set_status(201)
        self.finish(self.seen() | {"owner": owner})


class _Form(_Handler):
    def post(self) -> None:
        self.finish(self.seen())


class _Odd(_Handler):
    async def get(self, kind: str) -> None:  # noqa: C901 - one for each kind
        if kind == "echo":
            self.finish({"you sent": self.request.headers.get("Authorization")})
        elif kind == "big":
            with suppress(StreamClosedError):
                for _ in range(800):
                    self.write(b"x" * 65536)
                    await self.flush()
                await self.finish()
        elif kind == "bomb":
            import gzip  # noqa: PLC0415

            self.set_header("Content-Encoding", "gzip")
            self.finish(gzip.compress(b"0" * 50_000_000))
        elif kind == "empty":
            self.set_status(204)
        elif kind == "text":
            self.set_header("Content-Type", "text/plain; charset=latin-1")
            self.finish("café".encode("latin-1"))
        elif kind == "bytes":
            self.set_header("Content-Type", "image/png")
            self.finish(b"\x89PNG")
        elif kind == "away":
            self.redirect("http://example.org/elsewhere")
        elif kind == "near":
            self.redirect("/odd/text")
        elif kind == "busy":
            self.set_header("Retry-After", "7")
            self.set_status(503)
            self.finish({"why": "busy", "key": self.request.headers["Authorization"]})
        elif kind == "hang":
            self.settings["hanging"].append(self)
            await self.settings["never"]
        else:
            self.set_status(404)
            self.finish({"why": "there is no such thing"})


class _Graphql(_Handler):
    async def post(self) -> None:
        given = json.loads(self.request.body)
        self.settings["seen"].append(given)
        made = graphql.graphql_sync(
            self.settings["schema"],
            given["query"],
            root_value=self.settings["root"],
            variable_values=given.get("variables"),
            operation_name=given.get("operationName"),
        )
        self.finish(dict(made.formatted))


def _broken(_info: Any) -> str:
    message = "it is broken"
    raise ValueError(message)


class Services:
    """Both, on one port."""

    def __init__(self, never: Callable[[], Any]) -> None:
        self.seen: list[Any] = []
        self.hanging: list[Any] = []
        root = {
            "person": lambda _info, id: PEOPLE.get(id),  # noqa: A006 - the schema's
            "people": lambda _info: list(PEOPLE.values()),
            "version": "1",
            "broken": _broken,
            "secretPlan": "none",
            "rename": lambda _info, id, change: {**PEOPLE[id], "name": change["name"]},  # noqa: A006
            "wipe": True,
        }
        application = Application(
            [
                ("/openapi.json", _Document),
                ("/elsewhere", _Elsewhere),
                ("/old", _Old),
                ("/repos/(.*)/issues", _Issues),
                ("/form", _Form),
                ("/odd/(.*)", _Odd),
                ("/graphql", _Graphql),
            ],
            log_function=lambda _: None,
            never=never(),
            root=root,
            seen=self.seen,
            hanging=self.hanging,
            schema=graphql.build_schema(SDL),
        )
        self._server = HTTPServer(application)
        sockets = bind_sockets(0, "127.0.0.1")
        self._server.add_sockets(sockets)
        self.url = f"http://127.0.0.1:{sockets[0].getsockname()[1]}"

    async def close(self) -> None:
        """Stop."""
        self._server.stop()
        await self._server.close_all_connections()

    def openapi(self, **fields: Any) -> dict[str, Any]:
        """The configuration of the one."""
        return {
            "type": "openapi",
            "name": "github",
            "workspace": "default",
            "document": f"{self.url}/openapi.json",
            "auth": {"type": "bearer", "token": KEY},
            **fields,
        }

    def graphql(self, **fields: Any) -> dict[str, Any]:
        """The configuration of the other."""
        return {
            "type": "graphql",
            "name": "people",
            "workspace": "default",
            "url": f"{self.url}/graphql",
            **fields,
        }
