"""Who sends requests: one that blocks, and one for asyncio; both by httpx.

Connections are kept and used again. httpx is loaded with the first request, for that
takes 100 ms, twice as long as all else here.
"""

from __future__ import annotations

import threading
import time
import uuid
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from isokernel.client.errors import (
    ClientError,
    ClientSettingsError,
    NetworkError,
    NetworkTimeoutError,
    ProtocolError,
)
from isokernel.client.requests import (
    NOTHING,
    Answer,
    Pause,
    Request,
    Steps,
    pause_before_retry,
    refusal,
)

if TYPE_CHECKING:
    from collections.abc import (
        AsyncIterator,
        Generator,
        Iterator,
        Mapping,
    )
    from typing import BinaryIO

    import httpx

    from isokernel.client.settings import ClientSettings

__all__ = ["AsyncExecutor", "Executor"]

T = TypeVar("T")
_CHUNK_BYTES: Final = 1 << 18
_CONNECT_SECONDS: Final = 10.0
_KEEPALIVE_SECONDS: Final = 30.0
_ERROR_BYTES_MAX: Final = 1 << 20


class Executor:
    """Sends requests, and waits for their answers.

    Attributes:
        settings: Where the server is, and how long to wait for it.
    """

    def __init__(self, settings: ClientSettings) -> None:
        """Note where to; nothing is connected.

        Args:
            settings: Where the server is, and how long to wait for it.
        """
        self.settings = settings
        self._lock = threading.Lock()
        self._http: httpx.Client | None = None
        self._users = 0

    def retain(self) -> None:
        """Note one more context that uses the connections."""
        with self._lock:
            self._users += 1

    def release(self) -> None:
        """Note that a context doesn't need them any more; the last one closes them."""
        with self._lock:
            self._users -= 1
            last = self._users == 0
        if last:
            self.close()

    def close(self) -> None:
        """Close the connections; the next request makes new ones."""
        with self._lock:
            http, self._http = self._http, None
        if http is not None:
            http.close()

    def run(self, steps: Steps[T]) -> T:
        """Do what a call asks for, and return what comes of it."""
        try:
            step = next(steps)
            while True:
                came = self._step(step)
                if isinstance(came, ClientError):
                    step = steps.throw(came)
                else:
                    step = steps.send(came)
        except StopIteration as end:
            result: T = end.value
            return result

    def _step(self, step: Request | Pause) -> Answer | ClientError:
        if isinstance(step, Pause):
            time.sleep(step.seconds)
            return NOTHING
        content = bytearray()
        try:
            with self.open(step) as response:
                for chunk in self.body(response):
                    content += chunk
                    _check_size(len(content), self.settings.answer_bytes_max)
        except ClientError as error:
            return error
        return Answer(response.status_code, response.headers, bytes(content))

    @contextmanager
    def open(self, request: Request) -> Iterator[httpx.Response]:
        """Send a request, and give the answer whose body is yet to be read."""
        response = self._sent(request)
        try:
            yield response
        finally:
            response.close()

    def chunks(self, request: Request) -> Generator[bytes, None, None]:
        """Give the body of an answer, piece by piece."""
        with self.open(request) as response:
            yield from self.body(response)

    def body(self, response: httpx.Response) -> Generator[bytes, None, None]:
        """Give the body of an open answer, piece by piece."""
        with _mapped(self.settings.url):
            yield from response.iter_bytes()

    def save(self, request: Request, target: Path) -> int:
        """Write the body of an answer to a file, which appears when it is whole.

        Returns:
            How many bytes it has.
        """
        part = _part_of(target)
        try:
            with part.open("wb") as file:
                for chunk in self.chunks(request):
                    file.write(chunk)
                size = file.tell()
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
        return size

    def _sent(self, request: Request) -> httpx.Response:
        tried = 0
        while True:
            try:
                return self._send_once(request)
            except ClientError as error:
                retries = self.settings.retries_max
                pause = pause_before_retry(request, error, tried, retries)
                if pause is None:
                    raise
            time.sleep(pause)
            tried += 1

    def _send_once(self, request: Request) -> httpx.Response:
        http = self._client()
        with _mapped(self.settings.url), ExitStack() as opened:
            content: Any = request.encoded()
            if isinstance(request.content, Path):
                file = opened.enter_context(request.content.open("rb"))
                content = _pieces(file)
            built = http.build_request(
                request.method,
                self.settings.url + request.target,
                content=content,
                headers=_headers(request),
                **_timeout(request),
            )
            response = http.send(built, stream=True)
            if response.is_success:
                return response
            try:
                body = b"".join(_bounded(response.iter_bytes()))
            finally:
                response.close()
        raise refusal(response.status_code, response.headers, body)

    def _client(self) -> httpx.Client:
        with self._lock:
            if self._http is None:
                import httpx  # noqa: PLC0415 -- 100 ms, see above

                self._http = httpx.Client(**_options(self.settings))
            return self._http


