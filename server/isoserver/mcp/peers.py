"""Who speaks to us: the asker, its session, and whether it is still there.

The protocol has sessions of its own for its transports; the session here is the name of
a persistent context and its history, which a client gives in a header at initialize (or
with each request, in versions of the protocol that don't initialize).
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, NamedTuple

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
    "Link",
    "Peer",
    "SessionNames",
    "lifespan",
    "link",
]

SESSION_HEADER: Final = "x-mcp-session-id"
TRANSPORT_HEADER: Final = "mcp-session-id"
_SESSION: Final[TypeAdapter[str]] = TypeAdapter(SessionName)


class Link:
    """One connection that lasts: stdio or SSE.

    Attributes:
        session: The session that it named.
        gone: Set once the client is gone.
        level: The least severe messages that it wants in its log; None for all.
    """

    def __init__(self, session: str | None, gone: asyncio.Event) -> None:
        """Take what is known when it is made.

        Args:
            session: The session that it named so far.
            gone: Set once the client is gone.
        """
        self.session = session
        self.gone = gone
        self.level: str | None = None


link: ContextVar[Link | None] = ContextVar("link", default=None)
"""The connection that is about to be served; read by `lifespan`, once for each."""


@asynccontextmanager
async def lifespan(_server: Any) -> AsyncIterator[Link | None]:
    """Give all handlers of a connection its link; the SDK calls it."""
    yield link.get()


class SessionNames:
    """What each streamable HTTP connection said once: its session, its log level."""

    def __init__(self, limit: int) -> None:
        """Start empty.

        Args:
            limit: How many are kept; those longest unused are forgotten first.
        """
        self._limit = limit
        self._names: OrderedDict[str, str] = OrderedDict()
        self._levels: OrderedDict[str, str] = OrderedDict()

    def opened(self, transport: str, name: str) -> None:
        """Note the name that a new connection brought."""
        self._names[transport] = name
        while len(self._names) > self._limit:
            self._names.popitem(last=False)

    def closed(self, transport: str) -> None:
        """Forget a connection."""
        self._names.pop(transport, None)
        self._levels.pop(transport, None)

    def set_level(
        self, context: ServerRequestContext[Link | None, Any], level: str
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

    def level(self, context: ServerRequestContext[Link | None, Any]) -> str | None:
        """Give the least severe messages that a connection wants; None for all."""
        if context.lifespan_context is not None:
            return context.lifespan_context.level
        return self._levels.get(_transport(context.request) or "")

    def find(self, request: Request) -> str | None:
        """Give the session of a request's connection; of its own without connection."""
        transport = _transport(request)
        if transport is None:
            return request.headers.get(SESSION_HEADER)
        if transport not in self._names:
            return None
        self._names.move_to_end(transport)
        return self._names[transport]


def _transport(request: Request | None) -> str | None:
    return None if request is None else request.headers.get(TRANSPORT_HEADER)


class Peer(NamedTuple):
    """Who a message comes from.

    Attributes:
        principal: Who asks.
        session: The session that it named; None if it named none.
        gone: Set once nobody waits for the answer.
        hangs_up: Whether going away is how this client cancels: where each request is
            for itself, it has no other way to.
    """

    principal: Principal
    session: str | None
    gone: asyncio.Event
    hangs_up: bool

    @property
    def cancels(self) -> bool:
        """Whether a request given up was cancelled, and its client not merely lost."""
        return self.hangs_up or not self.gone.is_set()

    def named_session(self) -> str | None:
        """Give the session, once its name is known to be one.

        Raises:
            InvalidRequestError: It is none.
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
        context: ServerRequestContext[Link | None, Request],
        names: SessionNames,
        default: str | None,
    ) -> Peer:
        """Find out who a message comes from.

        Args:
            context: The message's.
            names: The sessions of streamable HTTP connections.
            default: The session of whoever names none.
        """
        request, link = context.request, context.lifespan_context
        caller: Caller | None = None if request is None else request.scope[CALLER]
        principal = Principal() if caller is None else caller.principal
        if link is not None:
            return cls(principal, link.session or default, link.gone, hangs_up=False)
        gone = asyncio.Event() if caller is None else caller.gone
        named = None if request is None else names.find(request)
        modern = context.protocol_version in MODERN_PROTOCOL_VERSIONS
        return cls(principal, named or default, gone, hangs_up=modern)
