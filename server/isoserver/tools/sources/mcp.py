"""An MCP server as a source, through one session that is kept open."""

from __future__ import annotations

import asyncio
import itertools
import math
from contextlib import AsyncExitStack
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Final

import anyio
import msgspec
from mcp import Client, MCPError
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client
from mcp.client.subscriptions import SubscriptionLost
from mcp.types import (
    CONNECTION_CLOSED,
    INVALID_REQUEST,
    REQUEST_TIMEOUT,
    Implementation,
    ToolListChangedNotification,
)
from pydantic import ValidationError

from isokernel._version import __version__
from isokernel.timeouts import timeout
from isoserver.errors import SourceError, ToolFailedError
from isoserver.tools.names import distinct, snake
from isoserver.tools.sources.base import Source, too_large
from isoserver.tools.sources.fetcher import origin
from isoserver.tools.sources.mcp_http import TOO_LARGE_TEXT, make_client
from isoserver.tools.sources.mcp_stdio import TOO_LARGE, Pipes
from isoserver.tools.tool import Tool

if TYPE_CHECKING:
    from mcp.types import CallToolResult
    from mcp.types import Tool as Listed
    from structlog.typing import FilteringBoundLogger

    from isoserver.settings.tools import McpSettings
    from isoserver.tools.sources.base import SourceLimits

__all__ = ["McpServer"]

_PAGES_MAX: Final = 1000
_TEXT_MAX: Final = 4000
_PROBE_SECONDS: Final = 5.0
_CALM_SECONDS: Final = 0.2
"""Seconds between listings, however often a server says that they changed."""
_LISTEN_AGAIN: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
_LOST_TEXTS: Final = ("Session terminated", "Connection closed")