class AsyncExecutor:
    """Sends requests, and awaits their answers.

    Attributes:
        settings: Where the server is, and how long to wait for it.
    """

    def __init__(self, settings: ClientSettings) -> None:
        """Note where to; nothing is connected.

        Args:
            settings: Where the server is, and how long to wait for it.
        """
        self.settings = settings
        self._http: httpx.AsyncClient | None = None
        self._loop: object = None
        self._users = 0

    def retain(self) -> None:
        """Note one more context that uses the connections."""
        self._users += 1

    async def release(self) -> None:
        """Note that a context doesn't need them any more; the last one closes them."""
        self._users -= 1
        if not self._users:
            await self.close()

    async def close(self) -> None:
        """Close the connections; the next request makes new ones."""
        http, self._http = self._http, None
        if http is not None:
            await http.aclose()

    async def run(self, steps: Steps[T]) -> T:
        """Do what a call asks for, and return what comes of it."""
        try:
            step = next(steps)
            while True:
                came = await self._step(step)
                if isinstance(came, ClientError):
                    step = steps.throw(came)
                else:
                    step = steps.send(came)
        except StopIteration as end:
            result: T = end.value
            return result

    async def _step(self, step: Request | Pause) -> Answer | ClientError:
        if isinstance(step, Pause):
            await _sleep(step.seconds)
            return NOTHING
        content = bytearray()
        try:
            async with self.open(step) as response:
                async for chunk in self.body(response):
                    content += chunk
                    _check_size(len(content), self.settings.answer_bytes_max)
        except ClientError as error:
            return error
        return Answer(response.status_code, response.headers, bytes(content))

    @asynccontextmanager
    async def open(self, request: Request) -> AsyncIterator[httpx.Response]:
        """Send a request, and give the answer whose body is yet to be read."""
        response = await self._sent(request)
        try:
            yield response
        finally:
            await response.aclose()

    async def body(self, response: httpx.Response) -> AsyncIterator[bytes]:
        """Give the body of an open answer, piece by piece."""
        with _mapped(self.settings.url):
            async for chunk in response.aiter_bytes():
                yield chunk

    async def save(self, request: Request, target: Path) -> int:
        """Write the body of an answer to a file, which appears when it is whole.

        Returns:
            How many bytes it has.
        """
        import anyio  # noqa: PLC0415 -- httpx has loaded it

        part = _part_of(target)
        try:
            async with await anyio.open_file(part, "wb") as file:
                async with self.open(request) as response:
                    async for chunk in self.body(response):
                        await file.write(chunk)
                size = await file.tell()
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
        return size

    async def _sent(self, request: Request) -> httpx.Response:
        tried = 0
        while True:
            try:
                return await self.send(request)
            except ClientError as error:
                retries = self.settings.retries_max
                pause = pause_before_retry(request, error, tried, retries)
                if pause is None:
                    raise
            await _sleep(pause)
            tried += 1

    async def send(self, request: Request) -> httpx.Response:
        """Send a request once, and return the answer whose body is yet to be read.

        Raises:
            NetworkError: There is no answer.
            StatusError: It is an error.
        """
        http = self._client()
        with _mapped(self.settings.url):
            content: Any = request.encoded()
            if isinstance(request.content, Path):
                content = _async_pieces(request.content)
            built = http.build_request(
                request.method,
                self.settings.url + request.target,
                content=content,
                headers=_headers(request),
                **_timeout(request),
            )
            response = await http.send(built, stream=True)
            if response.is_success:
                return response
            try:
                body = bytearray()
                async for chunk in response.aiter_bytes():
                    body += chunk
                    if len(body) > _ERROR_BYTES_MAX:
                        break
            finally:
                await response.aclose()
        raise refusal(response.status_code, response.headers, bytes(body))

    def _client(self) -> httpx.AsyncClient:
        import anyio.lowlevel  # noqa: PLC0415 -- httpx needs it

        loop = anyio.lowlevel.current_token()
        if self._http is None or self._loop != loop:
            import httpx  # noqa: PLC0415 -- 100 ms, see above

            # Connections are of the loop that made them; another asyncio.run has ended.
            self._http = httpx.AsyncClient(**_options(self.settings))
            self._loop = loop
        return self._http


