"""Where requests may come from: names of the host, origins of pages."""

from __future__ import annotations

import functools
import hashlib
import ipaddress
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from isoserver.errors import OriginError

if TYPE_CHECKING:
    from tornado.httputil import HTTPServerRequest

    from isoserver.settings.server import ServerSettings

__all__ = ["Guard", "security_headers"]

_ANY: Final = "*"


class Guard:
    """Checks requests before anything of them is looked at."""

    def __init__(self, settings: ServerSettings) -> None:
        """Take what is allowed.

        Args:
            settings: Settings of the server.
        """
        self._hosts = {"localhost", settings.host.lower()} | {
            host.lower() for host in settings.allowed_host
        }
        self._origins = set(settings.cors_origin)

    def check_host(self, request: HTTPServerRequest) -> None:
        """Refuse names that aren't ours: a page's own name may lead here (rebinding).

        An address can't be rebound, so every address is fine.

        Raises:
            OriginError: The Host header names something else.
        """
        name = _name(request.host)
        if _ANY in self._hosts or name in self._hosts or _is_address(name):
            return
        message = "the Host header isn't allowed (--allowed-host)"
        raise OriginError(message)

    def check_origin(self, request: HTTPServerRequest) -> None:
        """Refuse what other sites' pages send.

        Raises:
            OriginError: The Origin header isn't ours and isn't allowed.
        """
        origin = request.headers.get("Origin")
        if origin is None or self.allows(origin):
            return
        if origin == f"{request.protocol}://{request.host}":
            return
        message = "the Origin isn't allowed (--cors-origin)"
        raise OriginError(message)

    def allows(self, origin: str) -> bool:
        """Tell whether pages of an origin may call."""
        return _ANY in self._origins or origin in self._origins


def security_headers() -> dict[str, str]:
    """Give the headers that every answer has."""
    return {
        "Server": "isokernel",
        "Cache-Control": "no-store",
        "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
    }


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


# Most requests name one of a few hosts, and to take a name apart costs 3 µs.
@functools.lru_cache(maxsize=64)
def _name(host: str) -> str:
    return (urlsplit(f"//{host}").hostname or "").lower()


@functools.lru_cache(maxsize=1024)
def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
