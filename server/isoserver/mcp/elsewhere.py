"""Requests about what another server has: asked there, each for itself.

A connection stays where it was opened, but its client may name any execution, task or
context of the workspace. The other server is asked the same by a request of the
protocol 2026-07-28, which needs no connection.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from mcp.shared.exceptions import MCPError
from mcp_types import (
    CLIENT_CAPABILITIES_META_KEY,
    CLIENT_INFO_META_KEY,
    INTERNAL_ERROR,
    PROTOCOL_VERSION_META_KEY,
)
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from isoserver.errors import PeerLostError
from isoserver.mcp.handshake import IDENTITY
from isoserver.mcp.peers import SESSION_HEADER

if TYPE_CHECKING:
    from pydantic import BaseModel

    from isoserver.errors import ElsewhereError
    from isoserver.mcp.peers import Peer
    from isoserver.passing.service import Passing

__all__ = ["ask_elsewhere"]

_VERSION: Final = MODERN_PROTOCOL_VERSIONS[-1]
_DATA: Final = "data:"


async def ask_elsewhere(  # noqa: PLR0913, PLR0917 - a request has that many sides
    passing: Passing,
    error: ElsewhereError,
    peer: Peer,
    method: str,
    name: str,
    parameters: BaseModel,
) -> dict[str, Any]:
    """Return the result of a request of a server that owns what it is about.

    Args:
        passing: Reaches it.
        error: Says which it is.
        peer: Who asks.
        method: The method.
        name: What of it: a tool's name, a resource's URI.
        parameters: The parameters.

    Raises:
        MCPError: What it answers instead.
        PeerUnreachableError: It can't be reached.
        PeerLostError: It was lost before it had answered.
    """
    content = parameters.model_dump(by_alias=True, mode="json", exclude_none=True)
    content["_meta"] = {
        PROTOCOL_VERSION_META_KEY: _VERSION,
        CLIENT_INFO_META_KEY: {
            "name": IDENTITY["name"],
            "version": IDENTITY["version"],
        },
        CLIENT_CAPABILITIES_META_KEY: {},
        # So that the answer is no larger than the client may take.
        "progressToken": 1,
    }
    asked = {"jsonrpc": "2.0", "id": 1, "method": method, "params": content}
    headers = {
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
        "Mcp-Protocol-Version": _VERSION,
        "Mcp-Method": method,
        "Mcp-Name": quote(name, safe=":/?#[]@!$&'()*+,;=~"),
    }
    if peer.session is not None:
        headers[SESSION_HEADER] = quote(peer.session)
    body = json.dumps(asked).encode()
    said = await passing.ask(
        (error.server_id, error.url), "POST", "/mcp", peer.principal, body, headers
    )
    answer = _answer(said)
    if "result" in answer:
        result: dict[str, Any] = answer["result"]
        return result
    failure = answer.get("error", {})
    code = failure.get("code", INTERNAL_ERROR)
    message = failure.get("message", "the server that has it didn't answer")
    raise MCPError(code=code, message=message, data=failure.get("data"))


def _answer(said: bytes) -> dict[str, Any]:
    """Return the message that answers: the only one, or the last of a stream."""
    text = said.decode("utf-8", "replace")
    lines = [line for line in text.splitlines() if line.startswith(_DATA)]
    try:
        answer = json.loads(lines[-1].removeprefix(_DATA) if lines else text)
    except ValueError:
        raise PeerLostError from None
    return answer if isinstance(answer, dict) else {}
