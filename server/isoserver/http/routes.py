"""What a route table is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from pydantic import BaseModel

    from isoserver.http.handlers import Handler

__all__ = ["Answer", "Operation", "Query", "Route", "queries_of"]


class Query(NamedTuple):
    """An argument in the query."""

    name: str
    description: str
    schema: dict[str, Any]


class Answer(NamedTuple):
    """One status that an operation can have.

    Attributes:
        status: The status code.
        description: When it comes.
        model: What the body is; None if there is none, or it is no JSON.
        media: Its content type.
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
        answers: What it answers when all is well, and errors of its own.
        request: The body, if it takes one.
        queries: Arguments in the query.
        body_optional: Whether the body may be left out.
        texts: Content types of bodies that are text, which it takes as well.
    """

    method: str
    summary: str
    answers: tuple[Answer, ...]
    request: type[BaseModel] | None = None
    queries: tuple[Query, ...] = ()
    texts: tuple[str, ...] = ()
    body_optional: bool = False


class Route(NamedTuple):
    """A path."""

    path: str
    handler: type[Handler]
    operations: tuple[Operation, ...]


def queries_of(model: type[BaseModel]) -> tuple[Query, ...]:
    """Give the arguments that a model reads from the query."""
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
