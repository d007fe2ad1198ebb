"""The MCP server: which of our parts answers which message, whatever carries it."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, get_args

from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_PARAMS,
    LOG_LEVEL_META_KEY,
    CallToolRequestParams,
    CallToolResult,
    CompleteRequestParams,
    CompleteResult,
    Completion,
    EmptyResult,
    GetPromptRequestParams,
    GetPromptResult,
    InputRequiredResult,
    ListPromptsResult,
    ListResourcesResult,
    ListResourceTemplatesResult,
    ListToolsResult,
    LoggingLevel,
    LoggingMessageNotification,
    LoggingMessageNotificationParams,
    PaginatedRequestParams,
    PromptReference,
    ReadResourceRequestParams,
    ReadResourceResult,
    SetLevelRequestParams,
)
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from isoserver.errors import ElsewhereError, ServerError
from isoserver.mcp.executions import execution_tools, stateless_tools
from isoserver.mcp.facts import facts
from isoserver.mcp.handshake import IDENTITY, instructions
from isoserver.mcp.heaps import heap_tools
from isoserver.mcp.peers import (
    SESSION_HEADER,
    Connection,
    HttpConnections,
    Peer,
    lifespan,
    read_name,
)
from isoserver.mcp.prompts import Prompts
from isoserver.mcp.resources import Resources, missing
from isoserver.mcp.tasks import task_tools
from isoserver.mcp.tools import McpCall, McpTools, explain, failed, is_passed_on

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
    from pydantic import BaseModel

    from isoserver.http.parts import ServerParts
    from isoserver.mcp.elsewhere import Elsewhere
    from isoserver.mcp.tools import McpTool
    from isoserver.settings.server import ServerSettings

__all__ = ["TOOLS", "Protocol"]

TOOLS: Final[list[Callable[[ServerSettings], list[McpTool]]]] = [
    execution_tools,
    heap_tools,
    task_tools,
]
"""What makes the tools, in the order in which they are listed."""
_LEVELS: Final[tuple[LoggingLevel, ...]] = get_args(LoggingLevel)
"""From the least to the most severe."""
_NOTICE: Final = "notice"
_COMPLETIONS_MAX: Final = 100
"""As the protocol says."""


class Protocol:
    """Answers the messages of all connections. In the event loop only.

    Attributes:
        server: The SDK's server, which reads and writes the messages.
    """

    def __init__(self, parts: ServerParts, connections: HttpConnections) -> None:
        """Register what answers each method.

        Args:
            parts: The server's parts.
            connections: What streamable HTTP connections have said of themselves.
        """
        self._parts = parts
        self._connections = connections
        self._tools = _tools(parts.settings)
        self._resources = Resources(parts, self._tools)
        self._prompts = Prompts(stateless=parts.settings.stateless)
        self._tasks: set[asyncio.Future[None]] = set()
        self._elsewhere: Elsewhere | None = None
        self.server: Server[Connection | None] = Server(
            IDENTITY["name"],
            version=IDENTITY["version"],
            title=IDENTITY["title"],
            description=IDENTITY["description"],
            instructions=instructions(parts.settings),
            lifespan=lifespan,
            on_list_tools=self._list_tools,
            on_call_tool=self._call_tool,
            on_list_resources=self._list_resources,
            on_list_resource_templates=self._list_templates,
            on_read_resource=self._read_resource,
            on_list_prompts=self._list_prompts,
            on_get_prompt=self._get_prompt,
            on_completion=self._complete,
        )
        # By method: the argument of the constructor warns that logging is on its way
        # out, but clients of today still set a level.
        self.server.add_request_handler(
            "logging/setLevel", SetLevelRequestParams, self._set_level
        )
        self.server.middleware.append(self._note_session)

    async def _note_session(
        self, ctx: ServerRequestContext[Connection | None, Any], call_next: CallNext
    ) -> HandlerResult:
        """Note the session that an `initialize` over SSE names in its headers."""
        connection = ctx.lifespan_context
        if ctx.method == "initialize" and connection is not None:
            headers = {} if ctx.request is None else ctx.request.headers
            named = read_name(headers.get(SESSION_HEADER))
            connection.session = named or connection.session
        return await call_next(ctx)

    async def _list_tools(
        self,
        context: ServerRequestContext[Connection | None, Any],
        _parameters: PaginatedRequestParams | None,
    ) -> ListToolsResult:
        told = await facts(self._parts, self._peer(context))
        return ListToolsResult(tools=self._tools.entries(told))

    async def _call_tool(
        self,
        context: ServerRequestContext[Connection | None, Any],
        parameters: CallToolRequestParams,
    ) -> CallToolResult | InputRequiredResult:
        if parameters.name not in self._tools:
            names = ", ".join(self._tools.names)
            message = f"There is no tool {parameters.name[:64]!r}, but: {names}"
            raise MCPError(code=INVALID_PARAMS, message=message)
        peer = self._peer(context)
        try:
            return await self._tools.call(
                McpCall(
                    *(self._parts, peer, context, parameters),
                    *(self._spawn, self._notify),
                    began=time.monotonic(),
                )
            )
        except ElsewhereError as error:
            asked = "tools/call", parameters.name, parameters
            try:
                found = await self._ask_elsewhere(context, error, *asked)
            except ServerError as failure:
                return failed(failure)
            if "inputRequests" in found:
                return InputRequiredResult.model_validate(found)
            return CallToolResult.model_validate(found)

    async def _ask_elsewhere(
        self,
        context: ServerRequestContext[Connection | None, Any],
        error: ElsewhereError,
        method: str,
        name: str,
        parameters: BaseModel,
    ) -> dict[str, Any]:
        from isoserver.mcp.elsewhere import (  # noqa: PLC0415 - if there are others
            Asked,
            Elsewhere,
        )

        if is_passed_on(context.request):
            raise error  # it came for that context, and nothing is passed on twice
        if self._parts.passing is None:
            raise error
        if self._elsewhere is None:
            self._elsewhere = Elsewhere(self._parts.passing)
        level = self._level(context)
        asked = Asked(self._peer(context), context, method, name, parameters, level)
        return await self._elsewhere.ask(error, asked)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        async def do() -> None:
            with suppress(ServerError):
                await work

        task = asyncio.ensure_future(do())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _list_resources(
        self,
        _context: ServerRequestContext[Connection | None, Any],
        _parameters: PaginatedRequestParams | None,
    ) -> ListResourcesResult:
        return ListResourcesResult(resources=self._resources.entries)

    async def _list_templates(
        self,
        _context: ServerRequestContext[Connection | None, Any],
        _parameters: PaginatedRequestParams | None,
    ) -> ListResourceTemplatesResult:
        return ListResourceTemplatesResult(resource_templates=self._resources.templates)

    async def _read_resource(
        self,
        context: ServerRequestContext[Connection | None, Any],
        parameters: ReadResourceRequestParams,
    ) -> ReadResourceResult:
        peer, uri = self._peer(context), str(parameters.uri)
        try:
            return await self._resources.read(peer.principal.workspace, uri)
        except ElsewhereError as error:
            asked = "resources/read", uri, parameters
            try:
                found = await self._ask_elsewhere(context, error, *asked)
            except ServerError as failure:
                raise missing(uri, explain(failure)) from None
            return ReadResourceResult.model_validate(found)

    async def _list_prompts(
        self,
        _context: ServerRequestContext[Connection | None, Any],
        _parameters: PaginatedRequestParams | None,
    ) -> ListPromptsResult:
        return ListPromptsResult(prompts=self._prompts.entries)

    async def _get_prompt(
        self,
        _context: ServerRequestContext[Connection | None, Any],
        parameters: GetPromptRequestParams,
    ) -> GetPromptResult:
        return self._prompts.get(parameters.name, parameters.arguments or {})

    async def _complete(
        self,
        context: ServerRequestContext[Connection | None, Any],
        parameters: CompleteRequestParams,
    ) -> CompleteResult:
        workspace = self._peer(context).principal.workspace
        reference, argument = parameters.ref, parameters.argument
        if isinstance(reference, PromptReference):
            found = await self._prompts.complete(
                self._parts, workspace, reference.name, argument.name
            )
        else:
            found = await self._resources.complete(
                workspace, str(reference.uri), argument.name
            )
        values = [value for value in found if value.startswith(argument.value)]
        return CompleteResult(
            completion=Completion(
                values=values[:_COMPLETIONS_MAX],
                total=len(values),
                has_more=len(values) > _COMPLETIONS_MAX,
            )
        )

    def _peer(self, context: ServerRequestContext[Connection | None, Any]) -> Peer:
        return Peer.of(context, self._connections, self._parts.settings.session_id)

    async def _set_level(
        self,
        context: ServerRequestContext[Connection | None, Any],
        parameters: SetLevelRequestParams,
    ) -> EmptyResult:
        self._connections.set_level(context, parameters.level)
        return EmptyResult()

    def _level(
        self, context: ServerRequestContext[Connection | None, Any]
    ) -> str | None:
        """Return the least severe messages that a client wants; None for none."""
        if context.protocol_version in MODERN_PROTOCOL_VERSIONS:
            level: Any = (context.meta or {}).get(LOG_LEVEL_META_KEY)
            return level if level is None else str(level)
        return self._connections.level(context) or _LEVELS[0]

    async def _notify(
        self, context: ServerRequestContext[Connection | None, Any], text: str
    ) -> None:
        """Write to the client's log, if it wants messages of that level."""
        wanted = self._level(context)
        if wanted is None:
            return
        if wanted in _LEVELS and _LEVELS.index(wanted) > _LEVELS.index(_NOTICE):
            return
        parameters = LoggingMessageNotificationParams(
            level=_NOTICE, logger="isokernel", data=text
        )
        await context.session.send_notification(
            LoggingMessageNotification(params=parameters), context.request_id
        )


def _tools(settings: ServerSettings) -> McpTools:
    """Return the tools that the settings ask for."""
    if settings.stateless:
        return McpTools(stateless_tools(settings))
    return McpTools(tool for tools in TOOLS for tool in tools(settings))
