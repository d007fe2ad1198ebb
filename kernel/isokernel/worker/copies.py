"""Copies of a context's process: those that go on as clones, one that saves the heap.

Both requests come with descriptors. A `fork_request`'s are two sockets for each of the
clones, `count` of them, and both ends of one that keeps packets, for the clone after
them: a confined process can make none. A `checkpoint_request`'s are a file that gets
the heap, and the write end of a pipe that gets one JSON map when it is all done:

    {"status": "ok", "size": …, "digest": …, "seconds": …}
    {"status": "error", "reason": …, "kind": …, "path": …, "holder": …}

The pipe's end without a map says that the process has died.

Who clones a context once will do so again. So the next clone is forked as soon as there
is nothing else to do, and waits for its sockets, having touched much of the memory that
it needs. It has the state of that moment, so it ends when the original goes on.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import time
from typing import TYPE_CHECKING, Any, Final, NoReturn

from isokernel.errors import SnapshotFailedError
from isokernel.v8.children import Children

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from isokernel.context import Context

__all__ = ["SpareClone", "receive", "save", "save_and_exit"]

_QUIET_SECONDS: Final = 0.005
"""Without requests for so long, a spare clone is forked."""
_SPARE_SECONDS: Final = 10.0
"""How long one waits at most."""
_GIVE: Final = b"\0"
_SOCKETS: Final = 2


class SpareClone:
    """The process that will be the next clone, as the original has it."""

    def __init__(self, parent: int) -> None:
        """Have none.

        Args:
            parent: The fork server. When it is dead, nobody reaps spare clones that
                end before their original does, so there are none.
        """
        self._parent = parent
        self._pid = 0
        self._pair: tuple[int, ...] = ()
        self._due = 0.0

    @property
    def wait_time(self) -> float | None:
        """Seconds until it is to be forked, or to end; None if there is none."""
        return max(self._due - time.monotonic(), 0.0) if self._pair else None

    def want(self, pair: tuple[int, ...]) -> None:
        """Have one forked soon; `pair` are both ends of a socket that keeps packets."""
        self.drop()
        self._pair, self._due = pair, time.monotonic() + _QUIET_SECONDS

    def step(self, fork_process: Callable[[], int]) -> int | None:
        """Fork it if it is time for that and the system allows it; or have it end.

        Returns:
            Where descriptors come for it, in the new process alone.
        """
        if self.wait_time != 0.0:
            return None
        if self._pid:
            self.drop()
            return None
        if os.getppid() != self._parent:
            self.drop()
            return None
        ours, theirs = self._pair
        try:
            self._pid = fork_process()
        except OSError:
            self.drop()
            return None
        if self._pid == 0:
            os.close(ours)
            self._pair = ()
            return theirs
        os.close(theirs)
        self._pair, self._due = (ours,), time.monotonic() + _SPARE_SECONDS
        return None

    def give(self, descriptors: Sequence[int]) -> int:
        """Have it go on with its two sockets, and return its id; 0 if there is none."""
        if not self._pid:
            return 0
        given = self._pid
        with socket.socket(fileno=os.dup(self._pair[0])) as ours:
            try:
                socket.send_fds(ours, [_GIVE], descriptors)
            except OSError:  # it is dead
                given = 0
        self.drop()
        return given

    def drop(self) -> None:
        """Have it end, as it is no longer what the original is; or want none."""
        for descriptor in self._pair:
            os.close(descriptor)
        self._pid, self._pair = 0, ()


def receive(descriptor: int) -> tuple[int, int]:
    """Wait, in a spare clone, for its two sockets; it may end here."""
    with socket.socket(fileno=descriptor) as spare:
        spare.settimeout(None)
        _, descriptors, _, _ = socket.recv_fds(spare, len(_GIVE), _SOCKETS)
    if len(descriptors) != _SOCKETS:  # the original has closed its end
        os._exit(0)
    return descriptors[0], descriptors[1]


def save_and_exit(
    context: Context, file: int, outcome: int, seconds: float
) -> NoReturn:
    """Save the context into a file, tell how it went, end the process.

    Args:
        context: A copy, in a process that is nothing else.
        file: A descriptor; gets what `Snapshot.to_bytes` returns.
        outcome: A descriptor; see above.
        seconds: That each step may take.
    """
    try:
        save(context, file, outcome, seconds)
    finally:
        os._exit(0)


def save(
    context: Context,
    file: int,
    outcome: int,
    seconds: float,
    private: Sequence[int] = (),
) -> None:
    """Save the context into a file, and tell how it went.

    Args:
        context: What to save, with nothing else to do meanwhile.
        file: As of `save_and_exit`.
        outcome: As of `save_and_exit`; closed here.
        seconds: As of `save_and_exit`.
        private: Descriptors that whoever writes must not have.
    """
    before = signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # how a child ended is asked
    try:
        with Children(context.bridge.isolate, (outcome, *private)) as children:
            said = _save(context, file, seconds, children)
            with contextlib.suppress(BrokenPipeError):  # nobody waits any more
                os.write(outcome, json.dumps(said).encode())
            os.close(outcome)  # its end would come last of all, 3 ms later
    finally:
        signal.signal(signal.SIGCHLD, before)


def _save(
    context: Context, file: int, seconds: float, children: Children
) -> dict[str, Any]:
    start = time.monotonic()
    try:
        key = context.heaps.write(file, seconds=seconds, children=children)
    except SnapshotFailedError as error:
        found = {"kind": error.kind, "path": error.path, "holder": error.holder}
        return {"status": "error", "reason": error.reason, **found}
    except Exception as error:  # noqa: BLE001 -- whoever asked must hear of it
        reason = f"{type(error).__name__}: {error}"
        return {"status": "error", "reason": reason}
    return {
        "status": "ok",
        "size": os.fstat(file).st_size,
        "digest": key,
        "seconds": time.monotonic() - start,
    }
