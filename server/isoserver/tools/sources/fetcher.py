"""HTTP for sources: answers have limits, redirects stay on the host."""

from __future__ import annotations

import zlib
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import httpx
import msgspec

from isoserver.errors import SourceError, ToolError, ToolFailedError
from isoserver.tools.sources.addresses import keep_public
from isoserver.tools.sources.base import too_large

if TYPE_CHECKING:
    import ssl

    from isoserver.tools.sources.base import SourceLimits
    from isoserver.tools.sources.credentials import Credentials

__all__ = ["Fetched", "Fetcher", "origin", "read_file", "trusted_authorities"]

_REDIRECTS_MAX: Final = 5
_POOL: Final = 64
_DETAIL_MAX: Final = 4000
_FIRST_ERROR: Final = 400
_RETRYABLE: Final = frozenset({408, 425, 429, 502, 503, 504})
_TEXTS: Final = ("text/", "application/xml", "application/javascript")


@cache
def trusted_authorities() -> ssl.SSLContext:
    """Return whom all sources are verified by; made once: reading that takes 25 ms."""
    return httpx.create_ssl_context(trust_env=False)


class Fetched(NamedTuple):
    """An answer.

    Attributes:
        status: Its status.
        kind: Its media type, without parameters, in lower case.
        charset: Its charset.
        body: Its bytes, unpacked.
        retry_after: What its Retry-After says.
    """

    status: int
    kind: str
    charset: str
    body: bytes
    retry_after: str | None = None

    def text(self) -> str:
        """Return the body as text."""
        try:
            return self.body.decode(self.charset, "replace")
        except LookupError:
            return self.body.decode("utf-8", "replace")

    def value(self) -> Any:
        """Return the body as plain data: JSON parsed, text as text, else a block."""
        if not self.body:
            return None
        if self.kind == "application/json" or self.kind.endswith("+json"):
            try:
                return msgspec.json.decode(self.body)
            except (msgspec.DecodeError, RecursionError):
                return self.text()
        if not self.kind or self.kind.startswith(_TEXTS) or self.kind.endswith("+xml"):
            return self.text()
        data = msgspec.to_builtins(self.body)
        return {"type": "blob", "mimeType": self.kind, "data": data}


class Fetcher:
    """Sends the requests of one source; made without a client, which `close` closes."""

    def __init__(self, credentials: Credentials, limits: SourceLimits) -> None:
        """Keep what is needed.

        Args:
            credentials: What is sent with each request to the source's own host.
            limits: The source's limits.
        """
        self._credentials = credentials
        self._limits = limits

    @cached_property
    def _client(self) -> httpx.AsyncClient:
        pool = httpx.Limits(max_connections=_POOL)
        transport = httpx.AsyncHTTPTransport(
            verify=trusted_authorities(), limits=pool, trust_env=False
        )
        if not self._limits.private:
            keep_public(transport)
        return httpx.AsyncClient(
            timeout=httpx.Timeout(self._limits.call_timeout_seconds),
            transport=transport,
            headers={"User-Agent": "isokernel", "Accept-Encoding": "gzip"},
            follow_redirects=False,
            trust_env=False,
        )

    async def close(self) -> None:
        """Close the connections."""
        if "_client" in self.__dict__:
            await self._client.aclose()

    async def document(self, url: str, *, trusted: bool) -> Fetched:
        """Get a document.

        Args:
            url: Where it is.
            trusted: Whether the credentials are sent.

        Raises:
            SourceError: It can't be had.
        """
        try:
            request = self._request("GET", url, trusted=trusted)
            found = await self._send(request, self._limits.document_bytes_max)
        except ToolError as error:
            raise SourceError(str(error)) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            kind = type(error).__name__
            message = f"{origin(url)} can't be reached: {kind}"
            raise SourceError(message) from error
        if found.status >= _FIRST_ERROR:
            message = f"{origin(url)} answered {found.status} for the document"
            raise SourceError(message)
        return found

    async def call(self, path: str, method: str, url: str, **parts: Any) -> Fetched:
        """Send the request of a call.

        Args:
            path: The tool's, for errors.
            method: The method.
            url: Where to.
            parts: What httpx takes: params, headers, cookies, json, data, content.

        Raises:
            ToolFailedError: It failed, or was answered with an error's status.
        """
        try:
            request = self._request(method, url, trusted=True, **parts)
            found = await self._send(request, self._limits.response_bytes_max)
        except httpx.TimeoutException:
            raise TimeoutError from None
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            # Its text may have the URL, and with it the key in the query.
            message = f"{path}: the service can't be reached ({type(error).__name__})"
            raise ToolFailedError(
                message, code="source_unavailable", retryable=True
            ) from error
        if found.status >= _FIRST_ERROR:
            raise failed(path, found)
        return found

    def _request(
        self, method: str, url: str, *, trusted: bool, **parts: Any
    ) -> httpx.Request:
        if trusted:
            own = {name.lower() for name in self._credentials.headers}
            given = (parts.pop("headers", None) or {}).items()
            headers = {name: value for name, value in given if name.lower() not in own}
            headers.update(self._credentials.headers)
            params = [
                *(parts.pop("params", None) or []),
                *self._credentials.query.items(),
            ]
            if params:
                target = httpx.URL(url)
                kept = [p for p in target.params.multi_items() if p not in params]
                parts["params"] = [*kept, *params]
            return self._client.build_request(method, url, headers=headers, **parts)
        return self._client.build_request(method, url, **parts)

    async def _send(self, request: httpx.Request, limit: int) -> Fetched:
        for _ in range(_REDIRECTS_MAX + 1):
            response = await self._client.send(request, stream=True)
            try:
                following = self._following(request, response)
                if following is None:
                    return await _read(response, limit)
            finally:
                await response.aclose()
            request = following
        message = "it redirects on and on"
        raise ToolFailedError(message, code="redirected")

    def _following(
        self, request: httpx.Request, response: httpx.Response
    ) -> httpx.Request | None:
        """Return the request that a redirect asks for; None if the answer isn't one.

        Raises:
            ToolFailedError: It leads to another host, or would send the body again.
        """
        following = response.next_request
        if following is None:
            return None
        here, there = request.url, following.url
        same = (here.scheme, here.host, here.port) == (
            there.scheme,
            there.host,
            there.port,
        )
        if not same or request.method not in {"GET", "HEAD"} or there.userinfo:
            message = (
                f"it redirects to {there.scheme}://{there.host}, which is not followed"
            )
            raise ToolFailedError(
                message, code="redirected", status=response.status_code
            )
        for name, value in self._credentials.headers.items():
            if name in request.headers:
                following.headers[name] = value
        return following


