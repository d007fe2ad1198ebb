"""A site on loopback, and contexts whose code can reach it by `fetch`."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import select
import threading
import time
import zlib
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import brotli
from tests.support.local_contexts import LocalContext
from tests.support.waiting import DEADLINE, wait_for

from isokernel.capabilities import Grant, Holder
from isokernel.context.events import CallAnswer, CapabilityCall
from isokernel.errors import CapabilityDeniedError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable, Coroutine, Iterator

    from isokernel.capabilities import Asked, Providers
    from isokernel.context.events import Event

TEXT = b"text, " * 100_000


class LoopThread:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run something to its end."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(DEADLINE)

    def close(self) -> None:
        async def end() -> None:
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
            await self.loop.shutdown_default_executor()

        self.run(end())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


class Seen(NamedTuple):
    """A request as the site has got it."""

    method: str
    path: str
    query: dict[str, str]
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        found = [value for key, value in self.headers if key.lower() == name]
        return ", ".join(found) if found else None


class Site:
    """An HTTP server whose answers say what it was asked.

    Attributes:
        port: Where it listens on 127.0.0.1.
        seen: The requests that it has got.
        connections: How many connections were made to it.
        live: How many of them there are now.
        dropped: How many requests were given up while they were answered.
    """

    def __init__(self, thread: LoopThread, tls: ssl.SSLContext | None = None) -> None:
        self._thread = thread
        self._tls = tls
        self.seen: deque[Seen] = deque(maxlen=100)
        self.connections = 0
        self.live = 0
        self.dropped = 0
        self._gates: dict[str, asyncio.Event] = {}
        self._server: asyncio.Server = thread.run(self._listen())
        self.port: int = self._server.sockets[0].getsockname()[1]

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    async def _listen(self) -> asyncio.Server:
        return await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)

    def close(self) -> None:
        async def end() -> None:
            self._server.close()

        self._thread.run(end())

    def open_gate(self, name: str) -> None:
        """Let the answers go on that wait for it."""
        self._thread.loop.call_soon_threadsafe(self._gate(name).set)

    def end_connections(self) -> None:
        """End what is still being answered, and wait until no connection is left."""
        for gate in list(self._gates):
            self.open_gate(gate)
        wait_for(lambda: self.live == 0)
        self._gates.clear()

    def _gate(self, name: str) -> asyncio.Event:
        return self._gates.setdefault(name, asyncio.Event())

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.connections += 1
        self.live += 1
        try:
            while (seen := await _read(reader)) is not None:
                self.seen.append(seen)
                if not await self._answer(seen, writer):
                    break
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            self.dropped += 1
        except asyncio.CancelledError:
            pass  # the test is over
        finally:
            writer.close()
            self.live -= 1

    async def _answer(self, seen: Seen, writer: asyncio.StreamWriter) -> bool:
        name = seen.path.strip("/").partition("/")[0]
        action = getattr(self, f"_{name}", self._echo)
        made: bool | None = await action(seen, writer)
        return made is not False

    # -- answers ---------------------------------------------------------------------

    async def _echo(self, seen: Seen, writer: asyncio.StreamWriter) -> None:
        content = {
            "method": seen.method,
            "path": seen.path,
            "headers": {name.lower(): value for name, value in seen.headers},
            "body": seen.body.decode("latin-1"),
        }
        headers = [("Content-Type", "application/json"), ("X-A", "1"), ("X-A", "2")]
        _send(writer, 200, headers, json.dumps(content).encode(), seen)

    async def _count(self, seen: Seen, writer: asyncio.StreamWriter) -> None:
        _send(writer, 200, [], str(len(seen.body)).encode(), seen)

    async def _status(self, seen: Seen, writer: asyncio.StreamWriter) -> None:
        status = int(seen.path.rpartition("/")[2])
        headers = [("Location", seen.query["to"])] if "to" in seen.query else []
        _send(writer, status, headers, b"", seen)

    async def _packed(self, seen: Seen, writer: asyncio.StreamWriter) -> None:
        coding = seen.query["by"]
        data = {
            "gzip": gzip.compress(TEXT),
            "deflate": zlib.compress(TEXT),
            "br": brotli.compress(TEXT),
            "gzip, br": brotli.compress(gzip.compress(TEXT)),
            "unknown": b"as it is",
        }[coding]
        if "cut" in seen.query:
            data = data[:-8]
        _send(writer, 200, [("Content-Encoding", coding)], data, seen)

    async def _bomb(self, seen: Seen, writer: asyncio.StreamWriter) -> None:
        data = gzip.compress(bytes(8 << 20))
        _send(writer, 200, [("Content-Encoding", "gzip")], data, seen)

    async def _pieces(self, seen: Seen, writer: asyncio.StreamWriter) -> bool:
        count, size = int(seen.query["count"]), int(seen.query["size"])
        _head(writer, 200, [("Transfer-Encoding", "chunked")])
        for number in range(count):
            piece = bytes([number % 256]) * size
            writer.write(f"{size:x}\r\n".encode() + piece + b"\r\n")
            await writer.drain()
            if number == 0 and "gate" in seen.query:
                await self._gate(seen.query["gate"]).wait()
        if "cut" in seen.query:
            return False
        writer.write(b"0\r\n\r\n")
        return True

    async def _wait(self, seen: Seen, writer: asyncio.StreamWriter) -> None:
        await self._gate(seen.query["gate"]).wait()
        _send(writer, 200, [], b"at last", seen)

    async def _nothing(self, _seen: Seen, _writer: asyncio.StreamWriter) -> bool:
        return False

    async def _garbage(self, _seen: Seen, writer: asyncio.StreamWriter) -> bool:
        writer.write(b"SSH-2.0-OpenSSH_9.9\r\n")
        return False

    async def _large_head(self, seen: Seen, writer: asyncio.StreamWriter) -> None:
        _send(writer, 200, [("X-A", "a" * 50_000), ("X-B", "b" * 30_000)], b"", seen)


async def _read(reader: asyncio.StreamReader) -> Seen | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.decode("latin-1").strip().split("\r\n")
    method, target, _ = first.split(" ")
    headers = [(n, v.strip()) for n, _, v in (line.partition(":") for line in lines)]
    known = {name.lower(): value for name, value in headers}
    body = b""
    if known.get("transfer-encoding") == "chunked":
        while size := int(await reader.readline(), 16):
            body += await reader.readexactly(size)
            await reader.readexactly(2)
        await reader.readexactly(2)
    elif "content-length" in known:
        body = await reader.readexactly(int(known["content-length"]))
    parts = urlsplit(target)
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    return Seen(method, parts.path, query, headers, body)


def _head(
    writer: asyncio.StreamWriter, status: int, headers: list[tuple[str, str]]
) -> None:
    lines = [f"HTTP/1.1 {status} Fine", *(f"{n}: {v}" for n, v in headers)]
    writer.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))


def _send(
    writer: asyncio.StreamWriter,
    status: int,
    headers: list[tuple[str, str]],
    body: bytes,
    seen: Seen,
) -> None:
    _head(writer, status, [*headers, ("Content-Length", str(len(body)))])
    if seen.method != "HEAD":
        writer.write(body)


async def allow_all(_asked: Asked) -> None:
    """Decide as tests do whose subject isn't the policy."""


