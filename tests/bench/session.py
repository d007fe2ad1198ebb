"""A kernel and a client that talks to it, as a notebook front would."""

from __future__ import annotations

import contextlib
import queue
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import psutil
from jupyter_client.manager import KernelManager

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jupyter_client.blocking.client import BlockingKernelClient
    from tests.bench.peers import Peer

DEADLINE = 30.0
"""Seconds for any one reply."""
Message = dict[str, Any]


@dataclass
class Run:
    """What one execution gave.

    Attributes:
        reply: Content of its reply; empty when none came.
        messages: Everything on iopub before its idle, status aside.
        seconds: From sending to idle and reply.
        idle: Whether idle came.
    """

    reply: dict[str, Any] = field(default_factory=dict)
    messages: list[Message] = field(default_factory=list)
    seconds: float = 0.0
    idle: bool = False

    def text(self, name: str = "stdout") -> str:
        """What was printed."""
        return "".join(
            m["content"]["text"]
            for m in self.messages
            if m["msg_type"] == "stream" and m["content"]["name"] == name
        )

    def of(self, *kinds: str) -> list[dict[str, Any]]:
        """The contents of the messages of some kinds."""
        return [m["content"] for m in self.messages if m["msg_type"] in kinds]

    def shown(self) -> str:
        """The result's plain text."""
        results = self.of("execute_result")
        return str(results[0]["data"].get("text/plain", "")) if results else ""

    @property
    def status(self) -> str:
        """`ok`, `error`, `aborted`, or nothing when no reply came."""
        return str(self.reply.get("status", ""))


class Session:
    """A running kernel and its client."""

    def __init__(self, peer: Peer, settle: float = 0.0) -> None:
        self.peer = peer
        self.settle = settle  # seconds of quiet after idle, for outputs that come late
        self.started = time.perf_counter()
        self.manager = KernelManager(kernel_name=peer.spec)
        self.manager.start_kernel()
        self.client: BlockingKernelClient = self.manager.client()

    def connect(self) -> None:
        """Open the channels and wait until the kernel answers."""
        self.client.start_channels()
        self.client.wait_for_ready(timeout=DEADLINE)

    def close(self) -> None:
        """End the kernel, whatever state it is in."""
        with contextlib.suppress(Exception):
            self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)
        self.manager.cleanup_resources()

    @property
    def alive(self) -> bool:
        """Whether the process is there."""
        return bool(self.manager.is_alive())

    def process(self) -> psutil.Process:
        """The kernel's process."""
        provisioner: Any = self.manager.provisioner
        return psutil.Process(provisioner.pid)

    def run(self, code: str, seconds: float = DEADLINE, **options: Any) -> Run:
        """Run a cell until idle and reply are both there, or the time is over."""
        self.drain()
        start = time.perf_counter()
        message_id = self.client.execute(code, **options)
        run = self.collect(message_id, seconds)
        run.seconds = time.perf_counter() - start
        if self.settle:
            run.messages += self.later(self.settle)
        return run

    def collect(self, message_id: str, seconds: float = DEADLINE) -> Run:
        """Everything about one request until idle and reply."""
        run = Run()
        end = time.perf_counter() + seconds
        while not run.idle:
            message = self.iopub(end - time.perf_counter())
            if message is None:
                break
            if message["parent_header"].get("msg_id") != message_id:
                continue
            if message["msg_type"] != "status":
                run.messages.append(message)
            elif message["content"]["execution_state"] == "idle":
                run.idle = True
        reply = self.reply(message_id, end - time.perf_counter())
        run.reply = reply or {}
        return run

    def iopub(self, seconds: float) -> Message | None:
        """The next message on iopub, if one comes in time."""
        try:
            return self.client.get_iopub_msg(timeout=max(seconds, 0.001))
        except queue.Empty:
            return None

    def reply(self, message_id: str, seconds: float = DEADLINE) -> Any:
        """Content of the reply to a request on shell, if it comes in time."""
        return self._reply(self.client.get_shell_msg, message_id, seconds)

    def control_reply(self, message_id: str, seconds: float = DEADLINE) -> Any:
        """Content of the reply to a request on control, if it comes in time."""
        return self._reply(self.client.get_control_msg, message_id, seconds)

    @staticmethod
    def _reply(get: Any, message_id: str, seconds: float) -> Any:
        end = time.perf_counter() + seconds
        while (left := end - time.perf_counter()) > 0:
            try:
                message = get(timeout=left)
            except queue.Empty:
                return None
            if message["parent_header"].get("msg_id") == message_id:
                return message["content"]
        return None

    def ask(self, kind: str, content: Any = None, seconds: float = 3.0) -> Any:
        """Send any request on shell and give its reply's content."""
        channel = self.client.shell_channel
        message = self.client.session.msg(kind, content or {})
        channel.send(message)
        return self.reply(message["header"]["msg_id"], seconds)

    def control(self, kind: str, content: Any = None, seconds: float = 3.0) -> Any:
        """Send any request on control and give its reply's content."""
        message = self.client.session.msg(kind, content or {})
        self.client.control_channel.send(message)
        return self.control_reply(message["header"]["msg_id"], seconds)

    def wait_busy(self, message_id: str) -> None:
        """Wait until a request is being worked on."""
        end = time.perf_counter() + DEADLINE
        while time.perf_counter() < end:
            message = self.iopub(1)
            if (
                message is not None
                and message["msg_type"] == "execute_input"
                and message["parent_header"].get("msg_id") == message_id
            ):
                return

    def later(self, seconds: float) -> list[Message]:
        """What comes on iopub until nothing has come for a while."""
        got = []
        while (message := self.iopub(seconds)) is not None:
            got.append(message)
        return got

    def drain(self) -> None:
        """Forget what has come so far."""
        for get in (self.client.get_iopub_msg, self.client.get_shell_msg):
            with contextlib.suppress(queue.Empty):
                while True:
                    get(timeout=0)


@contextlib.contextmanager
def session(peer: Peer, settle: float = 0.0) -> Iterator[Session]:
    """A kernel that is ready, and gone afterwards."""
    opened = Session(peer, settle)
    try:
        opened.connect()
        yield opened
    finally:
        opened.close()


@dataclass
class Sheet:
    """The table being made: texts for people and figures for programs."""

    rows: dict[str, dict[str, str]] = field(default_factory=dict)
    figures: dict[str, dict[str, Any]] = field(default_factory=dict)

    def put(self, row: str, peer: Peer, text: str, figure: Any = None) -> None:
        """Fill one cell."""
        self.rows.setdefault(row, {})[peer.spec] = text
        value = text if figure is None else figure
        self.figures.setdefault(row, {})[peer.spec] = value
        print(f"  {peer.spec:14} {row}: {text}", flush=True)
