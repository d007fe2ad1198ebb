"""Operations of an OpenAPI document, and what they are called."""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

from isoserver.tools.names import distinct, snake

__all__ = ["READS", "Body", "Operation", "Parameter", "names"]

READS: Final = frozenset({"get", "head", "options"})
"""Methods that change nothing."""


class Parameter(NamedTuple):
    """A parameter of an operation.

    Attributes:
        field: Its name in the tool's input.
        name: Its own name.
        place: path, query, header or cookie.
        style: How arrays and objects are written.
        explode: Whether each of their parts is written by itself.
        as_json: Whether it is written as JSON.
        required: Whether it has to be there.
        schema: What it may be.
    """

    field: str
    name: str
    place: str
    style: str
    explode: bool
    as_json: bool
    required: bool
    schema: dict[str, Any]


class Body(NamedTuple):
    """The body of an operation.

    Attributes:
        kind: Its media type.
        required: Whether it has to be there.
        schema: What it may be.
    """

    kind: str
    required: bool
    schema: dict[str, Any]


class Operation(NamedTuple):
    """An operation.

    Attributes:
        name: Its name within the source.
        original: Its operationId, or method and path.
        description: What it does.
        method: The method, in lower case.
        path: The path, with its placeholders.
        parameters: The parameters.
        body: The body, if it takes one that can be written.
        output: JSON Schema of what it answers when all is well.
    """

    name: str
    original: str
    description: str
    method: str
    path: str
    parameters: tuple[Parameter, ...]
    body: Body | None
    output: Any


def names(found: list[tuple[Operation, list[str]]]) -> list[str]:
    """Name operations; of those that would be the same, the tag comes before."""
    plain = [_name(operation) for operation, _ in found]
    counts: dict[str, int] = {}
    for name in plain:
        counts[name] = counts.get(name, 0) + 1
    return distinct(
        [
            f"{snake(tags[0])}.{name}" if counts[name] > 1 and tags else name
            for name, (_, tags) in zip(plain, found, strict=True)
        ]
    )


def _name(operation: Operation) -> str:
    if operation.original == f"{operation.method} {operation.path}":
        path = re.sub(r"[{}]", "", operation.path).replace("/", "_")
        return snake(f"{operation.method}_{path}")
    parts = [part for part in re.split(r"[/.]", operation.original) if part.strip()]
    return ".".join(snake(part) for part in parts) or "tool"
