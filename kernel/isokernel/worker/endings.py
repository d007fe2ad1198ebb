"""What is said before the process must end, and the code that it ends with."""

from __future__ import annotations

import os
import re
import traceback
from typing import TYPE_CHECKING, Final, NoReturn

if TYPE_CHECKING:
    from isokernel.worker.channel import Channel

__all__ = ["EXITS", "Endings", "in_words"]

UNSTOPPABLE: Final = 70
FATAL: Final = 71
OUT_OF_MEMORY: Final = 72
DEFECT: Final = 73

EXITS: Final = {
    0: "it was ended",
    UNSTOPPABLE: "JavaScript could not be stopped",
    FATAL: "V8 met a fatal error",
    OUT_OF_MEMORY: "out of memory",
    DEFECT: "a defect of isokernel",
}
"""What the exit codes of a context's process mean."""

_PATIENCE: Final = 1.0
_MEMORY = re.compile(r"out of memory|invalid (?:table|array|string)? ?(?:size|length)")


class Endings:
    """Ends the process, and tells the server why. Any thread, once."""

    def __init__(self, channel: Channel) -> None:
        """Tell it on `channel`."""
        self._channel = channel

    def fatal(self, reason: str) -> NoReturn:
        """V8 is about to abort. Called by V8, on its thread."""
        memory = _MEMORY.search(reason) is not None
        self._end(f"V8: {reason}", OUT_OF_MEMORY if memory else FATAL)

    def stuck(self) -> None:
        """V8 doesn't stop. Called on the watchdog's thread.

        When it is the server that keeps the V8 thread waiting, by not reading, it will
        stop as soon as it gets on.
        """
        if not self._channel.blocked:
            self._end("one of V8's own functions goes on and on", UNSTOPPABLE)

    def defect(self, error: BaseException) -> NoReturn:
        """The loop itself has failed."""
        self._end("".join(traceback.format_exception(error)), DEFECT)

    def _end(self, detail: str, code: int) -> NoReturn:
        try:
            content = {"reason": EXITS[code], "detail": detail}
            self._channel.last("fatal", content, _PATIENCE)
        finally:
            os._exit(code)


def in_words(status: int | None) -> str:
    """Why a context's process ended, by its exit code, or minus the signal's number."""
    if status is None:
        return "it ended, nobody knows how"
    if status >= 0:
        return EXITS.get(status, f"exit code {status}")
    return _signal_in_words(-status)


def _signal_in_words(number: int) -> str:
    import signal  # noqa: PLC0415 -- only the server asks

    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    return {
        "SIGKILL": "killed by SIGKILL (by somebody, or the system was out of memory)",
        "SIGSYS": "killed by SIGSYS (it did what a context may not do)",
        "SIGXCPU": "killed by SIGXCPU (it used up its processor time)",
        "SIGABRT": "V8 ended it (SIGABRT)",
        "SIGTRAP": "V8 ended it (SIGTRAP)",
        "SIGILL": "V8 ended it (SIGILL)",
    }.get(name, f"killed by {name}")
