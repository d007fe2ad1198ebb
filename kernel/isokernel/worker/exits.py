"""How a context's process ends: the server is told the reason."""

from __future__ import annotations

import os
import re
import traceback
from typing import TYPE_CHECKING, Final, NoReturn

from isokernel import exit_codes

if TYPE_CHECKING:
    from isokernel.worker.channel import Channel

__all__ = ["WorkerExits"]

_TELL_SECONDS: Final = 1.0
_MEMORY = re.compile(r"out of memory|invalid (?:table|array|string)? ?(?:size|length)")


class WorkerExits:
    """Ends the process, and tells the server why. Any thread, once."""

    def __init__(self, channel: Channel) -> None:
        """Report on `channel`."""
        self._channel = channel

    def fatal(self, reason: str) -> NoReturn:
        """End a process that V8 is about to abort. Called by V8, on its thread."""
        memory = _MEMORY.search(reason) is not None
        code = exit_codes.OUT_OF_MEMORY if memory else exit_codes.FATAL
        self._exit(code, f"V8: {reason}")

    def stuck(self) -> None:
        """End a process whose V8 doesn't stop. Called on the watchdog's thread.

        When it is the server that keeps the V8 thread waiting, by not reading, it will
        stop as soon as it gets on.
        """
        if not self._channel.blocked:
            detail = "one of V8's own functions goes on and on"
            self._exit(exit_codes.UNSTOPPABLE, detail)

    def defect(self, error: BaseException) -> NoReturn:
        """End a process whose loop has failed.

        The last line of what is told says where, too: often it is all that is kept.
        """
        text = "".join(traceback.format_exception(error)).rstrip()
        frame = traceback.extract_tb(error.__traceback__)[-1]
        file = frame.filename.rpartition("/")[2]
        self._exit(exit_codes.DEFECT, f"{text} ({file}, line {frame.lineno})")

    def _exit(self, code: int, detail: str) -> NoReturn:
        try:
            content = {"reason": exit_codes.REASONS[code], "detail": detail}
            self._channel.send_last("fatal", content, _TELL_SECONDS)
        finally:
            os._exit(code)
