"""From a forked process to a running loop."""

from __future__ import annotations

import os
import signal
import socket
import threading
from typing import TYPE_CHECKING, Final, NoReturn

from isokernel.context import Context
from isokernel.protocol.frames import encode
from isokernel.sandbox import close_descriptors, confine
from isokernel.v8.snapshot import Snapshot
from isokernel.worker.channel import Channel
from isokernel.worker.control import open_rollup
from isokernel.worker.exits import WorkerExits
from isokernel.worker.loop import Sockets, Worker

if TYPE_CHECKING:
    from isokernel.context.context import Origin
    from isokernel.sandbox import SandboxSettings
    from isokernel.settings import ContextSettings

__all__ = ["serve", "warm_up"]

_STACK_BYTES: Final = 1 << 19
"""Of each thread. A clone has the stacks of its original's threads, for nothing, and
they count towards what memory it may have: so does each generation's."""


def serve(  # noqa: PLR0913 -- what makes a process a context
    base: Context,
    settings: ContextSettings,
    sockets: Sockets,
    snapshot: int | None,
    sandbox: SandboxSettings | None,
    *,
    checked: bool = False,
    rollup: int | None = None,
) -> NoReturn:
    """Serve a context in a process that was just forked for it; ends the process.

    Args:
        base: The blank context that was forked with the process.
        settings: The new context's.
        sockets: Its two sockets; the server has their other ends.
        snapshot: A file with the heap that it goes on from, instead of a blank one.
        sandbox: How the process is confined; None for not at all.
        checked: The heap is known to be what was saved.
        rollup: What `open_rollup` has returned in this process, if it was called.
    """
    try:
        # What saves the context ends by itself, and nobody here asks how.
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        context = base
        origin: Origin = "blank"
        rollup = open_rollup() if rollup is None else rollup
        keep = [work.fileno() for work in sockets]
        keep += [fd for fd in (rollup, snapshot) if fd is not None]
        close_descriptors(keep)
        if sandbox is not None:
            confine(sandbox, _memory_max(base, settings))
        if snapshot is not None:
            context = _restored(settings, snapshot, checked=checked)
            origin = "restored"
        threading.stack_size(_STACK_BYTES)
        while True:
            worker = Worker(context, settings, sockets, rollup=rollup, origin=origin)
            sockets, rollup, origin = worker.run(), None, "cloned"
    except BaseException as error:  # noqa: BLE001 -- the server must hear of it
        WorkerExits(Channel(sockets.work)).defect(error)


def warm_up(base: Context) -> None:
    """Do once what a context does up to its first result; it stays blank.

    A forked process gets each page of memory at its first touch; this is for one that
    has the time for it before it is needed.
    """
    pairs = [socket.socketpair() for _ in Sockets._fields]
    sockets = Sockets(*(theirs for _, theirs in pairs))
    content = {"code": "({ a: 1 + 1 })", "store_history": False}
    pairs[0][0].sendall(encode("execute_request", content, id=1))
    Worker(base, base.settings, sockets, origin="blank").warm_up()
    for ours, _ in pairs:
        ours.close()
    base.forget()
    base.prepare_fork()


def _memory_max(base: Context, settings: ContextSettings) -> int | None:
    if settings.array_buffer_bytes_max is None:
        return None
    memory = base.bridge.isolate.memory
    heap = settings.v8_heap_bytes_max or memory.initial_limit_bytes
    return heap + settings.array_buffer_bytes_max


def _restored(settings: ContextSettings, file: int, *, checked: bool) -> Context:
    heap = Snapshot.from_file(file, check=not checked)
    os.close(file)
    return Context(settings, lambda _event: None, snapshot=heap)
