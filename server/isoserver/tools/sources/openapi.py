"""A service that an OpenAPI document describes, as a source."""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, unquote, urljoin

import msgspec

from isokernel.timeouts import timeout
from isoserver.errors import SourceError, ToolArgumentsError
from isoserver.tools.sources.base import Source
from isoserver.tools.sources.credentials import is_url
from isoserver.tools.sources.fetcher import Fetcher, origin, read_file
from isoserver.tools.sources.openapi_document import (
    READS,
    Document,
    ServiceOperation,
)
from isoserver.tools.tool import Tool

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from isoserver.settings.tools import OpenapiSettings
    from isoserver.tools.sources.base import SourceLimits
    from isoserver.tools.sources.openapi_document import Parameter

__all__ = ["Openapi"]

_DOTS: Final = frozenset({".", ".."})
_ENDS: Final = re.compile(r"[/\\?#]")
_SEPARATORS: Final = {"form": ",", "spaceDelimited": " ", "pipeDelimited": "|"}


class Openapi(Source):
    """A service as a source."""

    configuration: OpenapiSettings

    def __init__(
        self,
        configuration: OpenapiSettings,
        limits: SourceLimits,
        log: FilteringBoundLogger,
    ) -> None:
        """Do as `Source` does."""
        super().__init__(configuration, limits, log)
        self._base = ""
        self._fetcher = Fetcher(self.credentials, limits)

    @property
    def location(self) -> str:
        """Where it is: the origin of its URL, or the name of the document's file."""
        place = self.configuration.base_url or self.configuration.document
        return origin(place) if is_url(place) else Path(place).name

    # -- the document ------------------------------------------------------------------

    async def _serve(self) -> None:
        while True:
            async with timeout(self.limits.start_timeout_seconds):
                document = await self._document()
            self._base = self._base_url(document)
            # Thousands of operations take a while.
            self._ready(await asyncio.to_thread(self._tools, document))
            await self._again.wait()
            self._again.clear()

    async def _document(self) -> Document:
        place = self.configuration.document
        if not is_url(place):
            data = await asyncio.to_thread(
                read_file, place, self.limits.document_bytes_max
            )
            return await asyncio.to_thread(Document, data, place.lower())
        base = self.configuration.base_url
        trusted = base is None or origin(base) == origin(place)
        found = await self._fetcher.document(place, trusted=trusted)
        return await asyncio.to_thread(Document, found.body, found.kind)

    def _base_url(self, document: Document) -> str:
        """Find where the service is.

        Raises:
            SourceError: That isn't said, or is said by a document that shouldn't.
        """
        given = self.configuration.base_url
        if given is not None:
            return given.rstrip("/")
        place = self.configuration.document
        remote = is_url(place)
        base = urljoin(place, document.server or "/") if remote else document.server
        if not is_url(base):
            message = "the document does not say where the service is: set base_url"
            raise SourceError(message)
        secret = bool(self.credentials.headers or self.credentials.query)
        if remote and secret and origin(base) != origin(place):
            # Else whoever writes the document could have the key sent to him.
            message = f"the document names another host, {origin(base)}: set base_url"
            raise SourceError(message)
        return base.rstrip("/")

    def _tools(self, document: Document) -> list[Tool]:
        return [
            Tool(
                source=self.name,
                path=f"{self.name}.{operation.name}",
                original=operation.original,
                description=operation.description,
                reads=operation.method in READS,
                input_schema=_input(operation),
                output_schema=operation.output,
                definitions=document.definitions,
                native=operation,
            )
            for operation in document.operations()
        ]

    async def close(self) -> None:
        """Close the connections."""
        await super().close()
        await self._fetcher.close()

    # -- calls -------------------------------------------------------------------------

    async def _call(self, tool: Tool, arguments: dict[str, Any]) -> Any:
        operation: ServiceOperation = tool.native
        url, parts = _request(tool, operation, arguments)
        found = await self._fetcher.call(
            tool.path, operation.method.upper(), self._base + url, **parts
        )
        return found.value()


def _input(operation: ServiceOperation) -> dict[str, Any]:
    properties = {one.field: one.schema for one in operation.parameters}
    required = [one.field for one in operation.parameters if one.required]
    if operation.body is not None:
        properties["body"] = operation.body.schema
        required += ["body"] if operation.body.required else []
    made: dict[str, Any] = {
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
    }
    return {**made, "required": required} if required else made


