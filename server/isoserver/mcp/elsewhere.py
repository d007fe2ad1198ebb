"""Requests about what another server has: asked there, each for itself.

A connection stays where it was opened, but its client may name any execution, task or
context of the workspace. The other server is asked the same by a request of the
protocol 2026-07-28, which needs no connection. What it tells meanwhile is told to the
client, the client is asked what it wants to know, and to go away cancels what it does.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import quote

import anyio
from mcp.shared.exceptions import MCPError
from mcp.shared.inbound import encode_header_value
from mcp_types import (
    CLIENT_CAPABILITIES_META_KEY,
    CLIENT_INFO_META_KEY,
    INTERNAL_ERROR,
    LOG_LEVEL_META_KEY,
    PROTOCOL_VERSION_META_KEY,
    InputRequiredResult,
    LoggingMessageNotification,
)
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from isoserver.errors import PeerLostError
from isoserver.mcp.elicitation import can_ask, is_modern
from isoserver.mcp.handshake import IDENTITY
from isoserver.mcp.peers import SESSION_HEADER
from isoserver.passing.service import Owner, PeerRequest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from mcp.server.context import ServerRequestContext
    from pydantic import BaseModel

    from isoserver.errors import ElsewhereError
    from isoserver.mcp.peers import Peer
    from isoserver.passing.service import Passing

__all__ = ["Asked", "Elsewhere"]

_VERSION: Final = MODERN_PROTOCOL_VERSIONS[-1]
_DATA: Final = b"data:"
_GONE: Final = (anyio.BrokenResourceError, anyio.ClosedResourceError)


class Asked(NamedTuple):
    """A request of a client's.

    Attributes:
        peer: Who asks.
        context: The request, as the SDK has it.
        method: The method.
        name: What of it: a tool's name, a resource's URI.
        parameters: The parameters.
        level: The least severe messages that the client wants in its log; None for
            none.
    """

    peer: Peer
    context: ServerRequestContext[Any, Any]
    method: str
    name: str
    parameters: BaseModel
    level: str | None


class Elsewhere:
    """Asks other servers for clients of this one. In the event loop only."""

    def __init__(self, passing: Passing) -> None:
        """Ask nothing yet.

        Args:
            passing: Reaches the others.
        """
        self._passing = passing
        self._asking: set[asyncio.Future[dict[str, Any]]] = set()

    async def ask(self, error: ElsewhereError, asked: Asked) -> dict[str, Any]:
        """Return the result of a request of a server that owns what it is about.

        Args:
            error: Says which it is.
            asked: The request.

        Raises:
            MCPError: What it answers instead.
            PeerUnreachableError: It can't be reached.
            PeerLostError: It was lost before it had answered.
        """
        content = _content(asked)
        while True:
            result = await self._ask(error, asked, content)
            requests = result.get("inputRequests")
            if not requests or is_modern(asked.context):
                return result
            # An older client is asked by a request of ours, as if the code ran here.
            wanted = InputRequiredResult.model_validate(result)
            content["requestState"] = wanted.request_state
            content["inputResponses"] = await _answers(asked.context, wanted)

    async def _ask(
        self, error: ElsewhereError, asked: Asked, content: dict[str, Any]
    ) -> dict[str, Any]:
        work = self._send(error, asked, content)
        asking: asyncio.Future[dict[str, Any]] = asyncio.ensure_future(work)
        self._asking.add(asking)
        asking.add_done_callback(self._asked)
        try:
            return await asyncio.shield(asking)
        except asyncio.CancelledError:
            # Else its client was lost, without whom the code goes on.
            if asked.peer.cancels:
                asking.cancel()
            raise

    def _asked(self, asking: asyncio.Future[dict[str, Any]]) -> None:
        self._asking.discard(asking)
        if not asking.cancelled():
            asking.exception()  # nobody may be left who wants to know

    async def _send(
        self, error: ElsewhereError, asked: Asked, content: dict[str, Any]
    ) -> dict[str, Any]:
        message = {
            "jsonrpc": "2.0",
            "id": 1,
            "method": asked.method,
            "params": content,
        }
        headers = {
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
            "Mcp-Protocol-Version": _VERSION,
            "Mcp-Method": asked.method,
            "Mcp-Name": encode_header_value(asked.name),
        }
        if asked.peer.session is not None:
            headers[SESSION_HEADER] = quote(asked.peer.session)
        reader = _Reader(lambda told: _tell(asked.context, told))
        request = PeerRequest(
            Owner(error.server_id, error.url),
            "POST",
            "/mcp",
            asked.peer.principal,
            body=json.dumps(message).encode(),
            headers=headers,
            heard=reader.read,
        )
        await self._passing.ask(request)
        answer = await reader.end()
        if "result" in answer:
            result: dict[str, Any] = answer["result"]
            return result
        failure = answer.get("error", {})
        code = failure.get("code", INTERNAL_ERROR)
        text = failure.get("message", "the server that has it didn't answer")
        raise MCPError(code=code, message=text, data=failure.get("data"))


def _content(asked: Asked) -> dict[str, Any]:
    """Return the parameters that another server is sent."""
    content = asked.parameters.model_dump(by_alias=True, mode="json", exclude_none=True)
    content["_meta"] = {
        PROTOCOL_VERSION_META_KEY: _VERSION,
        CLIENT_INFO_META_KEY: {
            "name": IDENTITY["name"],
            "version": IDENTITY["version"],
        },
        CLIENT_CAPABILITIES_META_KEY: (
            {"elicitation": {"form": {}}} if can_ask(asked.context) else {}
        ),
        # Also for who wants no progress: the answer is no larger than it may take.
        "progressToken": 1,
    }
    if asked.level is not None:
        content["_meta"][LOG_LEVEL_META_KEY] = asked.level
    return content


async def _answers(
    context: ServerRequestContext[Any, Any], wanted: InputRequiredResult
) -> dict[str, Any]:
    """Ask a client what another server wants to know, one thing after another."""
    answers = {}
    for key, request in (wanted.input_requests or {}).items():
        parameters: Any = request.params
        given = await context.session.elicit_form(
            parameters.message, parameters.requested_schema, context.request_id
        )
        answers[key] = given.model_dump(by_alias=True, mode="json", exclude_none=True)
    return answers


async def _tell(context: ServerRequestContext[Any, Any], told: dict[str, Any]) -> None:
    """Tell a client what another server says while it works on its request."""
    method, content = told["method"], told.get("params", {})
    with suppress(*_GONE):
        if method == "notifications/progress":
            # Those who gave no token are told nothing.
            await context.session.report_progress(
                content["progress"], content.get("total"), content.get("message")
            )
        elif method == "notifications/message":
            await context.session.send_notification(
                LoggingMessageNotification.model_validate(told), context.request_id
            )


class _Reader:
    """Reads the messages of an answer, which is one of JSON or a stream of events."""

    def __init__(self, tell: Callable[[dict[str, Any]], Awaitable[None]]) -> None:
        """Have nothing yet.

        Args:
            tell: Called with each message that isn't the answer, as it comes.
        """
        self._tell = tell
        self._rest = b""
        self._answer: dict[str, Any] | None = None

    async def read(self, data: bytes) -> None:
        """Read what has come."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            await self._line(line)

    async def end(self) -> dict[str, Any]:
        """Return the answer, as all has come.

        Raises:
            PeerLostError: There is none.
        """
        await self._line(self._rest)
        if self._answer is None:
            raise PeerLostError
        return self._answer

    async def _line(self, line: bytes) -> None:
        text = line.removeprefix(_DATA).strip()
        if not text.startswith(b"{"):
            return
        try:
            message = json.loads(text)
        except ValueError:
            raise PeerLostError from None
        if "method" in message:
            await self._tell(message)
        else:
            self._answer = message
