"""JSON Schemas: inputs checked against them, and what they refer to collected.

Patterns run in linear time where they can, else with a bound, and nothing is ever
fetched: schemas come from others, and inputs from untrusted code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import jsonschema_rs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from isoserver.tools.tool import Tool

__all__ = ["PREFIX", "Checker", "complete", "references"]

PREFIX: Final = "#/$defs/"
"""How schemas refer to the definitions of their source."""

_PROBLEMS_MAX: Final = 20
_MESSAGE_MAX: Final = 300
_BACKTRACK_MAX: Final = 100_000
_NODES_MAX: Final = 200_000


def references(schema: Any) -> Iterator[str]:
    """Yield the names of the definitions that a schema refers to."""
    waiting = [schema]
    for _ in range(_NODES_MAX):
        if not waiting:
            return
        part = waiting.pop()
        if isinstance(part, dict):
            target = part.get("$ref")
            if isinstance(target, str) and target.startswith(PREFIX):
                yield target[len(PREFIX) :].partition("/")[0]
            waiting.extend(part.values())
        elif isinstance(part, list):
            waiting.extend(part)


def complete(schema: Any, definitions: Mapping[str, Any]) -> Any:
    """Return a schema together with the definitions that it needs."""
    if not definitions or not isinstance(schema, dict):
        return schema
    needed: dict[str, Any] = {}
    waiting = list(references(schema))
    while waiting:
        name = waiting.pop()
        if name in definitions and name not in needed:
            needed[name] = definitions[name]
            waiting.extend(references(definitions[name]))
    if not needed:
        return schema
    return {**schema, "$defs": {**needed, **schema.get("$defs", {})}}


class Checker:
    """Checks the inputs of one tool."""

    def __init__(self, tool: Tool) -> None:
        """Compile the tool's schema; one that makes no sense checks nothing."""
        self._validator = _compile(complete(tool.input_schema, tool.definitions))

    def problems(self, value: Any) -> list[dict[str, str]]:
        """Return what is wrong with an input, by field; empty if nothing is."""
        if self._validator is None:
            return []
        found = []
        for error in self._validator.iter_errors(value):
            place = ".".join(str(part) for part in error.instance_path)
            found.append(
                {"field": place or "input", "error": error.message[:_MESSAGE_MAX]}
            )
            if len(found) == _PROBLEMS_MAX:
                break
        return found


def _compile(schema: Any) -> Any:
    for options in (
        jsonschema_rs.RegexOptions(),
        # Look-around and back-references, which the other kind doesn't know.
        jsonschema_rs.FancyRegexOptions(backtrack_limit=_BACKTRACK_MAX),
    ):
        try:
            return jsonschema_rs.validator_for(
                schema, pattern_options=options, retriever=_refuse
            )
        except (ValueError, LookupError):  # noqa: PERF203 - twice at most
            continue
    return None


def _refuse(uri: str) -> Any:
    message = f"{uri} is not fetched"
    raise LookupError(message)