def _request(
    tool: Tool, operation: ServiceOperation, arguments: dict[str, Any]
) -> tuple[str, dict[str, Any]]:
    """Write a call as path and parts of a request.

    Raises:
        ToolArgumentsError: A value can't stand where it has to.
    """
    url = operation.path
    params: list[tuple[str, str]] = []
    headers: dict[str, str] = {}
    cookies: list[str] = []
    for one in operation.parameters:
        if one.field not in arguments or arguments[one.field] is None:
            continue
        value = arguments[one.field]
        if one.place == "query":
            params += _pairs(one, value)
            continue
        text = _simple(one, value)
        if one.place == "path":
            if not text:
                problem = {"field": one.field, "error": "can't be empty"}
                raise ToolArgumentsError(tool.path, [problem])
            url = url.replace(f"{{{one.name}}}", quote(text, safe=""))
        elif any(ord(char) < ord(" ") for char in text):
            problem = {"field": one.field, "error": "has control characters"}
            raise ToolArgumentsError(tool.path, [problem])
        elif one.place == "header":
            headers[one.name] = text
        else:
            cookies.append(f"{one.name}={quote(text, safe='')}")
    _check_path(tool, url)
    if cookies:
        headers["Cookie"] = "; ".join(cookies)
    parts: dict[str, Any] = {"params": params, "headers": headers}
    if operation.body is not None and "body" in arguments:
        parts |= _body(tool, operation.body.kind, arguments["body"], headers)
    return url, parts


def _check_path(tool: Tool, url: str) -> None:
    """Check that the values don't lead elsewhere, by whatever they make together.

    Raises:
        ToolArgumentsError: They do, alone or with what stands beside them.
    """
    if any(unquote(segment) in _DOTS for segment in _ENDS.split(url)):
        problem = {"field": "input", "error": "gives a path with . or .. in it"}
        raise ToolArgumentsError(tool.path, [problem])


def _body(tool: Tool, kind: str, value: Any, headers: dict[str, str]) -> dict[str, Any]:
    if kind == "application/x-www-form-urlencoded" and isinstance(value, dict):
        return {"data": {name: _text(part) for name, part in value.items()}}
    if kind == "multipart/form-data" and isinstance(value, dict):
        return {"files": {name: (None, _text(part)) for name, part in value.items()}}
    headers["Content-Type"] = kind
    if kind == "application/octet-stream" and isinstance(value, str):
        try:
            return {"content": base64.b64decode(value, validate=True)}
        except (binascii.Error, ValueError) as error:
            problem = {"field": "body", "error": "must be Base64"}
            raise ToolArgumentsError(tool.path, [problem]) from error
    if kind.startswith("text/"):
        return {"content": _text(value).encode()}
    return {"content": msgspec.json.encode(value)}


def _pairs(  # noqa: PLR0911 - one for each style
    one: Parameter, value: Any
) -> list[tuple[str, str]]:
    """Write a value into the query, in the style that the document says."""
    if one.as_json:
        return [(one.name, msgspec.json.encode(value).decode())]
    if isinstance(value, dict):
        if one.style == "deepObject":
            return [(f"{one.name}[{name}]", _text(v)) for name, v in value.items()]
        if one.explode:
            return [(name, _text(part)) for name, part in value.items()]
        flat = [text for name, part in value.items() for text in (name, _text(part))]
        return [(one.name, ",".join(flat))]
    if isinstance(value, list):
        if one.explode:
            return [(one.name, _text(part)) for part in value]
        separator = _SEPARATORS.get(one.style, ",")
        return [(one.name, separator.join(map(_text, value)))]
    return [(one.name, _text(value))]


def _simple(one: Parameter, value: Any) -> str:
    """Write a value into the path, a header or a cookie."""
    if one.as_json:
        return msgspec.json.encode(value).decode()
    if isinstance(value, list):
        return ",".join(map(_text, value))
    if isinstance(value, dict):
        sign = "=" if one.explode else ","
        return ",".join(f"{name}{sign}{_text(part)}" for name, part in value.items())
    return _text(value)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return msgspec.json.encode(value).decode()