def _options(settings: ClientSettings) -> dict[str, Any]:
    """Return what both of httpx's clients are made with."""
    import ssl  # noqa: PLC0415 -- with httpx

    import httpx  # noqa: PLC0415

    verify: Any = settings.ssl_context or True
    if settings.url.startswith("http:"):
        # Trusts nobody, and needn't: reading whom to trust takes 50 ms.
        verify = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return {
        "headers": settings.headers,
        "timeout": httpx.Timeout(
            settings.timeout, connect=min(_CONNECT_SECONDS, settings.timeout)
        ),
        "limits": httpx.Limits(
            max_connections=None,
            max_keepalive_connections=100,
            keepalive_expiry=_KEEPALIVE_SECONDS,
        ),
        "verify": verify,
    }


def _timeout(request: Request) -> dict[str, Any]:
    if request.seconds is None:
        return {}
    import httpx  # noqa: PLC0415 -- the client has loaded it

    return {"timeout": httpx.Timeout(request.seconds, connect=_CONNECT_SECONDS)}


def _headers(request: Request) -> Mapping[str, str]:
    headers = dict(request.headers)
    if request.body is not None:
        headers["Content-Type"] = "application/json"
    elif isinstance(request.content, Path):
        headers["Content-Length"] = str(request.content.stat().st_size)
    return headers


@contextmanager
def _mapped(url: str) -> Iterator[None]:
    """Make errors of the client of those of httpx; the only place that does."""
    import httpx  # noqa: PLC0415 -- the client has loaded it

    try:
        yield
    except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
        raise ClientSettingsError(str(error)) from error
    except httpx.DecodingError as error:
        raise ProtocolError(str(error)) from error
    except httpx.TransportError as error:
        unsent = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
        timeout = isinstance(error, httpx.TimeoutException)
        failure = NetworkTimeoutError if timeout else NetworkError
        message = f"there is no answer from {url}: {str(error) or type(error).__name__}"
        raise failure(message, sent=not isinstance(error, unsent)) from error


def _check_size(size: int, limit: int) -> None:
    if size > limit:
        message = f"the answer has more than answer_bytes_max ({limit}) bytes"
        raise ProtocolError(message)


def _bounded(chunks: Iterator[bytes]) -> Iterator[bytes]:
    size = 0
    for chunk in chunks:
        yield chunk
        size += len(chunk)
        if size > _ERROR_BYTES_MAX:
            return


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    while chunk := file.read(_CHUNK_BYTES):
        yield chunk


async def _async_pieces(path: Path) -> AsyncIterator[bytes]:
    import anyio  # noqa: PLC0415 -- httpx has loaded it

    async with await anyio.open_file(path, "rb") as file:
        while chunk := await file.read(_CHUNK_BYTES):
            yield chunk


def _part_of(target: Path) -> Path:
    """Return where a file is written until it is whole."""
    return target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.part")


async def _sleep(seconds: float) -> None:
    import anyio  # noqa: PLC0415 -- httpx has loaded it

    await anyio.sleep(seconds)
