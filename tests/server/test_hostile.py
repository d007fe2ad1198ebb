"""Contexts that their code has taken over: what they say is no proof of anything."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import threading
from typing import TYPE_CHECKING, Any

import pytest

from isokernel.frames import Decoder, encode
from isokernel.settings import ContextSettings
from isoserver.contexts.context import Identity
from isoserver.contexts.forks import Forks
from isoserver.contexts.javascript import JavaScriptContext
from isoserver.contexts.languages import Languages
from isoserver.errors import ForkError, HeapUnsavableError
from isoserver.metrics import Metrics
from isoserver.settings import ServerSettings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from isokernel.zygote import Spawned

SECONDS = 30.0


@pytest.fixture
def victim() -> Iterator[subprocess.Popen[bytes]]:
    """A process that has nothing to do with any context."""
    process = subprocess.Popen(["/bin/sleep", "600"], start_new_session=True)
    yield process
    process.kill()
    process.wait()


class Taken(Forks):
    """Forks whose processes speak through us."""

    def __init__(self, said: object) -> None:
        super().__init__(sandbox=False, niceness=0)
        self.said = said
        self._threads: list[threading.Thread] = []

    def spawn(
        self, settings: ContextSettings, snapshot: bytes | None = None
    ) -> Spawned:
        """Start one, whose `work` is answered by a thread."""
        spawned = super().spawn(settings, snapshot)
        ours, theirs = socket.socketpair()
        ours.setblocking(False)  # noqa: FBT003 - socket's own signature
        thread = threading.Thread(target=self._lie, args=(theirs, spawned.work))
        thread.start()
        self._threads.append(thread)
        return spawned._replace(work=ours)

    def join(self) -> None:
        """Wait for the threads, once their sockets are closed."""
        for thread in self._threads:
            thread.join(SECONDS)

    def _lie(self, theirs: socket.socket, work: socket.socket) -> None:
        decoder = Decoder()
        with theirs, work:
            while True:
                data, descriptors, _, _ = socket.recv_fds(theirs, 1 << 16, 4)
                for descriptor in descriptors:
                    os.close(descriptor)
                if not data:
                    return
                for frame in decoder.feed(data):
                    kind = frame.type.replace("request", "reply")
                    said = {"status": "ok", "pid": self.said}
                    theirs.sendall(encode(kind, said, parent=frame.id))


def _context(forks: Forks) -> JavaScriptContext:
    given: dict[str, Any] = {"checkpoint_deadline": 0.2}
    settings = ServerSettings(**given)
    languages = Languages(["javascript"], "javascript")
    identity = Identity("default", "c", languages.served["javascript"], "/home/user")
    return JavaScriptContext(identity, settings, Metrics(), forks)


def _with(
    forks: Callable[[], Forks], scenario: Callable[[Any], Awaitable[None]]
) -> None:
    async def run() -> None:
        made = forks()
        await made.start()
        try:
            await scenario(made)
        finally:
            made.close()
            if isinstance(made, Taken):
                await asyncio.to_thread(made.join)

    asyncio.run(asyncio.wait_for(run(), SECONDS))


@pytest.mark.parametrize("act", ["save", "fork"])
def test_no_foreign_process_is_named(act: str, victim: subprocess.Popen[bytes]) -> None:
    async def scenario(forks: Taken) -> None:
        context = _context(forks)
        await context.start()
        if act == "save":
            with pytest.raises(HeapUnsavableError, match="not its own"):
                await context.save()
        else:
            other = _context(forks)
            with pytest.raises(ForkError, match="not its own"):
                await context.fork_into(other)
            await other.close()
        await context.close()

    _with(lambda: Taken(victim.pid), scenario)
    # Closing the forks kills all that they have adopted, as a failure to save does.
    assert victim.poll() is None


def test_what_is_not_of_a_context_is_refused() -> None:
    ended = subprocess.Popen(["/bin/true"])
    ended.wait()
    gone = ended.pid
    foreign: tuple[object, ...] = (-1, 0, 1, True, "1", None, 3.5, 1 << 22, 1 << 70, [])

    async def scenario(forks: Forks) -> None:
        with contextlib.ExitStack() as stack:
            one, two = (
                forks.spawn(ContextSettings(language="javascript")) for _ in range(2)
            )
            for end in (one.work, one.control, two.work, two.control):
                stack.enter_context(end)
            for pid in (*foreign, os.getpid(), os.getppid(), two.pid):
                for take in (forks.adopt, forks.reap):
                    with pytest.raises(ForkError, match="not its own"):
                        take(pid, one.pid)
            with pytest.raises(ForkError, match="ended at once"):
                forks.adopt(gone, one.pid)
            assert forks.reap(gone, one.pid) is None

    _with(lambda: Forks(sandbox=False, niceness=0), scenario)
