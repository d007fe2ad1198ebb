"""Work in a forked child: what would end the process, or use up the isolate, ends it.

Forking is safe because V8 runs without threads of its own.
"""

from __future__ import annotations

import os
import select
import time
import warnings
from typing import TYPE_CHECKING, Final, NamedTuple

from isokernel.errors import SnapshotFailedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from isokernel.v8.isolate import Isolate

_OK, _FAILED = 0, 1
_SAID_MAX: Final = 65_536
_KILL: Final = 9


class Ended(NamedTuple):
    """How a child ended.

    Attributes:
        status: Its exit code, 0 if all went well, or minus the number of the signal.
        said: What it, or V8, has printed.
    """

    status: int
    said: str

    @property
    def reason(self) -> str:
        """Why it has failed, in V8's words if it was V8."""
        lines = [line.strip() for line in self.said.splitlines() if line.strip()]
        fatal = [line for line in lines if line.startswith("# ") and len(line) > 2]  # noqa: PLR2004
        said = (fatal or lines or ["V8 gave no reason"])[0].lstrip("# ")
        return said if self.status > 0 else f"{said} (signal {-self.status})"


def run_in_child(isolate: Isolate, work: Callable[[], None], seconds: float) -> Ended:
    """Do something in a copy of this process.

    Args:
        isolate: Whose complaints are heard, should V8 end the child.
        work: Called in the child, which ends with it. What it raises is what was said.
        seconds: After which the child is killed.

    Raises:
        OSError: The system allows no more processes or pipes.
    """
    reader, writer = os.pipe()
    try:
        with warnings.catch_warnings():
            # Python warns of forking with threads; the child only calls V8, and exits.
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if pid == 0:
            _be_child(isolate, work, writer)
        os.close(writer)
        writer = -1
        said = _read_until_exit(reader, pid, seconds)
        return Ended(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), said)
    finally:
        os.close(reader)
        if writer >= 0:
            os.close(writer)


def _be_child(isolate: Isolate, work: Callable[[], None], writer: int) -> None:
    status = _FAILED
    try:
        os.dup2(writer, 1)  # V8 prints its complaints to either
        os.dup2(writer, 2)
        isolate.on_fatal = _say
        work()
        status = _OK
    except BaseException as error:  # noqa: BLE001 -- the child must not go on
        said = error.reason if isinstance(error, SnapshotFailedError) else None
        said = said or f"{type(error).__name__}: {error}"
        os.write(writer, said.encode(errors="replace"))
    finally:
        os._exit(status)


def _say(reason: str) -> None:
    """Why V8 aborts, before it says so at length."""
    os.write(2, f"# {reason}\n".encode())


def _read_until_exit(reader: int, pid: int, seconds: float) -> str:
    """What the child writes to its stderr; a child that takes too long is killed."""
    deadline = time.monotonic() + seconds
    said = b""
    while True:
        left = max(deadline - time.monotonic(), 0)
        ready, _, _ = select.select([reader], [], [], left)
        if not ready:
            os.kill(pid, _KILL)
            return f"it took longer than {seconds:g} s"
        chunk = os.read(reader, _SAID_MAX)
        if not chunk:
            return said.decode(errors="replace")
        said = (said + chunk)[:_SAID_MAX]