async def _read(response: httpx.Response, limit: int) -> Fetched:
    """Read an answer, unpacking no more of it than it may have."""
    coding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if coding not in {"identity", "gzip", "deflate", ""}:
        message = f"the answer is encoded ({coding[:32]}), which was not asked for"
        raise ToolFailedError(message, code="invalid_result")
    unpack = None if coding in {"identity", ""} else zlib.decompressobj(32 + 15)
    body = bytearray()
    async for piece in response.aiter_raw():
        left = limit + 1 - len(body)
        try:
            body += unpack.decompress(piece, left) if unpack else piece[:left]
        except zlib.error as error:
            message = "the answer can't be unpacked"
            raise ToolFailedError(message, code="invalid_result") from error
        if len(body) > limit:
            raise too_large(limit)
    kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    return Fetched(
        response.status_code,
        kind,
        response.charset_encoding or "utf-8",
        bytes(body),
        response.headers.get("Retry-After"),
    )


def failed(path: str, found: Fetched) -> ToolFailedError:
    """Return the error for an answer with an error's status."""
    text = found.text().strip()
    details = found.value() if len(text) <= _DETAIL_MAX else text[:_DETAIL_MAX]
    first = text.partition("\n")[0][:200]
    message = f"{path}: HTTP {found.status}" + (f": {first}" if first else "")
    if found.retry_after is not None:
        details = {"body": details, "retryAfter": found.retry_after}
    return ToolFailedError(
        message,
        code="http_error",
        status=found.status,
        details=details,
        retryable=found.status in _RETRYABLE,
    )


def origin(url: str) -> str:
    """Return scheme, host and port of a URL: what of it may be shown."""
    try:
        found = httpx.URL(url)
    except httpx.InvalidURL:
        return "the URL"
    port = f":{found.port}" if found.port is not None else ""
    return f"{found.scheme}://{found.host}{port}"


def read_file(place: str, limit: int) -> bytes:
    """Read a file of the configuration.

    Raises:
        SourceError: It can't be read, or is too large.
    """
    try:
        with Path(place).open("rb") as file:
            data = file.read(limit + 1)
    except (OSError, ValueError) as error:
        message = f"the file {place} can't be read"
        raise SourceError(message) from error
    if len(data) > limit:
        message = f"the file {place} has more than {limit} bytes"
        raise SourceError(message)
    return data
