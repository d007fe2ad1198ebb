"""The five sockets of a kernel.

`Channels` binds them. shell and stdin belong to the thread that runs V8, control and
heartbeat to the control thread, and iopub is a `Broadcast`, which both may use. The
sockets are in two ZMQ contexts, so that what the V8 thread has said can be flushed to
the last byte, by closing its context, while the other one is still polling.
"""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import zmq

from isokernel.errors import ConnectionFileError
from isokernel.jupyter.wire import EMPTY, Session

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from isokernel.jupyter.wire import Message

__all__ = ["Broadcast", "Channels", "Connection"]

# Output waits in memory for a reader that is slow; past this many messages ZMQ drops.
# A cell's output is bounded and batched, so this is far more than a cell can make.
_OUTPUT_MESSAGES_MAX = 100_000
_LINGER_MS = 1000
_UNSUBSCRIBE = b"\0"
_SUBSCRIBE = b"\1"


class Connection(NamedTuple):
    """What a connection file says.

    Attributes:
        transport: `tcp` or `ipc`.
        ip: The address, or for `ipc` the path that all socket files start with.
        ports: Channel name to port: shell, iopub, stdin, control, hb.
        key: What messages are signed with.
        signature_scheme: How.
    """

    transport: str
    ip: str
    ports: dict[str, int]
    key: bytes
    signature_scheme: str

    @classmethod
    def read(cls, path: str) -> Connection:
        """Read a connection file.

        Raises:
            ConnectionFileError: It is missing or lacks something.
        """
        try:
            with open(path, encoding="utf-8") as file:  # noqa: PTH123 -- no pathlib
                fields = json.load(file)
            names = ("shell", "iopub", "stdin", "control", "hb")
            connection = cls(
                transport=fields.get("transport", "tcp"),
                ip=fields["ip"],
                ports={name: int(fields[f"{name}_port"]) for name in names},
                key=fields.get("key", "").encode(),
                signature_scheme=fields.get("signature_scheme") or "hmac-sha256",
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            message = f"the connection file {path} can't be used: {error!r}"
            raise ConnectionFileError(message) from error
        if connection.transport not in {"tcp", "ipc"}:
            message = f"unknown transport {connection.transport!r} in {path}"
            raise ConnectionFileError(message)
        return connection

    def address(self, name: str) -> str:
        """Give the ZMQ address of a channel."""
        separator = ":" if self.transport == "tcp" else "-"
        return f"{self.transport}://{self.ip}{separator}{self.ports[name]}"


class Broadcast:
    """The iopub socket: what every front end hears. Any thread may use it.

    Each request is wrapped in `busy` and `idle`. When one is served while a cell is
    pending, its `idle` would make front ends show an idle kernel, so `busy` of the
    cell is said once more after it.

    The socket is an XPUB: a front end is welcomed when its subscription has arrived
    (protocol 5.4), and knows from then on that it misses nothing. A subscription counts
    only from when it was read here (XPUB_MANUAL), so the welcome is what comes first.
    """

    def __init__(self, socket: zmq.Socket[bytes], session: Session) -> None:
        """Take over a bound XPUB socket."""
        self._socket = socket
        self._session = session
        self._lock = threading.RLock()
        self._running: bytes | None = None
        self.fileno = int(socket.get(zmq.FD))

    def send(
        self,
        kind: str,
        content: dict[str, Any],
        parent: bytes = EMPTY,
        metadata: dict[str, Any] | None = None,
        buffers: Sequence[bytes] = (),
    ) -> None:
        """Broadcast a message. `parent` is the header of the request it belongs to."""
        frames = self._session.pack(
            kind,
            content,
            parent=parent,
            metadata=metadata,
            buffers=buffers,
            route=(f"kernel.{self._session.id}.{kind}".encode(),),
        )
        with self._lock:
            self.welcome()
            self._socket.send_multipart(frames)
            self.welcome()

    def welcome(self) -> None:
        """Greet whoever has subscribed since the last call.

        Called when `fileno` is readable and after each message: sending takes in what
        has arrived as well, and then `fileno` doesn't tell of it any more.
        """
        with self._lock:
            while int(self._socket.get(zmq.EVENTS)) & zmq.POLLIN:
                notice = self._socket.recv()
                change, topic = notice[:1], notice[1:]
                if change == _UNSUBSCRIBE:
                    self._socket.setsockopt(zmq.UNSUBSCRIBE, topic)
                elif change == _SUBSCRIBE:
                    self._socket.setsockopt(zmq.SUBSCRIBE, topic)
                    self._greet(topic)

    def begin(self, parent: bytes) -> None:
        """Say that an execution is being served, until `end` is called."""
        with self._lock:
            self._running = parent
            self._status("busy", parent)

    def end(self, parent: bytes) -> None:
        """Say that an execution is over; nothing of it may be pending any more."""
        with self._lock:
            self._running = None
            self._status("idle", parent)

    @contextmanager
    def serving(self, parent: bytes) -> Iterator[None]:
        """Wrap the serving of any other request in `busy` and `idle`."""
        self._status("busy", parent)
        try:
            yield
        finally:
            with self._lock:
                self._status("idle", parent)
                if self._running is not None:
                    self._status("busy", self._running)

    def seize(self, timeout: float) -> bool:
        """Keep all other threads from sending, for good. For the process's last words.

        Returns:
            False when another thread held on to the socket for `timeout` seconds.
        """
        return self._lock.acquire(timeout=timeout)

    def _greet(self, topic: bytes) -> None:
        content = {"subscription": topic.decode(errors="replace")}
        frames = self._session.pack("iopub_welcome", content, route=(topic,))
        self._socket.send_multipart(frames)

    def _status(self, state: str, parent: bytes) -> None:
        self.send("status", {"execution_state": state}, parent)


class Channels:
    """All sockets of a kernel, bound to the addresses of its connection file.

    Attributes:
        session: Packs and unpacks messages.
        connection: Where the sockets are bound.
        shell: Requests. Of the V8 thread.
        stdin: Questions to the user. Of the V8 thread.
        control: Requests that overtake. Of the control thread.
        heartbeat: Echoes. Of the control thread.
        broadcast: Output and status. Of both.
    """

    def __init__(self, connection: Connection) -> None:
        """Bind.

        Raises:
            ConnectionFileError: An address is taken or impossible.
        """
        self.session = Session(connection.key, connection.signature_scheme)
        self.connection = connection
        self._voice: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._nerves: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.shell = self._bind(self._voice, zmq.ROUTER, "shell")
        self.stdin = self._bind(self._voice, zmq.ROUTER, "stdin")
        iopub = self._bind(self._voice, zmq.XPUB, "iopub")
        self.control = self._bind(self._nerves, zmq.ROUTER, "control")
        self.heartbeat = self._bind(self._nerves, zmq.ROUTER, "hb")
        self.broadcast = Broadcast(iopub, self.session)

    def reply(
        self,
        request: Message,
        kind: str,
        content: dict[str, Any],
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """Answer a request that came on shell."""
        self._answer(self.shell, request, kind, content, metadata)

    def reply_control(
        self, request: Message, kind: str, content: dict[str, Any]
    ) -> None:
        """Answer a request that came on control."""
        self._answer(self.control, request, kind, content, None)

    def close_control(self) -> None:
        """Flush and close what the control thread owns."""
        self._nerves.destroy(linger=_LINGER_MS)

    def close(self) -> None:
        """Flush and close what the V8 thread owns."""
        self._voice.destroy(linger=_LINGER_MS)

    def _answer(
        self,
        socket: zmq.Socket[bytes],
        request: Message,
        kind: str,
        content: dict[str, Any],
        metadata: dict[str, Any] | None,
    ) -> None:
        frames = self.session.pack(
            kind,
            content,
            parent=request.header_frame,
            metadata=metadata,
            route=request.identities,
        )
        socket.send_multipart(frames)

    def _bind(
        self, context: zmq.Context[zmq.Socket[bytes]], kind: int, name: str
    ) -> zmq.Socket[bytes]:
        socket = context.socket(kind)
        socket.linger = _LINGER_MS
        if kind == zmq.ROUTER:
            # A front end that reconnects keeps its identity, and must get its replies.
            socket.router_handover = 1
        else:
            socket.sndhwm = _OUTPUT_MESSAGES_MAX
            socket.setsockopt(zmq.XPUB_MANUAL, 1)
        address = self.connection.address(name)
        try:
            socket.bind(address)
        except zmq.ZMQError as error:
            message = f"can't bind the {name} channel to {address}: {error}"
            raise ConnectionFileError(message) from error
        return socket
