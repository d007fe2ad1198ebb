"""The first answer to a client on a stream, given before the SDK is loaded.

The SDK takes about a second to import, and agents don't wait long for a server. So what
opens a connection is answered here: `initialize`, or `server/discover` of clients of
the protocol 2026-07-28. The SDK is given the same message once it is loaded, so that it
knows the client, and its own answer to it is dropped. Whatever isn't plainly right is
left to the SDK. A test compares the answers with the SDK's.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from isokernel._version import __version__
from isoserver.mcp.texts import read

if TYPE_CHECKING:
    from isoserver.settings.server import ServerSettings

__all__ = ["IDENTITY", "Opening", "Output", "instructions"]

IDENTITY: Final = {
    "name": "isokernel",
    "title": "isokernel",
    "version": __version__,
    "description": "Persistent V8 contexts for JavaScript and TypeScript.",
}
_CAPABILITIES: Final = {
    "completions": {},
    "logging": {},
    "prompts": {"listChanged": False},
    "resources": {"listChanged": False, "subscribe": False},
    "tools": {"listChanged": False},
}
_HANDSHAKES: Final = frozenset({"2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"})
"""Versions of the protocol whose clients initialize; others are left to the SDK."""
_DISCOVERED: Final = "2026-07-28"
_META: Final = "io.modelcontextprotocol/"


_LASTS: Final = "Heaps outlive the server."
_ENDS: Final = "Heaps last as long as this server, which has no --data-dir."


class Opening:
    """What opens one connection. In one thread at a time."""

    def __init__(self, settings: ServerSettings) -> None:
        """Begin before the first message.

        Args:
            settings: The server's.
        """
        self._settings = settings
        self._begun = False
        self._answered: int | str | None = None

    def answer(self, line: bytes) -> str | None:
        """Answer a client's first message; any other is left to the SDK.

        Args:
            line: A message, as it came.

        Returns:
            The answer, a line; None if it is for the SDK to answer.
        """
        if self._begun or not line.strip():
            return None
        self._begun = True
        request = _read(line)
        result = None if request is None else _result(request, self._settings)
        if request is None or result is None:
            return None
        self._answered = request.id
        answer = {"jsonrpc": "2.0", "id": request.id, "result": result}
        text = json.dumps(answer, ensure_ascii=False, separators=(",", ":"))
        return f"{text}\n"

    def repeats(self, text: str) -> bool:
        """Return whether a message is the SDK's answer to what was answered already.

        Called for each message, in order, until it was; there is one such message.
        """
        if self._answered is None:
            return False
        message = json.loads(text)
        if message.get("id") != self._answered or "method" in message:
            return False
        self._answered = None
        return True


class Stream(Protocol):
    """What the SDK writes to, as anyio's files are."""

    async def write(self, text: str) -> Any:
        """Write a message, which is a line."""

    async def flush(self) -> Any:
        """Send what was written."""


class Output:
    """What the SDK writes to, without its answer to what was answered already."""

    def __init__(self, stream: Stream, opening: Opening) -> None:
        """Wrap the stream that the SDK would write to.

        Args:
            stream: What reaches the client.
            opening: What was answered.
        """
        self._stream = stream
        self._opening = opening

    async def write(self, text: str) -> None:
        """Write a message, unless it was answered already."""
        if not self._opening.repeats(text):
            await self._stream.write(text)

    async def flush(self) -> None:
        """Send what was written."""
        await self._stream.flush()


def instructions(settings: ServerSettings) -> str:
    """Return what clients pass on to their model when they connect."""
    if settings.mcp_instructions is not None:
        return settings.mcp_instructions
    if settings.stateless:
        return read("instructions-stateless")
    lasts = settings.data_dir or settings.database_url
    return read("instructions").replace("{lasting}", _LASTS if lasts else _ENDS)


class _Request(NamedTuple):
    id: int | str
    method: str
    parameters: dict[str, Any]


def _read(line: bytes) -> _Request | None:
    try:
        message = json.loads(line)
    except ValueError:
        return None
    if not isinstance(message, dict) or message.get("jsonrpc") != "2.0":
        return None
    number, parameters = message.get("id"), message.get("params")
    if isinstance(number, bool) or not isinstance(number, (int, str)):
        return None
    if not isinstance(parameters, dict):
        return None
    return _Request(number, str(message.get("method")), parameters)


def _result(request: _Request, settings: ServerSettings) -> dict[str, Any] | None:
    if request.method == "initialize":
        return _initialized(request.parameters, settings)
    if request.method == "server/discover":
        return _discovered(request.parameters, settings)
    return None


def _initialized(
    parameters: dict[str, Any], settings: ServerSettings
) -> dict[str, Any] | None:
    version = parameters.get("protocolVersion")
    known = isinstance(version, str) and version in _HANDSHAKES
    if not known or not _is_client(
        parameters.get("clientInfo"), parameters.get("capabilities")
    ):
        return None
    return {
        "protocolVersion": version,
        "capabilities": _CAPABILITIES,
        "serverInfo": IDENTITY,
        "instructions": instructions(settings),
    }


def _discovered(
    parameters: dict[str, Any], settings: ServerSettings
) -> dict[str, Any] | None:
    meta = parameters.get("_meta")
    if (
        not isinstance(meta, dict)
        or meta.get(f"{_META}protocolVersion") != _DISCOVERED
        or not _is_client(
            meta.get(f"{_META}clientInfo"), meta.get(f"{_META}clientCapabilities")
        )
    ):
        return None
    return {
        "supportedVersions": [_DISCOVERED],
        "capabilities": _CAPABILITIES,
        "instructions": instructions(settings),
        "resultType": "complete",
        "cacheScope": "private",
        "ttlMs": 0,
        "_meta": {f"{_META}serverInfo": IDENTITY},
    }


def _is_client(info: Any, capabilities: Any) -> bool:
    """Return whether a client tells of itself what it must, in plain forms."""
    if not isinstance(info, dict) or not isinstance(capabilities, dict):
        return False
    names = (info.get("name"), info.get("version"))
    return all(isinstance(name, str) for name in names) and all(
        isinstance(value, dict) for value in capabilities.values()
    )
