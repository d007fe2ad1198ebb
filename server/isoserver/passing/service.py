"""Requests that are for another server: passed on to it as they came.

Any server takes any request. If what it names belongs to another one, that answers, and
what it answers is passed back while it comes, neither side being read faster than the
other one takes it. A client that leaves is gone for the owner too. Nothing is passed on
twice: a server that is sent what isn't its own says so, and the first one looks anew
for the owner.
"""

from __future__ import annotations

import asyncio
import socket
from collections import OrderedDict
from contextlib import suppress
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
from tornado.http1connection import HTTP1Connection, HTTP1ConnectionParameters
from tornado.httputil import HTTPHeaders, HTTPMessageDelegate, RequestStartLine
from tornado.iostream import StreamClosedError

from isokernel.timeouts import timeout
from isoserver.errors import PeerLostError, PeerUnreachableError
from isoserver.passing.marks import MARK, Marks
from isoserver.passing.upstreams import Upstreams

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping
    from typing import Protocol

    from structlog.typing import FilteringBoundLogger
    from tornado.httputil import HTTPServerRequest, ResponseStartLine
    from tornado.iostream import IOStream

    from isoserver.cluster.service import Cluster, Peer
    from isoserver.passing.upstreams import Upstream
    from isoserver.principal import Principal
    from isoserver.settings.server import ServerSettings

    class Answering(Protocol):
        """Who writes the answer to the client; a `Handler` of Tornado's."""

        gone: bool

        def answer_whole(self, code: int, answer: bytes) -> None:
            """Send an answer as it is, of that status."""

        def begin_answer(self, line: ResponseStartLine, headers: HTTPHeaders) -> None:
            """Take the head of the answer."""

        def send_part(self, data: bytes) -> asyncio.Future[None]:
            """Send a part of the body; done when the client takes more."""

        def end_answer(self, data: bytes) -> None:
            """Send the last part."""

        def cut_answer(self) -> None:
            """Show the client that the answer isn't whole."""

        def give_stream(self) -> IOStream:
            """Give up the client's connection."""


__all__ = ["NO_BODY", "OWNER", "Exchange", "Owner", "Passing", "PeerRequest"]

PEER_ROOM: Final = "/cluster/room"
WAKING: Final = "waking"
"""What else there may be room for: a context that sleeps, as others make room."""
OWNER: Final = "X-Isokernel-Owner"
"""The header of answers that says which server owns what was asked about."""
_MISDIRECTED: Final = 421
_SWITCHING: Final = 101
NO_BODY: Final = frozenset({204, 304})
"""Statuses of answers that have none."""
_FINAL: Final = 200
_STATUS: Final = slice(9, 12)
_NOT_OURS: Final = frozenset({403, 404, 503})
"""How a server answers others that is of another cluster, of none, or about to end."""
_WHOLE_BYTES: Final = 1 << 16
"""Of an answer that is passed back by one write."""
_CHUNK_BYTES: Final = 1 << 18
_HINTS_MAX: Final = 100_000
_ASK_SECONDS: Final = 2.0
"""How long a list waits for what other servers have."""
_PARAMETERS: Final = HTTP1ConnectionParameters(
    max_header_size=1 << 18, max_body_size=1 << 50, chunk_size=_CHUNK_BYTES
)
_HOP_BY_HOP: Final = frozenset(
    {
        *("connection", "keep-alive", "proxy-connection", "te", "trailer"),
        *("transfer-encoding", "upgrade", "expect"),
        *("proxy-authenticate", "proxy-authorization"),
    }
)
_IDENTIFYING: Final = frozenset({"authorization", "x-api-key", "x-workspace-id"})
"""Of which the mark says what they come to: keys aren't sent around."""
_NOT_SENT: Final = _HOP_BY_HOP | _IDENTIFYING
_REPEATABLE: Final = frozenset({"GET", "HEAD"})

Key = tuple[str, str]


class Owner(NamedTuple):
    """A server that has what is asked for.

    Attributes:
        id: Its id.
        url: Where other servers reach it.
    """

    id: str
    url: str