class McpServer(Source):
    """An MCP server as a source."""

    configuration: McpSettings

    def __init__(
        self,
        configuration: McpSettings,
        limits: SourceLimits,
        log: FilteringBoundLogger,
    ) -> None:
        """Do as `Source` does."""
        super().__init__(configuration, limits, log)
        self._client: Client | None = None
        self._lost = ""
        self._pipes: Pipes | None = None
        self._probes: set[asyncio.Task[None]] = set()

    @property
    def location(self) -> str:
        """Where it is: the name of its program, or the origin of its URL."""
        if self.configuration.command is not None:
            return PurePath(self.configuration.command).name
        return origin(self.configuration.url or "")

    # -- the session -------------------------------------------------------------------

    async def _serve(self) -> None:
        self._lost = ""
        deadline = anyio.current_time() + self.limits.start_timeout_seconds
        try:
            with anyio.CancelScope(deadline=deadline) as scope:
                async with AsyncExitStack() as stack:
                    client = await self._connect(stack)
                    self._ready(await self._list(client))
                    scope.deadline = math.inf
                    if not self._lost:
                        self._client = client
                    await self._stay(client)
        finally:
            self._client = None
        if scope.cancelled_caught:
            raise TimeoutError

    async def _connect(self, stack: AsyncExitStack) -> Client:
        client = Client(
            await self._transport(stack),
            read_timeout_seconds=self.limits.start_timeout_seconds,
            message_handler=self._notified,
            client_info=Implementation(name="isokernel", version=__version__),
            cache=None,
        )
        return await stack.enter_async_context(client)

    async def _transport(self, stack: AsyncExitStack) -> Any:
        source = self.configuration
        if source.command is not None:
            self._pipes = Pipes(
                [source.command, *source.args],
                self.credentials.env,
                source.cwd,
                self.limits.response_bytes_max,
                lambda: self._lose("its process has ended"),
            )
            return self._pipes.open()
        url = _with_query(source.url or "", self.credentials.query)
        if source.transport == "sse":
            return sse_client(
                url,
                httpx_client_factory=self._make_http,
            )
        http = make_client(self.credentials, self.limits)
        await stack.enter_async_context(http)
        return streamable_http_client(
            url, http_client=http, max_sse_event_size=self.limits.response_bytes_max
        )

    def _make_http(
        self,
        headers: dict[str, str] | None = None,
        timeout: Any = None,
        auth: Any = None,
    ) -> Any:
        """Make a client; the SDK's own timeouts and credentials aren't used."""
        del timeout, auth
        return make_client(self.credentials, self.limits, headers=headers)

    async def _stay(self, client: Client) -> None:
        """Stay until the session is lost; list the tools anew when asked to."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._listen, client)
            while True:
                await self._again.wait()
                self._again.clear()
                if self._lost:
                    raise SourceError(self._lost)
                self._ready(await self._list(client))
                await asyncio.sleep(_CALM_SECONDS)

    async def _listen(self, client: Client) -> None:
        """Hear of changes, where the protocol has a stream for that."""
        for seconds in itertools.chain(_LISTEN_AGAIN, itertools.repeat(60.0)):
            try:
                async with client.listen(tools_list_changed=True) as events:
                    async for _ in events:
                        self._again.set()
            except SubscriptionLost:
                pass
            except Exception:  # noqa: BLE001 - it isn't known there, or not like that
                return
            await asyncio.sleep(seconds)
            # Nobody knows what has changed meanwhile.
            self._again.set()

    async def _notified(self, message: Any) -> None:
        """Hear of changes, where the protocol sends notifications; the SDK calls it."""
        if isinstance(message, ToolListChangedNotification):
            self._again.set()

    def _lose(self, reason: str) -> None:
        """End the session, so that another one is begun."""
        self._lost = self._lost or reason
        self._client = None
        self._again.set()

    def describe(self, error: BaseException) -> str:
        """Describe an error, with the end of what the process wrote to stderr."""
        text = super().describe(error)
        complaint = self._pipes.complaint.strip() if self._pipes is not None else ""
        return f"{text}; it wrote: {complaint[-300:]}" if complaint else text

    # -- its tools ---------------------------------------------------------------------

    async def _list(self, client: Client) -> list[Tool]:
        listed: list[Listed] = []
        cursor = None
        for _ in range(_PAGES_MAX):
            page = await client.list_tools(cursor=cursor)
            listed += page.tools
            cursor = page.next_cursor
            if cursor is None or len(listed) > self.limits.tools_max:
                break
        # In the order of their names, so that numbers of twins stay what they are.
        listed.sort(key=lambda tool: tool.name)
        paths = distinct([f"{self.name}.{_path(tool.name)}" for tool in listed])
        return [
            self._tool(tool, path) for tool, path in zip(listed, paths, strict=True)
        ]

    def _tool(self, listed: Listed, path: str) -> Tool:
        hints = listed.annotations
        return Tool(
            source=self.name,
            path=path,
            original=listed.name,
            description=listed.description or listed.title or "",
            reads=bool(hints is not None and hints.read_only_hint),
            input_schema=listed.input_schema,
            output_schema=listed.output_schema,
        )

    # -- calls -------------------------------------------------------------------------

    async def _call(self, tool: Tool, arguments: dict[str, Any]) -> Any:
        if self._client is None:
            await self.refresh()
        client = self._client
        if client is None:
            raise self.unavailable()
        try:
            result = await client.call_tool(
                tool.original,
                arguments,
                read_timeout_seconds=self.limits.call_timeout_seconds,
            )
        except MCPError as error:
            raise self._failed(tool, error) from error
        except (ValidationError, RuntimeError) as error:
            message = f"{tool.path} answered what it should not: {_first_line(error)}"
            raise ToolFailedError(message, code="invalid_result") from error
        return self._result(tool, result)

    def _failed(self, tool: Tool, error: MCPError) -> Exception:
        if error.code == REQUEST_TIMEOUT:
            return TimeoutError()
        if error.code == TOO_LARGE or TOO_LARGE_TEXT in error.message:
            return too_large(self.limits.response_bytes_max)
        if "byte limit" in error.message:  # the SDK's, of events
            return too_large(self.limits.response_bytes_max)
        ended = error.code in {CONNECTION_CLOSED, INVALID_REQUEST}
        if ended and error.message.startswith(_LOST_TEXTS):
            self._lose(error.message)
            return ToolFailedError(
                f"the source {self.name} ended while {tool.path} was called",
                code="source_lost",
                # Nobody knows whether it was done.
                retryable=tool.reads,
            )
        return ToolFailedError(
            f"{tool.path}: {error.message[:_TEXT_MAX]}",
            code="tool_failed",
            details={"code": error.code, "data": error.data},
        )

    def _late(self) -> None:
        """Look whether the server still answers at all; if not, begin anew."""
        client = self._client
        if client is None:
            return
        probe = asyncio.create_task(self._probe(client))
        self._probes.add(probe)
        probe.add_done_callback(self._probes.discard)

    async def _probe(self, client: Client) -> None:
        try:
            seconds = min(_PROBE_SECONDS, self.limits.call_timeout_seconds)
            async with timeout(seconds):
                await client.list_tools()
        except Exception:  # noqa: BLE001 - whatever it is, it doesn't answer
            if client is self._client:  # and not another one by now
                self._lose("it does not answer any more")

    async def close(self) -> None:
        """End the session and its process."""
        for probe in list(self._probes):
            probe.cancel()
        await asyncio.gather(*self._probes, return_exceptions=True)
        await super().close()

    def _result(self, tool: Tool, result: CallToolResult) -> Any:
        if result.is_error:
            blocks = [_block(block) for block in result.content]
            texts = [block for block in blocks if isinstance(block, str)]
            text = "\n".join(texts) or "it failed"
            message = f"{tool.path}: {text[:_TEXT_MAX]}"
            raise ToolFailedError(
                message,
                code="tool_failed",
                details=result.structured_content or blocks,
            )
        if result.structured_content is not None:
            return result.structured_content
        values = [
            _parsed(block) if isinstance(block, str) else block
            for block in map(_block, result.content)
        ]
        if not values:
            return None
        return values[0] if len(values) == 1 else values


def _path(name: str) -> str:
    """Return a tool's path within its source; dots and slashes separate segments."""
    return ".".join(snake(part) for part in name.replace("/", ".").split("."))


def _block(block: Any) -> Any:
    """Return a content block as plain data, and a text as a string."""
    if block.type == "text":
        return block.text
    made: dict[str, Any] = {"type": block.type}
    if block.type == "resource":
        content = block.resource
        made |= {"uri": str(content.uri), "mimeType": content.mime_type}
        text = getattr(content, "text", None)
        return made | ({"text": text} if text is not None else {"data": content.blob})
    if block.type == "resource_link":
        uri, kind = str(block.uri), block.mime_type
        return made | {"uri": uri, "name": block.name, "mimeType": kind}
    return made | {"mimeType": block.mime_type, "data": block.data}


def _parsed(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return text


def _with_query(url: str, query: dict[str, str]) -> str:
    if not query:
        return url
    from httpx2 import URL  # noqa: PLC0415 - only sources that have a key there

    return str(URL(url).copy_merge_params(query))


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:200]
