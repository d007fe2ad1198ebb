"""Work in forked children: what would end the process, or use up the isolate.

Forking is safe because V8 runs without threads of its own.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
import math
import operator
import os
import platform
import select
import struct
import sys
import time
import warnings
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn

from isokernel.errors import SnapshotFailedError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from typing_extensions import Self

    from isokernel.v8.isolate import Isolate

__all__ = [
    "Child",
    "Children",
    "Outcome",
    "Siblings",
    "fork",
    "fork_sibling",
    "fork_siblings",
]

_OK, _FAILED = 0, 1
_OUTPUT_MAX_BYTES: Final = 65_536
_SIGKILL: Final = 9
_SIGTRAP: Final = 5  # of V8's allocator, which ends the process without a word
_MEMORY: Final = (
    "the process that works on the heap ran out of memory: beside the heap it needs "
    "about three times what the heap has"
)
_PR_SET_PDEATHSIG: Final = 1
_CLONE: Final = {"x86_64": 56, "aarch64": 220}
_CLONE_PARENT: Final = 0x8000
_CLONE_PARENT_SETTID: Final = 0x0010_0000
_POLL: Final = struct.Struct("=ihh")
_CALL: Final = operator.methodcaller("__call__")
_DONE: Final = b"\0"
"""The last byte that a child writes when all went well."""


class Outcome(NamedTuple):
    """How the work of a child went.

    Attributes:
        status: 0 if all went well, else the exit code, or minus the signal's number.
        output: What it, or V8, has printed.
    """

    status: int
    output: str

    @property
    def reason(self) -> str:
        """Why it has failed, in V8's words if it was V8."""
        lines = [line.strip() for line in self.output.splitlines() if line.strip()]
        fatal = [line for line in lines if line.startswith("# ") and len(line) > 2]  # noqa: PLR2004
        silent = _MEMORY if self.status == -_SIGTRAP else "V8 gave no reason"
        reason = (fatal or lines or [silent])[0].lstrip("# ")
        return reason if self.status > 0 else f"{reason} (signal {-self.status})"


class Siblings(NamedTuple):
    """The processes that `fork_siblings` has made.

    Attributes:
        pids: Their ids, in order; in one of them, those of the ones before it.
        place: In a new process, its own place among them; None in the one that forked.
    """

    pids: list[int]
    place: int | None


class Children:
    """The processes that were forked for one purpose; a context manager."""

    def __init__(self, isolate: Isolate, closed: Sequence[int] = ()) -> None:
        """Fork none yet.

        Args:
            isolate: Its fatal errors are part of a child's output.
            closed: Descriptors that are closed in each child.
        """
        self._isolate = isolate
        self._closed = tuple(closed)
        self._children: list[Child] = []
        # A pipe on which nothing is ever written: its end tells the children to end.
        self._release_reader, self._release_writer = os.pipe()

    def __enter__(self) -> Self:
        """Return this."""
        return self

    def __exit__(self, *_: object) -> None:
        """Kill all children that have not ended, and reap all."""
        os.close(self._release_reader)
        os.close(self._release_writer)
        while self._children:
            self._children.pop().close()

    def fork(self, work: Callable[[], None]) -> Child:
        """Do something in a copy of this process.

        Args:
            work: Called in the child, which ends with it. What it raises becomes the
                child's output.

        Raises:
            OSError: The system allows no more processes or pipes.
        """
        parent = os.getpid()
        child = Child(lambda output: self._be_child(work, output, parent))
        self._children.append(child)
        return child

    def run(self, work: Callable[[], None], seconds: float) -> Outcome:
        """Do something in a copy of this process, and wait for it; see `fork`."""
        return self.fork(work).outcome(seconds)

    def _be_child(self, work: Callable[[], None], output: int, parent: int) -> NoReturn:
        status = _FAILED
        try:
            _end_with(parent)
            for descriptor in (*self._closed, self._release_writer):
                os.close(descriptor)
            os.dup2(output, 1)  # V8 prints its complaints to either
            os.dup2(output, 2)
            self._isolate.on_fatal = _print_fatal
            work()
            os.write(output, _DONE)
            # To give back its memory takes a processor for 3 ms, which others need
            # now. This ends when the other process has closed its end, or is dead.
            os.read(self._release_reader, 1)
            status = _OK
        except BaseException as error:  # noqa: BLE001 -- the child must not go on
            reason = error.reason if isinstance(error, SnapshotFailedError) else None
            if isinstance(error, MemoryError):
                reason = _MEMORY
            reason = reason or f"{type(error).__name__}: {error}"
            os.write(output, reason.encode(errors="replace"))
        finally:
            os._exit(status)