class PeerRequest(NamedTuple):
    """What this server asks of another one.

    Attributes:
        owner: The other one.
        method: The method.
        path: The path.
        principal: For whom.
        body: What is sent.
        headers: With which headers.
        heard: Is given the answer's body as it comes, instead of whoever asks.
    """

    owner: Owner
    method: str
    path: str
    principal: Principal
    body: bytes = b""
    headers: Mapping[str, str] = MappingProxyType({})
    heard: Callable[[bytes], Awaitable[None]] | None = None


class Room(NamedTuple):
    """What else a workspace may have on a server.

    Attributes:
        id: The server's id.
        things: Of what: kinds of runs, contexts, and those that wake.
    """

    id: str
    things: list[str]


class Passing:
    """Passes requests on, for one server. In the event loop only.

    Attributes:
        marks: Tell other servers who asks, and this one what they say.
        url: Where others reach this server, once it listens.
        stall_seconds: How long a client may take nothing of an answer.
    """

    def __init__(
        self, settings: ServerSettings, cluster: Cluster, log: FilteringBoundLogger
    ) -> None:
        """Begin without a connection.

        Args:
            settings: The server's.
            cluster: Knows who owns what.
            log: Told of servers that don't answer.
        """
        assert settings.cluster_secret is not None  # noqa: S101 - checked with the rest
        self.cluster = cluster
        self.url = ""
        self._log = log
        self.marks = Marks(settings.cluster_secret, cluster.server_id)
        self.stall_seconds = settings.stream_stall_timeout_seconds
        self._upstreams = Upstreams()
        self._hints: OrderedDict[tuple[str, Key], Owner] = OrderedDict()
        self._exchanges: set[Exchange] = set()
        cluster.gone.append(self._forget)

    def end_streams(self) -> None:
        """End what has no end by itself; called when the server stops."""
        for exchange in list(self._exchanges):
            exchange.cut()

    def close(self) -> None:
        """Close all connections to other servers."""
        self._upstreams.close()

    def _forget(self, server_id: str) -> None:
        """Give up what is under way to a server that is gone; called by the cluster."""
        self.marks.forget(server_id)
        self._upstreams.drop(server_id)

    # -- who owns what -----------------------------------------------------------------

    def hint(self, kind: str, key: Key) -> Owner | None:
        """Return who owned something when it was last asked; it says if it doesn't."""
        owner = self._hints.get((kind, key))
        if owner is None or any(one.id == owner.id for one in self.cluster.peers()):
            return owner
        del self._hints[kind, key]
        return None

    def learn(self, kind: str, key: Key, owner: Owner | None) -> None:
        """Remember who owns something; None if it isn't that server any more."""
        self._hints.pop((kind, key), None)
        if owner is not None:
            self._hints[kind, key] = owner
            while len(self._hints) > _HINTS_MAX:
                self._hints.popitem(last=False)

    # -- passing on --------------------------------------------------------------------

    async def open(
        self,
        owner: Owner,
        request: HTTPServerRequest,
        principal: Principal,
        answering: Answering,
        *,
        new: bool = False,
    ) -> Exchange:
        """Connect to the server that a request is for.

        Args:
            owner: The server.
            request: The request, as it came.
            principal: Who asks.
            answering: Writes the answer.
            new: Whether the connection must be new.

        Raises:
            PeerUnreachableError: It can't be reached; nothing was sent.
        """
        stream = await self._upstreams.open(owner.id, owner.url, new=new)
        headers = self._headers(owner, request, principal)
        exchange = Exchange(self, stream, request, headers, answering)
        self._exchanges.add(exchange)
        return exchange

    def _headers(
        self, owner: Owner, request: HTTPServerRequest, principal: Principal
    ) -> HTTPHeaders:
        """Return the headers that a request is passed on with."""
        headers = HTTPHeaders()
        for name, value in _kept(request.headers, _NOT_SENT):
            headers.add(name, value)
        if request.headers.get("Upgrade", "").lower() == "websocket":
            headers["Connection"], headers["Upgrade"] = "Upgrade", "websocket"
        method, url = request.method or "", request.uri or ""
        headers[MARK] = self.marks.make(owner.id, method, url, principal)
        return headers

    # -- asking others -----------------------------------------------------------------

    async def ask_all(
        self, path: str, principal: Principal, body: bytes = b""
    ) -> list[bytes]:
        """Ask all other servers the same; return what those say that answer in time.

        Args:
            path: Of a route that only servers ask for.
            principal: Whose things it is about.
            body: What is sent, if something is.
        """
        method = "POST" if body else "GET"
        asked = (
            self._ask_soon(
                PeerRequest(Owner(peer.id, peer.url), method, path, principal, body)
            )
            for peer in self.cluster.peers()
        )
        return [each for each in await asyncio.gather(*asked) if each is not None]

    async def server_with_room(self, thing: str, principal: Principal) -> Peer | None:
        """Return the emptiest of the other servers that have room for something.

        Args:
            thing: What it is: a kind of run, a context, or a sleeping one that wakes.
            principal: Whose it would be.
        """
        answers = await self.ask_all(PEER_ROOM, principal)
        rooms = [msgspec.json.decode(said, type=Room) for said in answers]
        roomy = {room.id for room in rooms if thing in room.things}
        for peer in sorted(self.cluster.peers(), key=self.cluster.fullness):
            if peer.id in roomy and not peer.draining:
                return peer
        return None

    async def _ask_soon(self, request: PeerRequest) -> bytes | None:
        reason = "no answer in time"
        try:
            async with timeout(_ASK_SECONDS):
                answer = await self._ask(request)
            if answer.status == _FINAL:
                return bytes(answer.body)
            reason = f"it answers {answer.status}"
        except (PeerUnreachableError, PeerLostError) as error:
            reason = str(error)
        except asyncio.TimeoutError:
            pass
        self._log.warning(
            "a server doesn't answer", server=request.owner.id, reason=reason
        )
        return None

    async def ask(self, request: PeerRequest) -> bytes:
        """Ask a server something of its own; return the body of its answer.

        To be cancelled closes the connection, by which the server knows that.

        Raises:
            PeerUnreachableError: It can't be reached.
            PeerLostError: It didn't answer, or not as one of this cluster.
        """
        return bytes((await self._ask(request)).body)

    async def _ask(self, request: PeerRequest) -> _Answer:
        owner, method, path, principal, body, headers, heard = request
        stream = await self._upstreams.open(owner.id, owner.url, new=bool(body))
        answer = _Answer(heard)
        sent = HTTPHeaders({"Host": "localhost", **headers})
        sent[MARK] = self.marks.make(owner.id, method, path, principal)
        if body:
            sent["Content-Length"] = str(len(body))
        connection = HTTP1Connection(stream, is_client=True, params=_PARAMETERS)
        try:
            connection.write_headers(RequestStartLine(method, path, ""), sent, body)
            connection.finish()
            await connection.read_response(answer)
        except StreamClosedError:
            pass
        finally:
            self._give_back(stream, whole=answer.whole)
        if not answer.whole or answer.status in _NOT_OURS:
            raise PeerLostError
        return answer

    # -- connections -------------------------------------------------------------------

    def release(self, exchange: Exchange, stream: Upstream, *, whole: bool) -> None:
        """Take back the connection of an exchange that is over."""
        self._exchanges.discard(exchange)
        self._give_back(stream, whole=whole)

    def _give_back(self, stream: Upstream, *, whole: bool) -> None:
        """Have a connection be used again, unless an answer isn't there as a whole."""
        if whole:
            self._upstreams.keep(stream)
        else:
            self._upstreams.end(stream)


