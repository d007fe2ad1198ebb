"""What a route table is made of; Tornado and the OpenAPI document read it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic import BaseModel

    from isoserver.http.handlers import Handler

__all__ = [
    "GROUPS",
    "WAIT",
    "WAIT_MAX_MS",
    "Answer",
    "Operation",
    "Query",
    "Route",
    "in_group",
    "queries_of",
]


class Query(NamedTuple):
    """An argument in the query."""

    name: str
    description: str
    schema: dict[str, Any]


WAIT_MAX_MS: Final = 300_000
WAIT: Final = Query(
    "wait_ms",
    "Milliseconds that the answer waits for the execution's end.",
    {"type": "integer", "minimum": 0, "maximum": WAIT_MAX_MS, "default": 0},
)


class Answer(NamedTuple):
    """One status that an operation can answer with.

    Attributes:
        status: The status code.
        description: When it is answered.
        model: The body; None if there is none or it isn't JSON.
        media: The body's content type.
    """

    status: int
    description: str
    model: type[BaseModel] | None = None
    media: str = "application/json"


class Operation(NamedTuple):
    """A method of a path.

    Attributes:
        method: The method.
        summary: What it does.
        answers: What it answers; errors that every operation has can be left out.
        request: The body, if it has one.
        queries: Arguments in the query.
        texts: Content types of bodies of text, which are accepted as well.
        body_optional: Whether the body may be left out.
        example: A body, as plain data; whatever has a body has one.
        raw: Whether the body is the content of a file, and nothing else.
    """

    method: str
    summary: str
    answers: tuple[Answer, ...]
    request: type[BaseModel] | None = None
    queries: tuple[Query, ...] = ()
    texts: tuple[str, ...] = ()
    body_optional: bool = False
    example: Any = None
    raw: bool = False


class Route(NamedTuple):
    """A path, `{name}` standing for a variable segment, and what handles it.

    `{path}` stands for all that follows, slashes too.

    Attributes:
        path: The path.
        handler: Its handler.
        operations: Its methods.
        group: The heading that the document has it under, a key of `GROUPS`.
    """

    path: str
    handler: type[Handler]
    operations: tuple[Operation, ...]
    group: str = ""


GROUPS: Final = {
    "Contexts": "REPLs that keep their state: run cells in them, complete, inspect, "
    "fork and save them.",
    "Files": "The folder that each context has: list, read, write, move and delete "
    "what is in it.",
    "Executions": "Code that the server runs by itself and keeps, to be looked up, "
    "read page by page, and cancelled.",
    "Heaps and sessions": "Saved contexts, by key and by tag; histories by name.",
    "Tools": "Where the functions for code come from, who may call what, what waits "
    "for a decision, and what was done.",
    "Tasks": "Code that calls tools.",
    "Server": "Health, figures, documents, and the client.",
}
"""The headings of the document, with what they say."""


def in_group(name: str, routes: Iterable[Route]) -> tuple[Route, ...]:
    """Put routes under a heading of the document."""
    return tuple(route._replace(group=name) for route in routes)


def queries_of(model: type[BaseModel]) -> tuple[Query, ...]:
    """Return the arguments that a model reads from the query."""
    found = []
    for name, schema in model.model_json_schema()["properties"].items():
        plain: dict[str, Any] = {
            key: value
            for key, value in schema.items()
            if key not in {"title", "description", "default"}
        }
        # An argument that isn't there is how null is written.
        choices = [one for one in plain.pop("anyOf", []) if one.get("type") != "null"]
        plain.update(*choices)
        if schema.get("default") is not None:
            plain["default"] = schema["default"]
        found.append(Query(name, schema["description"], plain))
    return tuple(found)