class Child:
    """One process that does something in a copy of this one."""

    def __init__(self, be_child: Callable[[int], NoReturn]) -> None:
        """Fork it; `be_child` gets the descriptor that its output goes to."""
        self._reader, writer = os.pipe()
        self._reaped = False
        try:
            self._pid = fork()
            if self._pid == 0:
                be_child(writer)
        except OSError:
            os.close(self._reader)
            raise
        finally:
            os.close(writer)

    def outcome(self, seconds: float) -> Outcome:
        """Wait until the child has done its work, or has ended before.

        Args:
            seconds: After which it is killed.
        """
        deadline = time.monotonic() + seconds
        output = b""
        while True:
            left = max(deadline - time.monotonic(), 0)
            ready, _, _ = select.select([self._reader], [], [], left)
            if not ready:
                os.kill(self._pid, _SIGKILL)
                output = f"it took longer than {seconds:g} s".encode()
                break
            chunk = os.read(self._reader, _OUTPUT_MAX_BYTES)
            if chunk.endswith(_DONE):
                output = (output + chunk[: -len(_DONE)])[:_OUTPUT_MAX_BYTES]
                return Outcome(0, output.decode(errors="replace"))
            if not chunk:
                break
            output = (output + chunk)[:_OUTPUT_MAX_BYTES]
        return Outcome(self._reap(), output.decode(errors="replace"))

    def close(self) -> None:
        """Kill the child unless it has ended, and reap it; safe to call twice."""
        if self._reader < 0:
            return
        os.close(self._reader)
        self._reader = -1
        if not self._reaped:
            os.kill(self._pid, _SIGKILL)
            self._reap()

    def _reap(self) -> int:
        self._reaped = True
        return os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])


def fork() -> int:
    """Fork this process, as `os.fork` does, without Python's warning of threads."""
    with warnings.catch_warnings():
        # Ours hold no lock that matters: what they share with us is made anew in the
        # child, which ends without them.
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def fork_sibling() -> int:
    """Fork one process as `fork_siblings` does, which goes on at once.

    Returns:
        Its id; 0 in the new process.

    Raises:
        OSError: The system allows no more processes.
    """
    made = fork_siblings([()])
    return made.pids[0] if made.place is None else 0


def fork_siblings(
    rests: Sequence[Sequence[int]],
    seconds: float | None = None,
    *,
    without: Sequence[int] = (),
) -> Siblings:
    """Fork processes that are children of this one's parent, which is told of each end.

    To fork twice instead, so that it is an orphan, copies the table of pages twice,
    which is most of what a fork costs. On Linux. No other thread may be in V8, nor in
    anything else that takes a lock without having Python's.

    Args:
        rests: For each process, descriptors of which one is to be readable before it
            does anything: with the first line of Python it copies 800 KB of memory. It
            goes on at once if there are none. It closes those of the others.
        seconds: How long each rests at most; None for ever.
        without: Descriptors that each closes before it rests.

    Raises:
        OSError: The system allows no more processes. Those that were forked before
            rest on.
    """
    before, after_in_parent, after_in_child, clone, poll, close = _calls()
    this, pids = os.getpid(), (ctypes.c_int * len(rests))()
    wait = -1 if seconds is None else math.ceil(seconds * 1000)
    clones, tables = [], []
    for place, rest in enumerate(rests):
        slot = ctypes.addressof(pids) + place * ctypes.sizeof(ctypes.c_int)
        clones.append(partial(clone, slot, 0, 0))
        others = (*itertools.chain(*rests[:place], *rests[place + 1 :]), *without)
        looks = b"".join(_POLL.pack(one, select.POLLIN, 0) for one in rest)
        look = partial(poll, looks, len(rest), wait if rest else 0)
        first = (*(partial(close, one) for one in others), look, after_in_child)
        begin: Callable[[], object] = partial(list, map(_CALL, first))
        tables.append({0: begin, -1: partial(bool, 1)})
    # As `os.fork` does it, with another system call. A new process has one thread,
    # which must not wait for others, as it would to run any line of Python before it
    # has been told: so all is called by C, and tables find what comes next. What
    # returns something true comes last: a new process forks none of those after it.
    results = map(_CALL, (before, *clones))
    nexts = map(dict.get, ({}, *tables), results, itertools.repeat(int))
    any(map(_CALL, nexts))
    forked = [pid for pid in pids if pid]
    if os.getpid() != this:
        return Siblings(forked, len(forked))
    error = ctypes.get_errno()
    after_in_parent()
    if len(forked) < len(rests):
        raise OSError(error, os.strerror(error))
    return Siblings(forked, None)


@functools.cache
def _calls() -> tuple[Callable[..., object], ...]:
    """Return the C functions of `fork_siblings`, which keep Python's lock."""
    python, system = ctypes.pythonapi, ctypes.PyDLL(None, use_errno=True)
    before = python.PyOS_BeforeFork
    before.restype = None
    call = system.syscall
    call.restype = ctypes.c_long
    call.argtypes = [ctypes.c_long] * 3 + [ctypes.c_void_p] + [ctypes.c_long] * 2
    flags = _CLONE_PARENT | _CLONE_PARENT_SETTID
    clone = partial(call, _CLONE[platform.machine()], flags, 0)
    ends = python.PyOS_AfterFork_Parent, python.PyOS_AfterFork_Child
    return before, *ends, clone, system.poll, system.close


def _end_with(parent: int) -> None:
    """Have this process killed when its parent has ended, whose deadline it is under.

    On Linux; elsewhere it goes on until its work is done.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it has ended already
        os._exit(_FAILED)


def _print_fatal(reason: str) -> None:
    """Print why V8 is about to abort, in its own form, before it does at length."""
    os.write(2, f"# {reason}\n".encode())