class _Answer(HTTPMessageDelegate):
    """What a server says, as a whole.

    Attributes:
        status: The status; 0 if there is no whole answer.
        body: The body.
        whole: Whether all of it is there.
    """

    def __init__(self, heard: Callable[[bytes], Awaitable[None]] | None = None) -> None:
        """Have nothing yet.

        Args:
            heard: Is given the body as it comes, if it isn't to be kept.
        """
        self._heard = heard
        self.status = 0
        self.body = bytearray()
        self.whole = False
        self._code = 0

    def headers_received(  # type: ignore[override]
        self, start_line: ResponseStartLine, headers: HTTPHeaders
    ) -> None:
        """Note the status."""
        del headers
        self._code = start_line.code

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        """Add to the body, or give it on; no more is read until that is done."""
        if self._heard is not None and self._code not in _NOT_OURS:
            return self._heard(chunk)
        self.body += chunk
        return None

    def finish(self) -> None:
        """Note that all of it is there."""
        self.whole, self.status = True, self._code

    def on_connection_close(self) -> None:
        """Have nothing: it isn't whole."""


class Exchange(HTTPMessageDelegate):
    """One request that is passed on, and its answer.

    Attributes:
        misdirected: Whether the server says that it isn't the owner; then the client
            has got nothing.
        begun: Whether the client has got something.
    """

    def __init__(
        self,
        passing: Passing,
        stream: Upstream,
        request: HTTPServerRequest,
        headers: HTTPHeaders,
        answering: Answering,
    ) -> None:
        """Use a connection for a request; `run` sends it."""
        self.misdirected = False
        self.begun = False
        self._passing = passing
        self._stream = stream
        self._reused = stream.used > 0
        self._line = RequestStartLine(
            request.method or "", request.uri or "", "HTTP/1.1"
        )
        self._headers = headers
        self._answering = answering
        self._connection = HTTP1Connection(stream, is_client=True, params=_PARAMETERS)
        self._heard = False
        self._kept: bytearray | None = None  # of an answer that is passed back whole
        self._over = False
        self._head = b""  # of an answer that ends HTTP, and what it leads to
        self._detached: IOStream | None = None
        self._tunnel: Tunnel | None = None
        self._held: asyncio.Future[None] | None = None

    @property
    def repeatable(self) -> bool:
        """Whether it may be sent again, as the connection had ended meanwhile."""
        return self._reused and not self._heard and self._line.method in _REPEATABLE

    def close(self) -> None:
        """End it, as the client is gone: the other server sees that."""
        self._passing.release(self, self._stream, whole=False)

    def cut(self) -> None:
        """End it if the client has a part of the answer: the rest may never come."""
        if self._tunnel is not None:
            self._tunnel.close()
        elif self.begun:
            self.close()

    async def run(self, body: bytes) -> None:
        """Send a request that has come whole, and pass the answer back.

        Raises:
            PeerLostError: The server was lost before it had answered.
        """
        if body or "Content-Length" in self._headers:
            self._headers["Content-Length"] = str(len(body))
        elif self._line.method in {"POST", "PUT", "PATCH"}:
            self._headers["Content-Length"] = "0"
        answer = b""
        with suppress(StreamClosedError):
            answer = await self._stream.exchange(self._bytes(body))
        if answer:
            self._heard = self._over = True
            self._answer_whole(answer)
            self._passing.release(self, self._stream, whole=True)
            return
        self._connection.finish()
        await self._read()

    def _bytes(self, body: bytes) -> bytes:
        lines = [f"{self._line.method} {self._line.path} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in self._headers.get_all()]
        head = "\r\n".join(lines)
        breaks = len(lines) - 1
        if head.count("\n") != breaks or head.count("\r") != breaks:
            message = "a header of the request has a line break"
            raise ValueError(message)
        return f"{head}\r\n\r\n".encode("latin-1") + body

    def _answer_whole(self, answer: bytes) -> None:
        code = int(answer[_STATUS])
        self.misdirected = code == _MISDIRECTED
        if not self.misdirected and not self._answering.gone:
            self._answering.answer_whole(code, answer)

    async def _read(self) -> None:
        whole = False
        with suppress(StreamClosedError):
            whole = await self._connection.read_response(self)
        if self._detached is not None:
            client, seconds = self._answering.give_stream(), self._passing.stall_seconds
            self._tunnel = Tunnel(self._detached, client, seconds)
            await self._tunnel.run(self._head)
        whole = whole and self._over
        self._passing.release(self, self._stream, whole=whole)
        if whole or self._answering.gone or self._tunnel is not None:
            return
        if not self.begun:
            raise PeerLostError
        self._answering.cut_answer()

    # -- a body that comes in parts ----------------------------------------------------

    def begin(self) -> None:
        """Send the head of a request whose body follows by `send`."""
        self._held = asyncio.get_running_loop().create_future()
        self._connection.write_headers(self._line, self._headers)
        self._reading = asyncio.ensure_future(self._read())

    async def send(self, chunk: bytes) -> None:
        """Send a part of the body, once the server has taken the last one."""
        with suppress(StreamClosedError):
            await self._connection.write(chunk)

    async def end_body(self) -> None:
        """End the body, and pass the answer back.

        Raises:
            PeerLostError: The server was lost before it had answered.
        """
        if not self._stream.closed():
            self._connection.finish()
        assert self._held is not None  # noqa: S101 - `begin` has made it
        self._held.set_result(None)
        await self._reading

    # -- what Tornado reads ------------------------------------------------------------

    def headers_received(  # type: ignore[override]
        self, start_line: ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        """Pass the head back."""
        self._heard = True
        if start_line.code == _SWITCHING:
            self._switch(start_line, headers)
            return None
        if start_line.code < _FINAL:
            return None
        if start_line.code == _MISDIRECTED:
            self.misdirected = True
            return None
        return self._begin_answer(start_line, headers)

    async def _begin_answer(
        self, start_line: ResponseStartLine, headers: HTTPHeaders
    ) -> None:
        if self._held is not None:
            # Who still sends reads no answer.
            await self._held
        if self._answering.gone:
            return
        length = headers.get("Content-Length", "")
        short = length.isdecimal() and int(length) <= _WHOLE_BYTES
        if short or start_line.code in NO_BODY:
            self._kept = bytearray()
        passed = HTTPHeaders()
        for name, value in _kept(headers, _HOP_BY_HOP):
            passed.add(name, value)
        self._answering.begin_answer(start_line, passed)
        if self._kept is None:
            self.begun = True
            waits = self._pass(b"")
            if waits is not None:
                await waits

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        """Pass a part of the body back."""
        if self.misdirected:
            return None
        if self._kept is not None:
            self._kept += chunk
            return None
        return self._pass(chunk)

    def _pass(self, data: bytes) -> Awaitable[None] | None:
        if self._answering.gone:
            return None
        sent = self._answering.send_part(data)
        return None if sent.done() else self._wait(sent)

    async def _wait(self, sent: asyncio.Future[None]) -> None:
        """Wait until a client takes more; one that doesn't for long is cut off."""
        try:
            async with timeout(self._passing.stall_seconds):
                await sent
        except asyncio.TimeoutError:
            self._answering.cut_answer()
        except StreamClosedError:
            self.close()

    def finish(self) -> None:
        """End the answer."""
        self._over = True
        if not self.misdirected and not self._answering.gone:
            self.begun = True
            self._answering.end_answer(bytes(self._kept or b""))

    def on_connection_close(self) -> None:
        """Note that the server is gone; called by Tornado, and told by `_read`."""

    def _switch(self, start_line: ResponseStartLine, headers: HTTPHeaders) -> None:
        lines = [f"HTTP/1.1 {start_line.code} {start_line.reason}"]
        lines += [f"{name}: {value}" for name, value in headers.get_all()]
        self._head = "\r\n".join([*lines, "", ""]).encode("latin-1")
        self._detached = self._connection.detach()


class Tunnel:
    """Two connections of which each gets what the other one sends."""

    def __init__(
        self, upstream: IOStream, client: IOStream, stall_seconds: float
    ) -> None:
        """Connect them; if one takes nothing for so long, both are ended."""
        self._upstream = upstream
        self._client = client
        self._stall_seconds = stall_seconds

    async def run(self, head: bytes) -> None:
        """Pass bytes until one side has ended, then end both."""
        try:
            await self._client.write(head)
            await asyncio.gather(
                self._pour(self._client, self._upstream),
                self._pour(self._upstream, self._client),
            )
        except StreamClosedError:
            pass
        finally:
            self.close()

    async def _pour(self, source: IOStream, sink: IOStream) -> None:
        try:
            while True:
                data = await source.read_bytes(_CHUNK_BYTES, partial=True)
                # Clients that use Nagle's algorithm send nothing more until what they
                # have sent is acknowledged: each cell would wait 40 ms for that.
                with suppress(OSError, AttributeError):
                    source.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
                sent = sink.write(data)
                if not sent.done():
                    async with timeout(self._stall_seconds):
                        await sent
        except (StreamClosedError, asyncio.TimeoutError):
            sink.close()
            source.close()

    def close(self) -> None:
        """End both."""
        self._client.close()
        self._upstream.close()


def _kept(headers: HTTPHeaders, dropped: frozenset[str]) -> Iterator[tuple[str, str]]:
    """Yield the headers that go on, but for some and those of this hop only."""
    named = headers.get("Connection")
    if named is not None:
        dropped |= {each.strip().lower() for each in named.split(",")}
    for name, value in headers.get_all():
        if name.lower() not in dropped:
            yield name, value
