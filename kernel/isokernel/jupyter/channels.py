"""The five sockets of a kernel.

`Channels` binds them. Shell and stdin belong to the thread that runs V8, which reads
the one through `ShellQueue` and asks over the other through `UserInput`. Control and
heartbeat belong to the control thread, and iopub is a `Broadcast`, which both may use.
The sockets are in two ZMQ contexts, so that what the V8 thread has said can be flushed
to the last byte, by closing its context, while the other one is still polling.
"""

from __future__ import annotations

import json
import threading
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import zmq

from isokernel.errors import (
    ConnectionFileError,
    InputInterruptedError,
    InputUnavailableError,
    MessageError,
)
from isokernel.jupyter.process import log_warning
from isokernel.jupyter.wire import EMPTY, Session, sent_id

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from isokernel.jupyter.wire import Message

__all__ = ["CHANNELS", "Broadcast", "Channels", "Connection", "ShellQueue", "UserInput"]

CHANNELS: Final = ("shell", "iopub", "stdin", "control", "hb")
"""As connection files name them."""

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
            connection = cls(
                transport=fields.get("transport", "tcp"),
                ip=fields["ip"],
                ports={name: int(fields[f"{name}_port"]) for name in CHANNELS},
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
        """Return the ZMQ address of a channel."""
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
        """Take ownership of a bound XPUB socket."""
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
        """Send `busy` for an execution; it holds until `end`."""
        with self._lock:
            self._running = parent
            self._status("busy", parent)

    def end(self, parent: bytes) -> None:
        """Send `idle` for an execution; nothing of it may be pending any more."""
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

    def seize(self, seconds: float) -> bool:
        """Keep all other threads from sending, for good: the process ends.

        Returns:
            False when another thread held on to the socket for so many seconds.
        """
        return self._lock.acquire(timeout=seconds)

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

    def __init__(
        self, connection: Connection, listening: Mapping[str, int] | None = None
    ) -> None:
        """Bind all sockets.

        Args:
            connection: Where.
            listening: By channel, the descriptors of sockets that listen there already;
                they are ZMQ's from now on.

        Raises:
            ConnectionFileError: An address is taken or impossible.
        """
        self._listening = listening or {}
        self.session = Session(connection.key, connection.signature_scheme)
        self.connection = connection
        self._v8_sockets: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._control_sockets: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.shell = self._bind(self._v8_sockets, zmq.ROUTER, "shell")
        self.stdin = self._bind(self._v8_sockets, zmq.ROUTER, "stdin")
        iopub = self._bind(self._v8_sockets, zmq.XPUB, "iopub")
        self.control = self._bind(self._control_sockets, zmq.ROUTER, "control")
        self.heartbeat = self._bind(self._control_sockets, zmq.ROUTER, "hb")
        self.broadcast = Broadcast(iopub, self.session)

    def reply(
        self,
        request: Message,
        kind: str,
        content: dict[str, Any],
        metadata: dict[str, Any] | None = None,
        *,
        control: bool = False,
    ) -> None:
        """Answer a request that came on shell, or on control."""
        frames = self.session.pack(
            kind,
            content,
            parent=request.header_frame,
            metadata=metadata,
            route=request.identities,
        )
        (self.control if control else self.shell).send_multipart(frames)

    def close_control(self) -> None:
        """Flush and close what the control thread owns."""
        self._control_sockets.destroy(linger=_LINGER_MS)

    def close(self) -> None:
        """Flush and close what the V8 thread owns."""
        self._v8_sockets.destroy(linger=_LINGER_MS)

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
        if name in self._listening:
            socket.setsockopt(zmq.USE_FD, self._listening[name])
        try:
            socket.bind(address)
        except zmq.ZMQError as error:
            message = f"can't bind the {name} channel to {address}: {error}"
            raise ConnectionFileError(message) from error
        return socket


class ShellQueue:
    """Requests that have arrived on shell and wait to be served. Of the V8 thread.

    Messages are taken from the socket only when the earlier ones have been served, so
    that the rest waits in ZMQ, which has a bound and makes the sender wait.
    """

    def __init__(self, channels: Channels) -> None:
        """Read from the shell channel."""
        self._channels = channels
        self._waiting: deque[Message] = deque()

    def fill(self) -> None:
        """Receive everything that has arrived. What isn't a message is logged."""
        shell = self._channels.shell
        while True:
            try:
                frames = shell.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            try:
                self._waiting.append(self._channels.session.unpack(frames))
            except MessageError as error:
                log_warning(f"dropped a message on shell: {error}")

    def next(self) -> Message | None:
        """Remove and return the oldest; None if there is none."""
        return self._waiting.popleft() if self._waiting else None

    def take(self, kind: str) -> list[Message]:
        """Remove and return all of a type."""
        taken = [message for message in self._waiting if message.type == kind]
        self._waiting = deque(m for m in self._waiting if m.type != kind)
        return taken


class UserInput:
    """Asks the front end that sent the running cell, for prompt(). Of the V8 thread.

    Attributes:
        request: The running cell when its front end can ask its user, else None.
        execution_id: The latest cell's.
        wakeups: Descriptors that become readable when waiting must end: the context's
            own, which an interrupt sets off, and the kernel's, for a shutdown.
    """

    def __init__(self, channels: Channels) -> None:
        """Ask over the stdin channel."""
        self._channels = channels
        self.request: Message | None = None
        self.execution_id = 0
        self.wakeups: list[int] = []

    def ask_for(self, execution_id: int, question: str) -> str:
        """Ask on behalf of one execution, which must be the running one.

        Raises:
            InputUnavailableError: It is over, or its front end can't ask.
            InputInterruptedError: As for the call.
        """
        if execution_id != self.execution_id:
            message = "the cell that asks is over"
            raise InputUnavailableError(message)
        return self(question, password=False)

    def __call__(self, prompt: str, password: bool) -> str:  # noqa: FBT001 - contract
        """Ask and wait. Called by the context, in the middle of JavaScript.

        Raises:
            InputUnavailableError: No cell is running, or its sender can't ask.
            InputInterruptedError: The user interrupted, or the kernel is to stop.
        """
        request = self.request
        if request is None:
            message = "the front end doesn't take input for this cell"
            raise InputUnavailableError(message)
        self._discard()
        question = self._channels.session.pack(
            "input_request",
            {"prompt": prompt, "password": password},
            parent=request.header_frame,
            route=request.identities,
        )
        self._channels.stdin.send_multipart(question)
        return self._answer(sent_id(question))

    def _answer(self, question: str) -> str:
        poller = zmq.Poller()
        poller.register(self._channels.stdin, zmq.POLLIN)
        for descriptor in self.wakeups:
            poller.register(descriptor, zmq.POLLIN)
        while True:
            ready = dict(poller.poll())
            if any(descriptor in ready for descriptor in self.wakeups):
                raise InputInterruptedError
            try:
                frames = self._channels.stdin.recv_multipart()
                reply = self._channels.session.unpack(frames)
            except MessageError as error:
                log_warning(f"dropped a message on stdin: {error}")
                continue
            value = reply.content.get("value")
            if _answers(reply, question) and isinstance(value, str):
                return value
            log_warning(f"dropped a {reply.type} on stdin")

    def _discard(self) -> None:
        """Drop answers to questions that were given up."""
        while int(self._channels.stdin.get(zmq.EVENTS)) & zmq.POLLIN:
            self._channels.stdin.recv_multipart()


def _answers(reply: Message, question: str) -> bool:
    """Whether a message answers this question.

    Not every front end says what it answers; one that does may be late with the answer
    to an earlier question, which was interrupted.
    """
    asked = reply.parent_header
    if asked.get("msg_type") == "input_request" and asked.get("msg_id") != question:
        return False
    return reply.type == "input_reply"
