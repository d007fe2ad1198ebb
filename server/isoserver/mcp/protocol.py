"""The server of the protocol: what of it is answered by what of ours."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    EmptyResult,
    GetPromptRequestParams,
    GetPromptResult,
    InputRequiredResult,
    ListPromptsResult,
    ListResourcesResult,
    ListResourceTemplatesResult,
    ListToolsResult,
    PaginatedRequestParams,
    ReadResourceRequestParams,
    ReadResourceResult,
    SetLevelRequestParams,
)

from isoserver.errors import ServerError
from isoserver.mcp.client_log import send_notice
from isoserver.mcp.executions import execution_tools, stateless_tools
from isoserver.mcp.handshake import IDENTITY, instructions
from isoserver.mcp.heaps import heap_tools
from isoserver.mcp.peers import SESSION_HEADER, Link, Peer, SessionNames, lifespan
from isoserver.mcp.prompts import Prompts
from isoserver.mcp.resources import Resources
from isoserver.mcp.tasks import task_tools
from isoserver.mcp.tools import McpCall, McpTools

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from mcp.server.context import CallNext, HandlerResult, ServerRequestContext

    from isoserver.http.parts import ServerParts
    from isoserver.settings.server import ServerSettings

__all__ = ["Protocol"]


class Protocol:
    """Answers messages of all connections.

    Attributes:
        server: The SDK's server.
    """

    def __init__(self, parts: ServerParts, names: SessionNames) -> None:
        """Make it.

        Args:
            parts: The server's parts.
            names: The sessions of streamable HTTP connections.
        """
        self._parts = parts
        self._names = names
        self._tools = _tools(parts.settings)
        self._resources = Resources(parts, self._tools)
        self._prompts = Prompts(stateless=parts.settings.stateless)
        self._tasks: set[asyncio.Future[None]] = set()
        self.server: Server[Link | None] = Server(
            **IDENTITY,
            instructions=instructions(parts.settings),
            lifespan=lifespan,
            on_list_tools=self._list_tools,
            on_call_tool=self._call_tool,
            on_list_resources=self._list_resources,
            on_list_resource_templates=self._list_templates,
            on_read_resource=self._read_resource,
            on_list_prompts=self._list_prompts,
            on_get_prompt=self._get_prompt,
        )
        # By method: the argument of the constructor warns that logging is on its way
        # out, but clients of today still set a level.
        self.server.add_request_handler(
            "logging/setLevel", SetLevelRequestParams, self._set_level
        )
        self.server.middleware.append(self._note_session)

    async def _note_session(
        self, ctx: ServerRequestContext[Link | None, Any], call_next: CallNext
    ) -> HandlerResult:
        """Take the session's name from the initialize of a connection over SSE."""
        connection = ctx.lifespan_context
        if ctx.method == "initialize" and connection is not None:
            headers = {} if ctx.request is None else ctx.request.headers
            connection.session = headers.get(SESSION_HEADER) or connection.session
        return await call_next(ctx)

    async def _list_tools(
        self,
        _context: ServerRequestContext[Link | None, Any],
        _parameters: PaginatedRequestParams | None,
    ) -> ListToolsResult:
        return ListToolsResult(tools=self._tools.entries)

    async def _call_tool(
        self,
        context: ServerRequestContext[Link | None, Any],
        parameters: CallToolRequestParams,
    ) -> CallToolResult | InputRequiredResult:
        if parameters.name not in self._tools:
            names = ", ".join(self._tools.names)
            message = f"There is no tool {parameters.name[:64]!r}, but: {names}"
            raise MCPError(code=INVALID_PARAMS, message=message)
        peer = self._peer(context)
        return await self._tools.call(
            McpCall(self._parts, peer, context, parameters, self._spawn, self._notify)
        )

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        async def do() -> None:
            with suppress(ServerError):
                await work

        task = asyncio.ensure_future(do())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _list_resources(
        self,
        _context: ServerRequestContext[Link | None, Any],
        _parameters: PaginatedRequestParams | None,
    ) -> ListResourcesResult:
        return ListResourcesResult(resources=self._resources.entries)

    async def _list_templates(
        self,
        _context: ServerRequestContext[Link | None, Any],
        _parameters: PaginatedRequestParams | None,
    ) -> ListResourceTemplatesResult:
        return ListResourceTemplatesResult(resource_templates=self._resources.templates)

    async def _read_resource(
        self,
        context: ServerRequestContext[Link | None, Any],
        parameters: ReadResourceRequestParams,
    ) -> ReadResourceResult:
        workspace = self._peer(context).principal.workspace
        return await self._resources.read(workspace, str(parameters.uri))

    async def _list_prompts(
        self,
        _context: ServerRequestContext[Link | None, Any],
        _parameters: PaginatedRequestParams | None,
    ) -> ListPromptsResult:
        return ListPromptsResult(prompts=self._prompts.entries)

    async def _get_prompt(
        self,
        _context: ServerRequestContext[Link | None, Any],
        parameters: GetPromptRequestParams,
    ) -> GetPromptResult:
        return self._prompts.get(parameters.name, parameters.arguments or {})

    def _peer(self, context: ServerRequestContext[Link | None, Any]) -> Peer:
        return Peer.of(context, self._names, self._parts.settings.session_id)

    async def _set_level(
        self,
        context: ServerRequestContext[Link | None, Any],
        parameters: SetLevelRequestParams,
    ) -> EmptyResult:
        self._names.set_level(context, parameters.level)
        return EmptyResult()

    async def _notify(
        self, context: ServerRequestContext[Link | None, Any], text: str
    ) -> None:
        await send_notice(context, self._names, text)


def _tools(settings: ServerSettings) -> McpTools:
    """Make the tools that the settings ask for."""
    if settings.stateless:
        return McpTools(stateless_tools(settings))
    return McpTools([*execution_tools(settings), *heap_tools(), *task_tools(settings)])