class Rules:
    """Decides by what of a request is allowed, and keeps what was asked.

    Attributes:
        asked: What was asked, in its order.
    """

    def __init__(self, allows: Callable[[Asked], bool]) -> None:
        self._allows = allows
        self.asked: list[Asked] = []

    async def __call__(self, asked: Asked) -> None:
        self.asked.append(asked)
        if not self._allows(asked):
            raise CapabilityDeniedError(asked.capability, asked.target, "a rule")


@contextmanager
def serve_site() -> Iterator[Site]:
    """A site with a loop of its own."""
    thread = LoopThread()
    site = Site(thread)
    yield site
    site.close()
    thread.close()


class NetContext(LocalContext):
    """A context whose calls are answered by providers in another thread."""

    def __init__(
        self,
        thread: LoopThread,
        providers: Providers,
        decide: Callable[[Asked], Awaitable[None]] = allow_all,
        **options: Any,
    ) -> None:
        self._thread = thread
        self.holder = Holder(providers, self._report)
        self.grant = Grant(f"context-{id(self)}", decide)
        self.defects: list[Exception] = []
        self._answers: deque[tuple[int, CallAnswer]] = deque()
        self._readable, self._writable = os.pipe()
        super().__init__(call_now=self._call_now, **options)
        sink = self.context.bridge.host.sink

        def take(event: Event) -> None:
            if isinstance(event, CapabilityCall):
                self._begin(event)
            else:
                sink(event)

        self.context.bridge.host.sink = take

    def _report(self, _name: str, error: Exception) -> None:
        self.defects.append(error)

    def _answer(self, call: CapabilityCall) -> Coroutine[Any, Any, Any]:
        return self.holder.answer(call.name, call.arguments, call.data, self.grant)

    def _begin(self, call: CapabilityCall) -> None:
        async def answer() -> None:
            self._answers.append((call.call_id, CallAnswer(*await self._answer(call))))
            os.write(self._writable, b"!")

        asyncio.run_coroutine_threadsafe(answer(), self._thread.loop)

    def _call_now(self, call: CapabilityCall) -> CallAnswer:
        return CallAnswer(*self._thread.run(self._answer(call)))

    def wait(self, until: Callable[[], bool], seconds: float = DEADLINE) -> None:
        end = time.monotonic() + seconds
        while not until():
            left = end - time.monotonic()
            assert left > 0, f"it did not happen in time: {self.events[-3:]}"
            wait = self.context.wait_time()
            wait = left if wait is None else min(wait, left)
            ready, _, _ = select.select(
                [self.context.wakeup, self._readable], [], [], wait
            )
            if self._readable in ready:
                os.read(self._readable, 4096)
            while self._answers:
                self.context.settle_call(*self._answers.popleft())
            self.context.step()

    def hang_up(self) -> None:
        """End all that the context has open."""
        self._thread.run(self.holder.close(self.grant.context_id))

    def close(self) -> None:
        self.hang_up()
        self.context.close()
        os.close(self._readable)
        os.close(self._writable)
        assert not self.defects, self.defects
