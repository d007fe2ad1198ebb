"""One request and its response, in pieces both ways."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import httpcore

from isokernel.errors import CapabilityError
from isokernel.network.decoding import DecodingError, decoder_for
from isokernel.timeouts import timeout

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from isokernel.network.secrets import Redaction
    from isokernel.network.settings import NetworkSettings
    from isokernel.network.targets import Target

__all__ = ["Exchange", "Head", "Request"]

_BUFFER_BYTES: Final = 1 << 20
"""How much of a response is read before somebody asks for it, and the most of it that
one call gets."""
_SENT_AGAIN: Final = frozenset({"GET", "HEAD", "OPTIONS"})

_CANCEL_SECONDS: Final = 1.0
_TOO_LARGE: Final = "too_large"
_TIMEOUT: Final = "timeout"
_FAILURES: Final[dict[type[Exception], tuple[str, str]]] = {
    httpcore.ConnectTimeout: (_TIMEOUT, "it can't be connected to: timed out"),
    httpcore.ReadTimeout: (_TIMEOUT, "it has sent nothing for too long"),
    httpcore.WriteTimeout: (_TIMEOUT, "it has taken nothing for too long"),
    httpcore.TimeoutException: (_TIMEOUT, "it has not answered in time"),
    httpcore.ConnectError: ("connection_failed", "it can't be connected to"),
    httpcore.RemoteProtocolError: ("protocol_error", "it doesn't answer in HTTP"),
    httpcore.LocalProtocolError: ("invalid_request", "the request can't be sent"),
    httpcore.NetworkError: ("connection_lost", "the connection was lost"),
}
"""By class, the more special ones first."""


class Request(NamedTuple):
    """A request that was decided.

    Attributes:
        target: Where it goes.
        method: Its method.
        headers: Its headers, without those of the connection.
        body: Its body; None if it has none, or comes in pieces.
        streaming: Whether its body comes in pieces.
        size: Bytes of a body that comes in pieces, if they are known.
    """

    target: Target
    method: str
    headers: list[tuple[str, str]]
    body: bytes | None
    streaming: bool
    size: int | None


class Head(NamedTuple):
    """What a response begins with."""

    status: int
    reason: str
    headers: list[tuple[str, str]]


class Exchange:
    """Sends a request, and keeps what comes back until it is asked for.

    All of it is done by one task, which ends when the response has come, when it fails,
    or when `close` cancels it.

    Attributes:
        ended: Whether the connection is free again.
    """

    def __init__(
        self,
        request: Request,
        settings: NetworkSettings,
        on_end: Callable[[], None],
        redaction: Redaction | None = None,
    ) -> None:
        """Send nothing yet.

        Args:
            request: What to send.
            settings: Limits.
            on_end: Called once, when the connection is free again.
            redaction: Takes secrets out of what comes back, if the host has any.
        """
        loop = asyncio.get_running_loop()
        self._request = request
        self._settings = settings
        self._on_end = on_end
        self._redaction = redaction
        self._head: asyncio.Future[Head] = loop.create_future()
        self._pieces: deque[bytes] = deque()
        self._buffered = 0
        self._received = 0
        self._sent = 0
        self._changed = asyncio.Event()
        self._outgoing: asyncio.Queue[bytes | None] = asyncio.Queue(maxsize=1)
        self._error: CapabilityError | None = None
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.ended = False

    def start(self, pools: list[httpcore.AsyncConnectionPool]) -> None:
        """Begin to send, by the first of some connections that can be made."""
        loop = asyncio.get_running_loop()
        self._task = loop.create_task(self._run(pools))
        seconds = self._settings.request_timeout_seconds
        message = f"it took longer than {seconds:g} s, net_request_timeout_seconds"
        failure = self._failure(_TIMEOUT, message)
        self._timer = loop.call_later(seconds, self._stop, failure)

    # -- for who asked ---------------------------------------------------------------

    async def head(self) -> Head:
        """Wait for the head of the response.

        Raises:
            CapabilityError: There won't be one.
        """
        return await asyncio.shield(self._head)

    async def read(self, *, wait: bool = True) -> tuple[bytes, bool]:
        """Return what has come of the body, and whether that was all.

        Args:
            wait: Whether to wait for something; else nothing may come back.

        Raises:
            CapabilityError: The rest won't come.
        """
        while wait and not self._pieces and not self.ended:
            self._changed.clear()
            await self._changed.wait()
        if self._error is not None and not self._pieces:
            raise self._error
        data = b"".join(self._pieces)
        self._pieces.clear()
        self._buffered = 0
        self._changed.set()
        return data, self.ended and self._error is None

    async def write(self, data: bytes, *, last: bool) -> None:
        """Send a piece of the request's body; returns when the next one may come.

        Raises:
            CapabilityError: It can't be sent.
        """
        self._sent += len(data)
        bytes_max = self._settings.request_bytes_max
        if self._sent > bytes_max:
            message = f"the body has more than {bytes_max} bytes, net_request_bytes_max"
            self._stop(self._failure(_TOO_LARGE, message))
        for piece in [data] * bool(data) + [None] * last:
            while self._outgoing.full() and not self.ended:
                self._changed.clear()
                await self._changed.wait()
            if self._error is not None:
                raise self._error
            if self.ended:
                return  # the server has answered without waiting for all of it
            self._outgoing.put_nowait(piece)

    async def close(self) -> None:
        """End it: nobody wants the rest."""
        self._stop(self._closed())
        self._pieces.clear()
        if self._task is not None:
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    # -- the task --------------------------------------------------------------------

    async def _run(self, pools: list[httpcore.AsyncConnectionPool]) -> None:
        response: httpcore.Response | None = None
        try:
            response = await self._send(pools)
            await self._receive(response)
        except asyncio.CancelledError:
            # `_stop` has said why; else the loop ends.
            self._error = self._error or self._closed()
        except CapabilityError as error:
            self._error = error
        except DecodingError as error:
            message = f"the body isn't what its Content-Encoding says: {error}"
            self._error = self._failure("decoding_failed", message)
        except Exception as error:  # noqa: BLE001 -- whatever the library raises
            self._error = self._failure(*_reason(error))
        finally:
            try:
                if response is not None:
                    await response.aclose()
            finally:
                self._end()

    def _end(self) -> None:
        self.ended = True
        if self._timer is not None:
            self._timer.cancel()
        if not self._head.done():
            self._head.set_exception(self._error or self._closed())
            self._head.exception()  # it may be that nobody asks
        self._changed.set()
        self._on_end()

    def _stop(self, error: CapabilityError) -> None:
        """Fail from outside of the task."""
        if not self.ended and self._error is None:
            self._error = error
            if self._task is None:
                self._end()
            else:
                self._cancel(self._task)

    def _cancel(self, task: asyncio.Task[None]) -> None:
        """Cancel the task, until it has ended.

        anyio loses a cancellation that comes just when a connection has been made.
        """
        if not task.done():
            task.cancel()
            loop = asyncio.get_running_loop()
            loop.call_later(_CANCEL_SECONDS, self._cancel, task)

    async def _send(
        self, pools: list[httpcore.AsyncConnectionPool]
    ) -> httpcore.Response:
        made = self._library_request()
        failed: Exception | None = None
        for pool in pools:
            try:
                return await pool.handle_async_request(made)
            except (  # noqa: PERF203 -- few addresses
                httpcore.ConnectError,
                httpcore.ConnectTimeout,
            ) as error:
                failed = error  # the next address may be reachable
            except httpcore.RemoteProtocolError as error:
                # An idle connection may have been closed just now.
                again = "disconnected" in str(error) and not self._request.streaming
                if not again or self._request.method not in _SENT_AGAIN:
                    raise
                return await pool.handle_async_request(self._library_request())
        assert failed is not None  # noqa: S101 - there is an address
        raise failed

    def _library_request(self) -> httpcore.Request:
        request, settings = self._request, self._settings
        target = request.target
        headers = [(b"Host", target.authority.encode("ascii"))]
        headers += [
            (name.encode("ascii"), value.encode("latin-1"))
            for name, value in request.headers
        ]
        content: Any = request.body
        if request.streaming:
            content = self._body()
            if request.size is not None:
                headers.append((b"Content-Length", str(request.size).encode()))
            else:
                headers.append((b"Transfer-Encoding", b"chunked"))
        elif content is not None or request.method in {"POST", "PUT", "PATCH"}:
            content = content or b""
            headers.append((b"Content-Length", str(len(content)).encode()))
        idle = settings.idle_timeout_seconds
        extensions = {
            "timeout": {
                "connect": settings.connect_timeout_seconds,
                "read": idle,
                "write": idle,
                "pool": idle,
            }
        }
        url = httpcore.URL(
            scheme=target.scheme,
            host=target.host,
            port=target.port,
            target=target.path,
        )
        return httpcore.Request(
            request.method, url, headers=headers, content=content, extensions=extensions
        )

    async def _body(self) -> AsyncIterator[bytes]:
        while True:
            piece = await self._outgoing.get()
            self._changed.set()
            if piece is None:
                return
            yield piece

    async def _receive(self, response: httpcore.Response) -> None:
        headers = [
            (name.decode("latin-1"), value.decode("latin-1"))
            for name, value in response.headers
        ]
        size = sum(len(name) + len(value) for name, value in headers)
        if size > self._settings.head_bytes_max:
            message = f"the headers have {size} bytes, net_head_bytes_max"
            raise self._failure(_TOO_LARGE, message)
        raw_reason: bytes = response.extensions.get("reason_phrase", b"")
        reason, redaction = raw_reason.decode("latin-1"), self._redaction
        codings = [v for n, v in headers if n.lower() == "content-encoding"]
        decoder = decoder_for(", ".join(codings))
        if redaction is not None:
            reason = redaction.text(reason)
            headers = [(name, redaction.text(value)) for name, value in headers]
        self._head.set_result(Head(response.status, reason, headers))
        async for raw in response.stream:  # type: ignore[union-attr]  # an async one
            for piece in decoder.feed(raw):
                await self._keep(piece if redaction is None else redaction.feed(piece))
        decoder.finish()
        if redaction is not None:
            await self._keep(redaction.finish())

    async def _keep(self, piece: bytes) -> None:
        """Add to what may be read; wait while that is much."""
        if not piece:
            return
        self._received += len(piece)
        bytes_max = self._settings.response_bytes_max
        if self._received > bytes_max:
            message = (
                f"the response has more than {bytes_max} bytes, net_response_bytes_max"
            )
            raise self._failure(_TOO_LARGE, message)
        loop = asyncio.get_running_loop()
        until = loop.time() + self._settings.idle_timeout_seconds
        while self._buffered + len(piece) > _BUFFER_BYTES and self._pieces:
            self._changed.clear()
            try:
                left = max(until - loop.time(), 0.0)
                async with timeout(left):
                    await self._changed.wait()
            except asyncio.TimeoutError:
                seconds = self._settings.idle_timeout_seconds
                message = (
                    f"nobody has read the response for {seconds:g} s, "
                    "net_idle_timeout_seconds"
                )
                raise self._failure(_TIMEOUT, message) from None
        self._pieces.append(piece)
        self._buffered += len(piece)
        self._changed.set()

    def _closed(self) -> CapabilityError:
        return self._failure("closed", "the request was closed")

    def _failure(self, code: str, message: str) -> CapabilityError:
        origin = self._request.target.origin
        if self._redaction is not None:  # the library may quote a header
            message = self._redaction.text(message)
        return CapabilityError(f"{origin}: {message}", code=code)


def _reason(error: Exception) -> tuple[str, str]:
    """Return the code and the message for what the library has raised."""
    for kind, (code, message) in _FAILURES.items():
        if isinstance(error, kind):
            detail = str(error)
            return code, f"{message} ({detail})" if detail else message
    return "network_error", f"the request failed ({type(error).__name__})"
