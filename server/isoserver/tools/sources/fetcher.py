"""HTTP for sources: bounded answers, no way to another host, no details of ours."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import httpx
import msgspec

from isoserver.errors import SourceError, ToolError, ToolFailedError
from isoserver.tools.sources.addresses import keep_public

if TYPE_CHECKING:
    from isoserver.tools.configuration import Limits
    from isoserver.tools.sources.credentials import Credentials

__all__ = ["Fetched", "Fetcher", "origin"]

_REDIRECTS_MAX: Final = 5
_POOL: Final = 64
_DETAIL_MAX: Final = 4000
_FIRST_ERROR: Final = 400
_RETRYABLE: Final = frozenset({408, 425, 429, 502, 503, 504})
_TEXTS: Final = ("text/", "application/xml", "application/javascript")


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
        """Give it as text."""
        try:
            return self.body.decode(self.charset, "replace")
        except LookupError:
            return self.body.decode("utf-8", "replace")

    def value(self) -> Any:
        """Give it as plain data: JSON as what it says, text as text, else a block."""
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
    """Sends the requests of one source."""

    def __init__(self, known: Credentials, limits: Limits) -> None:
        """Make a client, which `close` closes.

        Args:
            known: What is sent with each request to the source's own host.
            limits: The source's bounds.
        """
        self._known = known
        self._limits = limits
        pool = httpx.Limits(max_connections=_POOL)
        transport = httpx.AsyncHTTPTransport(limits=pool, trust_env=False)
        if not limits.private:
            keep_public(transport)
        self._client = httpx.AsyncClient(
            timeout=httpx.Timeout(limits.call_deadline),
            transport=transport,
            headers={"User-Agent": "isokernel", "Accept-Encoding": "gzip"},
            follow_redirects=False,
            trust_env=False,
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def document(self, url: str, *, known: bool) -> Fetched:
        """Get a document.

        Args:
            url: Where it is.
            known: Whether it is told who asks.

        Raises:
            SourceError: It can't be had.
        """
        try:
            request = self._request("GET", url, known=known)
            found = await self._send(request, self._limits.document_max)
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
            request = self._request(method, url, known=True, **parts)
            found = await self._send(request, self._limits.response_max)
        except httpx.TimeoutException:
            raise TimeoutError from None
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            # Its text may have the URL, and with it the key in the query.
            message = f"{path}: the service can't be reached ({type(error).__name__})"
            raise ToolFailedError(
                message,
                code="source_unavailable",
                retryable=True,
            ) from error
        if found.status >= _FIRST_ERROR:
            raise failed(path, found)
        return found

    def _request(
        self, method: str, url: str, *, known: bool, **parts: Any
    ) -> httpx.Request:
        if known:
            own = {name.lower() for name in self._known.headers}
            given = (parts.pop("headers", None) or {}).items()
            headers = {name: value for name, value in given if name.lower() not in own}
            headers.update(self._known.headers)
            params = [*(parts.pop("params", None) or []), *self._known.query.items()]
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
        """Give what a redirect asks for; None if the answer isn't one.

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
                message,
                code="redirected",
                status=response.status_code,
            )
        for name, value in self._known.headers.items():
            if name in request.headers:
                following.headers[name] = value
        return following


async def _read(response: httpx.Response, limit: int) -> Fetched:
    """Read an answer, unpacking no more of it than it may have."""
    coding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if coding not in {"identity", "gzip", "deflate", ""}:
        message = f"the answer is encoded ({coding[:32]}), which was not asked for"
        raise ToolFailedError(
            message,
            code="invalid_result",
        )
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
            message = (
                f"the answer has more than {limit} bytes, which is all that may be: "
                "ask for less"
            )
            raise ToolFailedError(
                message,
                code="response_too_large",
                details={"limit": limit},
            )
    kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    return Fetched(
        response.status_code,
        kind,
        response.charset_encoding or "utf-8",
        bytes(body),
        response.headers.get("Retry-After"),
    )


def failed(path: str, found: Fetched) -> ToolFailedError:
    """Give the error for an answer with an error's status."""
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
    """Give scheme, host and port of a URL: what of it may be shown."""
    try:
        found = httpx.URL(url)
    except httpx.InvalidURL:
        return "the URL"
    port = f":{found.port}" if found.port is not None else ""
    return f"{found.scheme}://{found.host}{port}"
