"""Resources: the server's documents, executions, their output, heaps, files."""

from __future__ import annotations

import base64
import json
import mimetypes
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import quote, unquote

from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_PARAMS,
    BlobResourceContents,
    ReadResourceResult,
    Resource,
    ResourceTemplate,
    TextResourceContents,
)

from isoserver.errors import ElsewhereError, ServerError
from isoserver.files.models import file_answer
from isoserver.files.whole import read_file, read_folder
from isoserver.mcp.executions import describe, some_output
from isoserver.mcp.facts import ANY_CLIENT
from isoserver.mcp.texts import read
from isoserver.mcp.tools import explain
from isoserver.runs.records import Kind

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from isoserver.http.parts import ServerParts
    from isoserver.mcp.tools import McpTools

__all__ = ["DOCUMENTS", "TEMPLATES", "Document", "Resources", "Template"]

_MARKDOWN: Final = "text/markdown"
_JSON: Final = "application/json"
_TEXT: Final = "text/plain"
_OUTPUT_MAX: Final = 300_000
"""Bytes of output that a resource shows; get_execution_output has the rest."""
_FILES_MAX: Final = 1000
"""Files that a resource lists; HTTP lists all."""


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


class Document(NamedTuple):
    """A resource that is always there, and what makes its text."""

    entry: Resource
    text: Callable[[ServerParts, McpTools], str]


class Template(NamedTuple):
    """Resources of one kind: their URIs, and what reads one of a workspace."""

    entry: ResourceTemplate
    pattern: re.Pattern[str]
    read: Callable[..., Awaitable[str | bytes]]


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
        self._tools = tools
        self._documents = {document.entry.uri: document for document in DOCUMENTS}
        self.entries = [document.entry for document in self._documents.values()]
        self._templates = [] if parts.settings.stateless else TEMPLATES
        self.templates = [template.entry for template in self._templates]

    async def complete(self, workspace: str, uri: str, argument: str) -> list[str]:
        """Return what a variable of a template could be, the newest first.

        Raises:
            MCPError: There is no such template.
        """
        templates = [template.uri_template for template in self.templates]
        if uri not in templates:
            raise missing(uri, f"Templates are: {', '.join(templates) or 'none'}")
        if f"{{{argument}}}" not in uri:
            return []
        if argument == "key":
            heaps = await self._parts.heaps.newest(workspace, {})
            return [heap.key for heap in heaps]
        records = await self._parts.runs.list(Kind.SCRIPT, workspace)
        return [record.id for record in records]

    async def read(self, workspace: str, uri: str) -> ReadResourceResult:
        """Read a resource.

        Raises:
            MCPError: There is no such resource, or it can't be read.
        """
        if uri in self._documents:
            document = self._documents[uri]
            return _result(uri, document.entry, document.text(self._parts, self._tools))
        for template in self._templates:
            match = template.pattern.fullmatch(uri)
            if match is None:
                continue
            try:
                found = await template.read(self._parts, workspace, *match.groups())
            except ElsewhereError:
                raise
            except (ServerError, UnicodeDecodeError) as error:
                text = explain(error) if isinstance(error, ServerError) else str(error)
                raise missing(uri, text) from error
            return _result(uri, template.entry, found)
        names = [*self._documents, *(entry.uri_template for entry in self.templates)]
        raise missing(uri, f"There are: {', '.join(names)}")


def missing(uri: str, text: str) -> MCPError:
    """Return the error for a resource that there isn't, or that can't be read."""
    message = f"There is no resource {uri[:128]!r}. {text}"
    return MCPError(code=INVALID_PARAMS, message=message, data={"uri": uri[:1024]})


def _result(
    uri: str, entry: Resource | ResourceTemplate, found: str | bytes
) -> ReadResourceResult:
    kind = entry.mime_type or mimetypes.guess_type(uri)[0]
    if isinstance(found, bytes):
        try:
            text = found.decode()
        except UnicodeDecodeError:
            blob = base64.b64encode(found).decode()
            kind = kind or "application/octet-stream"
            contents = BlobResourceContents(uri=uri, mime_type=kind, blob=blob)
            return ReadResourceResult(contents=[contents])
    else:
        text = found
    shown = TextResourceContents(uri=uri, mime_type=kind or _TEXT, text=text)
    return ReadResourceResult(contents=[shown])


def _plain(tools: McpTools) -> list[Any]:
    return [
        entry.model_dump(by_alias=True, mode="json", exclude_none=True)
        for entry in tools.entries(ANY_CLIENT)
    ]


async def _read_output(parts: ServerParts, workspace: str, execution_id: str) -> str:
    return await some_output(parts, workspace, execution_id, _OUTPUT_MAX)


async def _read_execution(parts: ServerParts, workspace: str, execution_id: str) -> str:
    record = await parts.runs.get(Kind.SCRIPT, workspace, execution_id)
    return json.dumps(describe(record), indent=2)


async def _read_heap(parts: ServerParts, workspace: str, key: str) -> str:
    record = await parts.heaps.get(workspace, key)
    return json.dumps(record._asdict(), indent=2)


async def _list_files(parts: ServerParts, workspace: str, context_id: str) -> str:
    name = unquote(context_id, errors="strict")
    await parts.contexts.adopt(workspace, name)
    context = parts.contexts.get(workspace, name)
    found = await read_folder(parts.files, context.key)
    place = f"context://{context_id}/files/"
    files = [
        {**file_answer(one.path, one.kind, one.facts), "uri": place + quote(one.path)}
        for one in found[:_FILES_MAX]
    ]
    return json.dumps({"files": files, "more": max(0, len(found) - _FILES_MAX)})


async def _read_file(
    parts: ServerParts, workspace: str, context_id: str, path: str
) -> bytes:
    name = unquote(context_id, errors="strict")
    await parts.contexts.adopt(workspace, name)
    context = parts.contexts.get(workspace, name)
    return await read_file(parts.files, context.key, unquote(path, errors="strict"))


DOCUMENTS: Final = [
    Document(_README, lambda _parts, _tools: read("readme")),
    Document(_TOOLS, lambda _parts, tools: json.dumps(_plain(tools))),
    Document(_OPENAPI, lambda parts, _tools: json.dumps(parts.document())),
]
TEMPLATES: Final = [
    Template(
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
    Template(
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
    Template(
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
    Template(
        ResourceTemplate(
            uri_template="context://{context_id}/files",
            name="context-files",
            title="The files of a context",
            description="What is in the context's folder, with the URI of each file.",
            mime_type=_JSON,
        ),
        re.compile(r"context://([^/]+)/files"),
        _list_files,
    ),
    Template(
        ResourceTemplate(
            uri_template="context://{context_id}/files/{+path}",
            name="context-file",
            title="A file of a context",
            description="Its content, as text if it is UTF-8; a session's name is the "
            "id of its context.",
        ),
        re.compile(r"context://([^/]+)/files/(.+)", re.DOTALL),
        _read_file,
    ),
]
