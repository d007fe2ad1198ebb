"""The SDK's transports over HTTP: streamable HTTP and SSE."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import anyio
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from mcp.server.sse import SseServerTransport
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

from isoserver.errors import ConnectionEndedError
from isoserver.mcp.asgi import CALLER
from isoserver.mcp.owned import name_of_owned, read_owned
from isoserver.mcp.peers import (
    SESSION_HEADER,
    TRANSPORT_HEADER,
    Connection,
    HttpConnections,
    current_connection,
    read_name,
)
from isoserver.mcp.protocol import Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    from isoserver.http.parts import ServerParts
    from isoserver.principal import Principal

__all__ = ["Transports"]

MESSAGES: Final = "/messages/"
_TRANSPORT: Final = TRANSPORT_HEADER.encode()
_ANSWERS_WAIT: Final = 2.0
"""Seconds that answers have to get out, once all runs have ended."""


class Transports:
    """The SDK's ASGI applications, and the tasks that they run in."""

    def __init__(self, parts: ServerParts) -> None:
        """Make the transports; `start` lets them serve.

        Args:
            parts: The server's parts.
        """
        settings = parts.settings
        # Names outnumber connections, since a connection that idles out says nothing.
        self._connections = HttpConnections(2 * settings.mcp_connections_max)
        self._protocol = Protocol(parts, self._connections)
        self._manager = StreamableHTTPSessionManager(
            self._protocol.server,
            session_idle_timeout=settings.mcp_connection_ttl_seconds,
            max_request_body_size=settings.request_body_bytes_max,
            max_sessions=settings.mcp_connections_max,
        )
        # Where there are several servers, a connection's name says whose it is.
        self._owner = "" if parts.cluster is None else parts.cluster.server_id
        self._sse = SseServerTransport(
            f"{MESSAGES}{self._owner}/" if self._owner else MESSAGES,
            max_request_body_size=settings.request_body_bytes_max,
        )
        self._sse_connections: set[Connection] = set()
        self._answering: set[asyncio.Future[None]] = set()
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start the task that connections run in."""
        ready = asyncio.Event()
        self._task = asyncio.create_task(self._run(ready), name="mcp")
        await ready.wait()

    async def close(self) -> None:
        """End all connections; requests in flight are answered as cancelled."""
        if self._answering:
            await asyncio.wait(self._answering, timeout=_ANSWERS_WAIT)
        for connection in tuple(self._sse_connections):
            connection.gone.set()
        self._stop.set()
        if self._task is not None:
            await self._task

    async def _run(self, ready: asyncio.Event) -> None:
        # The SDK's task group has to be left by the task that entered it.
        async with self._manager.run():
            ready.set()
            await self._stop.wait()

    async def application(
        self,
        scope: dict[str, Any],
        receive: Callable[[], Awaitable[Any]],
        send: Callable[[Any], Awaitable[None]],
    ) -> None:
        """Answer a request, as an ASGI application."""
        scope["user"] = _user(scope[CALLER].principal)
        if scope["method"] == "GET":
            await self._pass_on(scope, receive, send)
            return
        answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._answering.add(answered)
        try:
            await self._pass_on(scope, receive, send)
        finally:
            self._answering.discard(answered)
            answered.set_result(None)

    async def _pass_on(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["path"].startswith(MESSAGES):
            # It has been accepted, but its connection ended meanwhile.
            with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
                await self._sse.handle_post_message(scope, receive, send)
        elif scope["path"] == "/sse":
            await self._serve_sse(scope, receive, send)
        else:
            await self._serve_http(scope, receive, send)

    async def _serve_http(self, scope: Any, receive: Any, send: Any) -> None:
        if self._owner:
            scope["headers"] = [
                (name, self._own_name(value) if name == _TRANSPORT else value)
                for name, value in scope["headers"]
            ]
        headers = dict(scope["headers"])
        transport = headers.get(TRANSPORT_HEADER.encode(), b"").decode("latin-1")
        name = read_name(headers.get(SESSION_HEADER.encode(), b"").decode("latin-1"))

        begun = False

        async def watch(message: MutableMapping[str, Any]) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                opened = dict(message["headers"]).get(TRANSPORT_HEADER.encode())
                if name and not transport and opened is not None:
                    self._connections.opened(opened.decode("latin-1"), name)
                if self._owner:
                    message["headers"] = [
                        (key, name_of_owned(self._owner, value.decode()).encode())
                        if key.lower() == _TRANSPORT
                        else (key, value)
                        for key, value in message["headers"]
                    ]
            await send(message)

        try:
            await self._manager.handle_request(scope, receive, watch)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
            # Its connection ended meanwhile; a notification has been accepted by then.
            if not begun:
                raise ConnectionEndedError from error
        if transport and scope["method"] == "DELETE":
            self._connections.closed(transport)

    def _own_name(self, value: bytes) -> bytes:
        """Return what the SDK calls a connection; as it is if it isn't one of ours."""
        owner, name = read_owned(value.decode("latin-1"))
        return name.encode("latin-1") if owner == self._owner else value

    async def _serve_sse(self, scope: Any, receive: Any, send: Any) -> None:
        name = dict(scope["headers"]).get(SESSION_HEADER.encode(), b"")
        connection = Connection(read_name(name.decode("latin-1")), scope[CALLER].gone)
        self._sse_connections.add(connection)
        current_connection.set(connection)
        server = self._protocol.server
        try:
            async with self._sse.connect_sse(scope, receive, send) as (reader, writer):
                await server.run(reader, writer, server.create_initialization_options())
        finally:
            self._sse_connections.discard(connection)


def _user(principal: Principal) -> AuthenticatedUser:
    """Return what the SDK compares, so that nobody uses another's connection."""
    # The token itself is never looked at: the guard has done that.
    token = AccessToken(
        token="",
        # Of keys without a name, only those that may do the same are one user.
        client_id=f"{'admin' if principal.admin else 'user'}:{principal.client}",
        scopes=[],
        subject=principal.workspace,
    )
    return AuthenticatedUser(token)
