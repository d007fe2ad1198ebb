"""What is said before the process must end, and the code that it ends with."""

from __future__ import annotations

import os
import re
import traceback
from typing import TYPE_CHECKING, Final, NoReturn

from isokernel import exit_codes

if TYPE_CHECKING:
    from isokernel.worker.channel import Channel

__all__ = ["Endings"]

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
        self._end(
            f"V8: {reason}", exit_codes.OUT_OF_MEMORY if memory else exit_codes.FATAL
        )

    def stuck(self) -> None:
        """V8 doesn't stop. Called on the watchdog's thread.

        When it is the server that keeps the V8 thread waiting, by not reading, it will
        stop as soon as it gets on.
        """
        if not self._channel.blocked:
            self._end(
                "one of V8's own functions goes on and on", exit_codes.UNSTOPPABLE
            )

    def defect(self, error: BaseException) -> NoReturn:
        """The loop itself has failed."""
        self._end("".join(traceback.format_exception(error)), exit_codes.DEFECT)

    def _end(self, detail: str, code: int) -> NoReturn:
        try:
            content = {"reason": exit_codes.REASONS[code], "detail": detail}
            self._channel.last("fatal", content, _PATIENCE)
        finally:
            os._exit(code)
