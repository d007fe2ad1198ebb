"""Resources: the server's documents, executions and their output, heaps."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_PARAMS,
    ReadResourceResult,
    Resource,
    ResourceTemplate,
    TextResourceContents,
)

from isoserver.errors import ServerError
from isoserver.mcp.executions import describe, some_output
from isoserver.mcp.texts import read
from isoserver.mcp.tools import explain
from isoserver.runs.records import Kind

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from isoserver.http.parts import ServerParts
    from isoserver.mcp.tools import McpTools

__all__ = ["Resources"]

_MARKDOWN: Final = "text/markdown"
_JSON: Final = "application/json"
_TEXT: Final = "text/plain"
_OUTPUT_MAX: Final = 300_000
"""Bytes of output that a resource shows; get_execution_output has the rest."""


_README: Final = Resource(
    uri="docs://readme",
    name="readme",
    title="How to work with this server",
    description="Running code, state, output, errors; read this first.",
    mime_type=_MARKDOWN,
)
_TOOLS: Final = Resource(
    uri="docs://tools",
    name="tools",
    title="The tools with their schemas",
    description="Every tool: description, arguments, results.",
    mime_type=_JSON,
)
_OPENAPI: Final = Resource(
    uri="docs://openapi",
    name="openapi",
    title="The HTTP API",
    description="The same contexts over HTTP: the OpenAPI document.",
    mime_type=_JSON,
)


class _Template(NamedTuple):
    entry: ResourceTemplate
    pattern: re.Pattern[str]
    read: Callable[[ServerParts, str, str], Awaitable[str]]


class Resources:
    """What clients can read, by URI.

    Attributes:
        entries: The resources that are always there.
        templates: Those that there is one of for each execution or heap; none if the
            server is stateless.
    """

    def __init__(self, parts: ServerParts, tools: McpTools) -> None:
        """List the resources of a server.

        Args:
            parts: The server's parts.
            tools: The tools, for their schemas.
        """
        self._parts = parts
        self._documents: dict[str, tuple[Resource, Callable[[], str]]] = {
            entry.uri: (entry, text)
            for entry, text in (
                (_README, lambda: read("readme")),
                (_TOOLS, lambda: json.dumps(_plain(tools))),
                (_OPENAPI, lambda: json.dumps(parts.document())),
            )
        }
        self.entries = [entry for entry, _ in self._documents.values()]
        self._templates = [] if parts.settings.stateless else _TEMPLATES
        self.templates = [template.entry for template in self._templates]

    async def read(self, workspace: str, uri: str) -> ReadResourceResult:
        """Read a resource.

        Raises:
            MCPError: There is no such resource, or it can't be read.
        """
        if uri in self._documents:
            document, text = self._documents[uri]
            return _result(uri, document, text())
        for template in self._templates:
            match = template.pattern.fullmatch(uri)
            if match is None:
                continue
            try:
                found = await template.read(self._parts, workspace, match.group(1))
            except ServerError as error:
                raise _missing(uri, explain(error)) from error
            return _result(uri, template.entry, found)
        names = [*self._documents, *(entry.uri_template for entry in self.templates)]
        raise _missing(uri, f"There are: {', '.join(names)}")


def _missing(uri: str, text: str) -> MCPError:
    message = f"There is no resource {uri[:128]!r}. {text}"
    return MCPError(code=INVALID_PARAMS, message=message, data={"uri": uri[:1024]})


def _result(
    uri: str, entry: Resource | ResourceTemplate, text: str
) -> ReadResourceResult:
    contents = TextResourceContents(uri=uri, mime_type=entry.mime_type, text=text)
    return ReadResourceResult(contents=[contents])


def _plain(tools: McpTools) -> list[Any]:
    return [
        entry.model_dump(by_alias=True, mode="json", exclude_none=True)
        for entry in tools.entries
    ]


async def _read_output(parts: ServerParts, workspace: str, execution_id: str) -> str:
    return await some_output(parts, workspace, execution_id, _OUTPUT_MAX)


async def _read_execution(parts: ServerParts, workspace: str, execution_id: str) -> str:
    record = await parts.runs.get(Kind.SCRIPT, workspace, execution_id)
    return json.dumps(describe(record), indent=2)


async def _read_heap(parts: ServerParts, workspace: str, key: str) -> str:
    record = await parts.heaps.get(workspace, key)
    return json.dumps(record._asdict(), indent=2)


_TEMPLATES: Final = [
    _Template(
        ResourceTemplate(
            uri_template="execution://{id}/output",
            name="execution-output",
            title="What an execution printed",
            description="Console output so far, from the beginning.",
            mime_type=_TEXT,
        ),
        re.compile(r"execution://([^/]+)/output"),
        _read_output,
    ),
    _Template(
        ResourceTemplate(
            uri_template="execution://{id}",
            name="execution",
            title="Status and result of an execution",
            description="What get_execution answers.",
            mime_type=_JSON,
        ),
        re.compile(r"execution://([^/]+)"),
        _read_execution,
    ),
    _Template(
        ResourceTemplate(
            uri_template="heap://{key}",
            name="heap",
            title="A heap snapshot",
            description="Size, age, origin and tags of a heap; not its bytes.",
            mime_type=_JSON,
        ),
        re.compile(r"heap://([^/]+)"),
        _read_heap,
    ),
]
