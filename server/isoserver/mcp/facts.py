"""What tools' descriptions say of one client and its workspace, as it is now."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from isoserver.errors import ServerError
from isoserver.runs.orders import PYTHON_RUNTIME, RUNTIME_ALIASES, RUNTIMES

if TYPE_CHECKING:
    from isoserver.http.parts import ServerParts
    from isoserver.mcp.peers import Peer

__all__ = ["ANY_CLIENT", "facts"]

_SOURCES_TOLD_MAX: Final = 10
_CALLS: Final = (
    "Tools: `await tools.SOURCE.TOOL(input)`{sources}. Find them first: `return await "
    'tools.discover({query: "send a message"})`; `tools.describe("source.tool")` gives '
    "TypeScript types. A failed call throws, with `code`, `details`, `retryable`."
)
_NO_SOURCES: Final = (
    "Tools: this workspace has no sources now, so `tools` has none: use it to compute."
)
_SESSION: Final = (
    "State: this connection's session {name} persists: variables, functions and "
    "classes stay from one run to the next."
)
_BLANK: Final = (
    "State: this connection has named no session (header X-MCP-Session-Id, or "
    "--session-id): each run begins blank."
)
_EITHER: Final = (
    "State: in a session (header X-MCP-Session-Id, or --session-id) variables, "
    "functions and classes persist; without one each run begins blank."
)
_V8: Final = f"{RUNTIMES[0]} (TypeScript, the default; other names of it: {{aliases}})"
_PYTHON: Final = f"{PYTHON_RUNTIME} (the last expression is the result; no `tools`)"


def _runtimes(*, python: bool) -> str:
    v8 = _V8.format(aliases=", ".join(RUNTIME_ALIASES))
    return f"{v8}, {_PYTHON}" if python else v8


ANY_CLIENT: Final = {
    "runtimes": _runtimes(python=True),
    "sources": _CALLS.replace("{sources}", ""),
    "state": _EITHER,
}
"""What holds for any client."""


async def facts(parts: ServerParts, peer: Peer) -> dict[str, str]:
    """Return what is to be said to a client."""
    found = {**ANY_CLIENT}
    served = parts.contexts.languages.served
    found["runtimes"] = _runtimes(python="python" in served)
    with suppress(ServerError):  # else what holds for any
        sources = await parts.tools.sources.list(peer.principal.workspace)
        names = [source.name for source in sources[:_SOURCES_TOLD_MAX]]
        more = ", and others" if len(sources) > len(names) else ""
        named = f", the sources being {', '.join(names)}{more}"
        found["sources"] = _CALLS.replace("{sources}", named) if names else _NO_SOURCES
    if peer.session is None:
        found["state"] = _BLANK
    else:
        found["state"] = _SESSION.replace("{name}", repr(peer.session[:64]))
    return found
