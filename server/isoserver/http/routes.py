"""What a route table is made of; Tornado and the OpenAPI document read it."""

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
    """

    method: str
    summary: str
    answers: tuple[Answer, ...]
    request: type[BaseModel] | None = None
    queries: tuple[Query, ...] = ()
    texts: tuple[str, ...] = ()
    body_optional: bool = False


class Route(NamedTuple):
    """A path, `{name}` standing for a variable segment, and what handles it."""

    path: str
    handler: type[Handler]
    operations: tuple[Operation, ...]


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
