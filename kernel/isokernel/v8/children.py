"""Work in a forked child: what would end the process, or use up the isolate, ends it.

Forking is safe because V8 runs without threads of its own.
"""

from __future__ import annotations

import ctypes
import os
import select
import sys
import time
import warnings
from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn

from isokernel.errors import SnapshotFailedError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from typing_extensions import Self

    from isokernel.v8.isolate import Isolate

_OK, _FAILED = 0, 1
_SAID_MAX: Final = 65_536
_KILL: Final = 9
_PR_SET_PDEATHSIG: Final = 1
_DONE: Final = b"\0"
"""The last that a child says when all went well."""


class Outcome(NamedTuple):
    """How a child ended.

    Attributes:
        status: Its exit code, 0 if all went well, or minus the number of the signal.
        output: What it, or V8, has printed.
    """

    status: int
    output: str

    @property
    def reason(self) -> str:
        """Why it has failed, in V8's words if it was V8."""
        lines = [line.strip() for line in self.output.splitlines() if line.strip()]
        fatal = [line for line in lines if line.startswith("# ") and len(line) > 2]  # noqa: PLR2004
        said = (fatal or lines or ["V8 gave no reason"])[0].lstrip("# ")
        return said if self.status > 0 else f"{said} (signal {-self.status})"


class Children:
    """The processes that were forked for one purpose; use with `with`."""

    def __init__(self, isolate: Isolate, closed: Sequence[int] = ()) -> None:
        """Have none yet.

        Args:
            isolate: Whose complaints are heard, should V8 end a child.
            closed: Descriptors that are closed in each child.
        """
        self._isolate = isolate
        self._closed = tuple(closed)
        self._children: list[Child] = []
        self._last, self._end = os.pipe()

    def __enter__(self) -> Self:
        """Return this."""
        return self

    def __exit__(self, *_: object) -> None:
        """End them all, and wait until they have ended."""
        os.close(self._last)
        os.close(self._end)
        while self._children:
            self._children.pop().close()

    def fork(self, work: Callable[[], None]) -> Child:
        """Do something in a copy of this process.

        Args:
            work: Called in the child, which ends with it. What it raises is what was
                said.

        Raises:
            OSError: The system allows no more processes or pipes.
        """
        parent = os.getpid()
        child = Child(lambda writer: self._be_child(work, writer, parent))
        self._children.append(child)
        return child

    def run(self, work: Callable[[], None], seconds: float) -> Outcome:
        """Do something in a copy of this process, and wait for it; see `fork`."""
        return self.fork(work).outcome(seconds)

    def _be_child(self, work: Callable[[], None], writer: int, parent: int) -> NoReturn:
        status = _FAILED
        try:
            _end_with(parent)
            for descriptor in (*self._closed, self._end):
                os.close(descriptor)
            os.dup2(writer, 1)  # V8 prints its complaints to either
            os.dup2(writer, 2)
            self._isolate.on_fatal = _say
            work()
            os.write(writer, _DONE)
            # To give back its memory takes a processor for 3 ms, which others need
            # now. This ends when the other process has closed its end, or is dead.
            os.read(self._last, 1)
            status = _OK
        except BaseException as error:  # noqa: BLE001 -- the child must not go on
            said = error.reason if isinstance(error, SnapshotFailedError) else None
            said = said or f"{type(error).__name__}: {error}"
            os.write(writer, said.encode(errors="replace"))
        finally:
            os._exit(status)


class Child:
    """One process that does something in a copy of this one."""

    def __init__(self, be_child: Callable[[int], NoReturn]) -> None:
        """Fork it; it gets the end of a pipe to tell of itself."""
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
        """Wait until it has done its work, or has ended before.

        Args:
            seconds: After which it is killed.
        """
        deadline = time.monotonic() + seconds
        said = b""
        while True:
            left = max(deadline - time.monotonic(), 0)
            ready, _, _ = select.select([self._reader], [], [], left)
            if not ready:
                os.kill(self._pid, _KILL)
                said = f"it took longer than {seconds:g} s".encode()
                break
            chunk = os.read(self._reader, _SAID_MAX)
            if chunk.endswith(_DONE):
                said = (said + chunk[: -len(_DONE)])[:_SAID_MAX]
                return Outcome(0, said.decode(errors="replace"))
            if not chunk:
                break
            said = (said + chunk)[:_SAID_MAX]
        return Outcome(self._reap(), said.decode(errors="replace"))

    def close(self) -> None:
        """End it, unless it has ended; wait until it has."""
        if self._reader < 0:
            return
        os.close(self._reader)
        self._reader = -1
        if not self._reaped:
            os.kill(self._pid, _KILL)
            self._reap()

    def _reap(self) -> int:
        self._reaped = True
        return os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])


def _end_with(parent: int) -> None:
    """Have this process killed when its parent has ended, whose deadline it is under.

    On Linux; elsewhere it goes on until its work is done.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, _KILL, 0, 0, 0)
    if os.getppid() != parent:  # it has ended already
        os._exit(_FAILED)


def fork() -> int:
    """Fork this process; as `os.fork`."""
    with warnings.catch_warnings():
        # Python warns of forking with threads. Ours hold no lock that matters: what
        # they share with us is made anew in the child, which ends without them.
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def _say(reason: str) -> None:
    """Why V8 aborts, before it says so at length."""
    os.write(2, f"# {reason}\n".encode())
