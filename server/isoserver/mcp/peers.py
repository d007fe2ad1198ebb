"""Who a message comes from: its caller, their session, and whether they still wait.

MCP has sessions of its own for its transports. The session here is the name of a
persistent context with its history; a client names it in a header of `initialize` (or
of each request, in versions of the protocol that have no `initialize`).
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import unquote

from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import TypeAdapter, ValidationError

from isoserver.errors import FieldProblem, InvalidRequestError
from isoserver.mcp.asgi import CALLER
from isoserver.principal import Principal
from isoserver.runs.models import SessionName

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from mcp.server.context import ServerRequestContext
    from starlette.requests import Request

    from isoserver.mcp.asgi import Caller

__all__ = [
    "SESSION_HEADER",
    "TRANSPORT_HEADER",
    "Connection",
    "HttpConnections",
    "Peer",
    "current_connection",
    "lifespan",
    "read_name",
]

SESSION_HEADER: Final = "x-mcp-session-id"
TRANSPORT_HEADER: Final = "mcp-session-id"
_SESSION: Final[TypeAdapter[str]] = TypeAdapter(SessionName)


class Connection:
    """A connection of one client over stdio or SSE, which lasts.

    Attributes:
        session: The session that the client named.
        gone: Set once the client is gone.
        level: The least severe messages that it wants in its log; None for all.
    """

    def __init__(self, session: str | None, gone: asyncio.Event) -> None:
        """Note what is known when the connection is made.

        Args:
            session: The session that the client has named so far.
            gone: Set once the client is gone.
        """
        self.session = session
        self.gone = gone
        self.level: str | None = None


current_connection: ContextVar[Connection | None] = ContextVar(
    "current_connection", default=None
)
"""The connection that is about to be served; read by `lifespan`, once for each."""


@asynccontextmanager
async def lifespan(_server: Any) -> AsyncIterator[Connection | None]:
    """Make the connection known to its handlers; called by the SDK, once for each."""
    yield current_connection.get()


class HttpConnections:
    """What streamable HTTP connections have said of themselves: session, log level.

    Each of their requests is for itself; a header names the connection.
    """

    def __init__(self, limit: int) -> None:
        """Start without any.

        Args:
            limit: How many are kept; those unused for longest are forgotten first.
        """
        self._limit = limit
        self._sessions: OrderedDict[str, str] = OrderedDict()
        self._levels: OrderedDict[str, str] = OrderedDict()

    def opened(self, transport: str, session: str) -> None:
        """Note the session that a new connection has named."""
        self._sessions[transport] = session
        while len(self._sessions) > self._limit:
            self._sessions.popitem(last=False)

    def closed(self, transport: str) -> None:
        """Forget a connection."""
        self._sessions.pop(transport, None)
        self._levels.pop(transport, None)

    def set_level(
        self, context: ServerRequestContext[Connection | None, Any], level: str
    ) -> None:
        """Note which messages a connection wants in its log."""
        if context.lifespan_context is not None:
            context.lifespan_context.level = level
            return
        transport = _transport(context.request)
        if transport is not None:
            self._levels[transport] = level
            while len(self._levels) > self._limit:
                self._levels.popitem(last=False)

    def level(
        self, context: ServerRequestContext[Connection | None, Any]
    ) -> str | None:
        """Return the least severe messages that a client wants; None for all."""
        if context.lifespan_context is not None:
            return context.lifespan_context.level
        return self._levels.get(_transport(context.request) or "")

    def find(self, request: Request) -> str | None:
        """Return the session of a request's connection, or else of the request."""
        transport = _transport(request)
        if transport is None:
            return read_name(request.headers.get(SESSION_HEADER))
        if transport not in self._sessions:
            return None
        self._sessions.move_to_end(transport)
        return self._sessions[transport]


def read_name(header: str | None) -> str | None:
    """Read the name of a session, which headers have as UTF-8, or percent-encoded."""
    if not header:
        return None
    return unquote(header.encode("latin-1", "replace").decode("utf-8", "replace"))


def _transport(request: Request | None) -> str | None:
    return None if request is None else request.headers.get(TRANSPORT_HEADER)


class Peer(NamedTuple):
    """Who a message comes from.

    Attributes:
        principal: The caller.
        session: The session that the caller named; None if none.
        gone: Set once nobody waits for the answer.
        hangs_up: Whether this client cancels by going away: where each request is for
            itself, it has no other way to.
    """

    principal: Principal
    session: str | None
    gone: asyncio.Event
    hangs_up: bool

    @property
    def cancels(self) -> bool:
        """Whether an abandoned request was cancelled, rather than its client lost."""
        return self.hangs_up or not self.gone.is_set()

    def named_session(self) -> str | None:
        """Return the session, whose name is checked here.

        Raises:
            InvalidRequestError: It isn't a session's name.
        """
        if self.session is None:
            return None
        try:
            return _SESSION.validate_python(self.session)
        except ValidationError as error:
            problem = error.errors(include_url=False, include_input=False)[0]["msg"]
            raise InvalidRequestError(FieldProblem(SESSION_HEADER, problem)) from None

    @classmethod
    def of(
        cls,
        context: ServerRequestContext[Connection | None, Request],
        connections: HttpConnections,
        default: str | None,
    ) -> Peer:
        """Find out who a message comes from.

        Args:
            context: What the SDK knows of the message.
            connections: What streamable HTTP connections have said of themselves.
            default: The session of clients that name none.
        """
        request, lasting = context.request, context.lifespan_context
        caller: Caller | None = None if request is None else request.scope[CALLER]
        principal = Principal() if caller is None else caller.principal
        if lasting is not None:
            session = lasting.session or default
            return cls(principal, session, lasting.gone, hangs_up=False)
        gone = asyncio.Event() if caller is None else caller.gone
        named = None if request is None else connections.find(request)
        modern = context.protocol_version in MODERN_PROTOCOL_VERSIONS
        return cls(principal, named or default, gone, hangs_up=modern)
