"""Where requests may come from: Host and Origin headers; and security headers."""

from __future__ import annotations

import functools
import ipaddress
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from isokernel.capabilities.hosts import read_host, read_origin, read_place
from isoserver.errors import OriginError

if TYPE_CHECKING:
    from tornado.httputil import HTTPServerRequest

    from isoserver.settings.server import ServerSettings

__all__ = ["SECURITY_HEADERS", "Guard"]

_ANY: Final = "*"
SECURITY_HEADERS: Final = {
    "Server": "isokernel",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""Headers of every response."""


class Guard:
    """Checks the Host and Origin headers of requests, before anything else."""

    def __init__(self, settings: ServerSettings) -> None:
        """Note what is allowed.

        Args:
            settings: The server's settings.
        """
        self._hosts = {"localhost", settings.host.lower()} | {
            host if host == _ANY else read_host(read_place(host).host).name
            for host in settings.allowed_host
        }
        self._origins = {
            origin if origin == _ANY else read_origin(origin)
            for origin in settings.cors_origin
        }
        self._public = _origin(settings.public_url)

    def check_host(self, request: HTTPServerRequest) -> None:
        """Refuse hosts that aren't ours: a page's own name may lead here (rebinding).

        An address can't be rebound, so every address is allowed.

        Raises:
            OriginError: The Host header names something else.
        """
        name = _name(request.host)
        if _ANY in self._hosts or name in self._hosts or _is_address(name):
            return
        message = "the Host header isn't allowed (allowed_host)"
        raise OriginError(message)

    def check_origin(self, request: HTTPServerRequest) -> None:
        """Refuse requests of other sites' pages.

        Raises:
            OriginError: The Origin header isn't ours and isn't allowed.
        """
        origin = request.headers.get("Origin")
        if origin is None or self.allows(origin):
            return
        if self.is_own(origin, request):
            return
        message = "the Origin isn't allowed (cors_origin)"
        raise OriginError(message)

    def is_own(self, origin: str, request: HTTPServerRequest) -> bool:
        """Tell whether an origin is this server, as the request or a setting has it."""
        return origin in {f"{request.protocol}://{request.host}", self._public}

    def allows(self, origin: str) -> bool:
        """Tell whether pages of an origin may call."""
        return _ANY in self._origins or origin in self._origins


def _origin(url: str | None) -> str | None:
    """Return the origin of a URL as browsers write it."""
    if url is None:
        return None
    parts = urlsplit(url)
    return read_origin(f"{parts.scheme}://{parts.netloc}")


# Most requests name one of a few hosts, and parsing a name costs 3 µs.
@functools.lru_cache(maxsize=64)
def _name(host: str) -> str:
    return (urlsplit(f"//{host}").hostname or "").lower().removesuffix(".")


@functools.lru_cache(maxsize=1024)
def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
