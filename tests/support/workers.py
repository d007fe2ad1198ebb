"""A client of a context's process: what a server does, blocking and simple."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import select
import socket
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import psutil
from tests.support.waiting import DEADLINE

from isokernel.protocol.frames import Decoder, Frame, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from isokernel.forkserver import Exited, ForkServer


class ContextEndedError(Exception):
    """The context has closed its end."""


class WorkerClient:
    """Speaks on both sockets of one context."""

    def __init__(self, pid: int, work: socket.socket, control: socket.socket) -> None:
        self.pid = pid
        self.work = work
        self.control = control
        self.frames: list[Frame] = []
        self._ids = itertools.count(1)
        self._decoders = {work: Decoder(), control: Decoder()}

    def send(
        self,
        kind: str,
        content: dict[str, Any] | None = None,
        *,
        descriptors: Sequence[int] = (),
        control: bool = False,
    ) -> int:
        """Send a request; its id."""
        number = next(self._ids)
        data = encode(kind, content or {}, id=number)
        sock = self.control if control else self.work
        sock.settimeout(DEADLINE)
        try:
            if descriptors:
                socket.send_fds(sock, [data], descriptors)
            else:
                sock.sendall(data)
        except ConnectionError as error:
            raise ContextEndedError from error
        return number

    def execute(self, code: str, **content: Any) -> int:
        """Send a cell."""
        return self.send("execute_request", {"code": code, **content})

    def wait(self, until: Callable[[Frame], bool], *, control: bool = False) -> Frame:
        """Receive until a frame comes that is wanted."""
        sock = self.control if control else self.work
        sock.settimeout(DEADLINE)
        for frame in self.frames:
            if until(frame):
                return frame
        while True:
            try:
                data = sock.recv(1 << 16)
            except ConnectionError:
                data = b""
            if not data:
                raise ContextEndedError(self.frames)
            fresh = self._decoders[sock].feed(data)
            self.frames += fresh
            for frame in fresh:
                if until(frame):
                    return frame

    def reply(self, number: int, *, control: bool = False) -> dict[str, Any]:
        """The content of the reply to a request."""
        frame = self.wait(
            lambda frame: frame.parent == number and frame.type.endswith("_reply"),
            control=control,
        )
        return frame.content

    def finish(self, number: int) -> list[Frame]:
        """All frames of an execution, which has come to its end."""
        self.wait(lambda frame: _is_idle(frame, number))
        mine = [frame for frame in self.frames if frame.parent == number]
        self.frames = [frame for frame in self.frames if frame.parent != number]
        return mine

    def run(self, code: str, **content: Any) -> list[Frame]:
        """Run a cell; its frames."""
        return self.finish(self.execute(code, **content))

    def value(self, code: str, **content: Any) -> Any:
        """The text of a cell's result, or of its error."""
        for frame in self.run(code, **content):
            if frame.type == "execute_result":
                return frame.content["data"]["text/plain"]
            if frame.type == "error":
                return f"{frame.content['ename']}: {frame.content['evalue']}"
        return None

    def interrupt(self, execution: int | None = None) -> None:
        """Interrupt; returns when it has been heard."""
        content = {"execution": execution}
        number = self.send("interrupt_request", content, control=True)
        assert self.reply(number, control=True) == {"status": "ok"}

    def memory(self) -> dict[str, Any]:
        """What the context says of its memory."""
        number = self.send("memory_request", control=True)
        return self.reply(number, control=True)

    def last_words(self) -> dict[str, Any] | None:
        """The content of the frame `fatal`, if the context said one before its end."""
        try:
            return self.wait(lambda frame: frame.type == "fatal").content
        except ContextEndedError:
            return None

    def close(self) -> None:
        self.work.close()
        self.control.close()

    def clone(self) -> WorkerClient:
        """A client of a new process with the same state."""
        return self.clones(1)[0]

    def clones(self, count: int) -> list[WorkerClient]:
        """Clients of new processes with the same state."""
        pairs = [socket.socketpair() for _ in range(2 * count)]
        spare = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        theirs = [pair[1] for pair in pairs] + list(spare)
        descriptors = [sock.fileno() for sock in theirs]
        content = {"count": count}
        number = self.send("fork_request", content, descriptors=descriptors)
        for sock in theirs:
            sock.close()
        reply = self.reply(number)
        assert reply["status"] == "ok", reply
        ours = [pair[0] for pair in pairs]
        made = zip(reply["pids"], ours[::2], ours[1::2], strict=True)
        return [WorkerClient(pid, work, control) for pid, work, control in made]

    @contextlib.contextmanager
    def saving(self, *, last: bool = False) -> Iterator[Saving]:
        """Begin to save the context's heap; see `checkpoint`."""
        file = os.memfd_create("heap")
        reader, writer = os.pipe()
        number = self.send(
            "checkpoint_request", {"last": last}, descriptors=(file, writer)
        )
        os.close(writer)
        yield Saving(number, file, reader)
        os.close(file)
        os.close(reader)

    def checkpoint(self, *, last: bool = False) -> tuple[bytes, dict[str, Any]]:
        """The context's saved heap, and how the saving went.

        With `last`, the context itself waits for it, and forks no copy for that.
        """
        with self.saving(last=last) as saving:
            reply = self.reply(saving.number)
            assert reply["status"] == "ok", reply
            assert ("pid" in reply) != last
            outcome = json.loads(saving.outcome())
            return saving.heap(), outcome


class Saving(NamedTuple):
    """A heap that is being saved.

    Attributes:
        number: The request's.
        file: What it is written to.
        reader: Says how it went, and ends with who writes it.
    """

    number: int
    file: int
    reader: int

    def outcome(self) -> bytes:
        """How it went, once nobody writes any more."""
        return read_to_end(self.reader)

    def heap(self) -> bytes:
        """The heap."""
        return os.pread(self.file, os.fstat(self.file).st_size, 0)


def read_to_end(descriptor: int) -> bytes:
    """All that comes out of a pipe until its other ends are closed."""
    data = b""
    while True:
        # The deadline is for the next piece: how many there are is the writer's affair.
        ready, _, _ = select.select([descriptor], [], [], DEADLINE)
        assert ready, "nobody closes the pipe"
        chunk = os.read(descriptor, 1 << 16)
        if not chunk:
            return data
        data += chunk


def texts(frames: list[Frame], name: str = "stdout") -> str:
    """What was printed."""
    return "".join(
        frame.content["text"]
        for frame in frames
        if frame.type == "stream" and frame.content["name"] == name
    )


def await_exit(server: ForkServer, pid: int) -> Exited:
    """Wait until the fork server tells of the end of a process."""
    end = time.monotonic() + DEADLINE
    while True:
        ready, _, _ = select.select([server.exits_fd], [], [], end - time.monotonic())
        assert ready, "nobody told of the end"
        for exited in server.poll_exits():
            if exited.pid == pid:
                return exited


@contextlib.contextmanager
def orphans_reaped() -> Iterator[None]:
    """Processes of a manager that was killed become ours, if we reap orphans: reap."""
    before = {child.pid for child in psutil.Process().children()}
    yield
    end = time.monotonic() + DEADLINE
    while left := {child.pid for child in psutil.Process().children()} - before:
        assert time.monotonic() < end, f"these don't end: {left}"
        for pid in left:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        time.sleep(0.01)


def _is_idle(frame: Frame, number: int) -> bool:
    return (
        frame.parent == number
        and frame.type == "status"
        and frame.content["execution_state"] == "idle"
    )
