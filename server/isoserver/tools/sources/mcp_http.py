"""An HTTP client for the SDK's transports, with limits on what it reads."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Final

import httpx2

from isoserver.tools.sources.addresses import keep_public

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator

    from isoserver.tools.sources.base import SourceLimits
    from isoserver.tools.sources.credentials import Credentials

__all__ = ["TOO_LARGE_TEXT", "make_client"]

TOO_LARGE_TEXT: Final = "more than it may"
"""Found in the text of the error, which is all that the SDK passes on."""

_POOL: Final = 64


@cache
def _tls() -> ssl.SSLContext:
    """Return whom all sources are verified by; made once: reading that takes 25 ms."""
    return httpx2.create_ssl_context(trust_env=False)


class _TooLargeError(httpx2.StreamError):
    """A body has more bytes than it may."""


class _Bounded(httpx2.AsyncByteStream):
    """A body that ends with an error when it grows over the bound."""

    def __init__(self, body: httpx2.AsyncByteStream, limit: int) -> None:
        self._body = body
        self._limit = limit

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for piece in self._body:
            size += len(piece)
            if size > self._limit:
                message = f"the answer has {TOO_LARGE_TEXT}: {self._limit} bytes"
                raise _TooLargeError(message)
            yield piece

    async def aclose(self) -> None:
        await self._body.aclose()


class _Transport(httpx2.AsyncHTTPTransport):
    """The usual one, with bounds."""

    def __init__(self, limit: int) -> None:
        limits = httpx2.Limits(max_connections=_POOL)
        super().__init__(verify=_tls(), limits=limits, trust_env=False)
        self._limit = limit

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request."""
        # What is small on the way may be large once unpacked.
        request.headers["Accept-Encoding"] = "identity"
        response = await super().handle_async_request(request)
        coding = response.headers.get("Content-Encoding", "identity")
        if coding != "identity":
            await response.aclose()
            message = f"the answer is encoded ({coding}), which was not asked for"
            raise httpx2.RemoteProtocolError(message)
        # Streams of events go on for as long as they like; each event is bounded.
        kind = response.headers.get("Content-Type", "")
        body: Any = response.stream
        if not kind.startswith("text/event-stream"):
            response.stream = _Bounded(body, self._limit)
        return response


def make_client(credentials: Credentials, limits: SourceLimits, **options: Any) -> Any:
    """Return a client, which the caller closes."""
    transport = _Transport(limits.response_bytes_max)
    if not limits.private:
        keep_public(transport)
    seconds = max(limits.call_timeout_seconds, limits.start_timeout_seconds)
    return httpx2.AsyncClient(
        headers={**credentials.headers, **(options.get("headers") or {})},
        timeout=httpx2.Timeout(limits.start_timeout_seconds, read=seconds),
        transport=transport,
        follow_redirects=False,
    )
