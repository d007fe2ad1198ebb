"""How the kernel's process ends when V8 forces it: front ends are told why.

There are two occasions. A native function of V8's that can't be stopped (a huge regular
expression or a sort within one builtin) ignores an interrupt until the grace period is
over. Or V8 meets a fatal error, after which it aborts. Either way the manager starts a
new process.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Final, NoReturn

from isokernel import exit_codes
from isokernel.context import tracebacks
from isokernel.context.events import ErrorInfo, ExecutionDone
from isokernel.protocol.messages import error_content, execute_reply_content

if TYPE_CHECKING:
    from isokernel.jupyter.channels import Channels
    from isokernel.jupyter.wire import Message
    from isokernel.protocol.cells import CellRunner

__all__ = ["KernelExits"]

_LOCK_SECONDS: Final = 1.0


class KernelExits:
    """Ends the process, and tells why. Any thread, once."""

    def __init__(self, channels: Channels, cells: CellRunner[Message]) -> None:
        """Report over the sockets of `channels`, and fail the cell that runs."""
        self._channels = channels
        self._cells = cells

    def stuck(self) -> NoReturn:
        """End a process whose V8 doesn't stop. Called on the watchdog's thread."""
        self._exit(
            exit_codes.UNSTOPPABLE,
            "KernelKilledError",
            "JavaScript could not be stopped: one of V8's own functions goes on and "
            "on. The kernel was killed and its state is lost",
        )

    def fatal(self, reason: str) -> NoReturn:
        """End a process that V8 is about to abort. Called by V8, on its thread."""
        self._exit(
            exit_codes.FATAL,
            "EngineFatalError",
            f"V8 can't go on: {reason}. The kernel ended and its state is lost",
        )

    def _exit(self, code: int, name: str, text: str) -> NoReturn:
        try:
            sys.stderr.write(f"isokernel: {text}\n")
            # Whoever held the lock of iopub for a whole second can't be waited for.
            if self._channels.broadcast.seize(_LOCK_SECONDS):
                traceback = (tracebacks.heading(name, text, tracebacks.COLORED),)
                self._report(ErrorInfo(name, text, traceback))
                self._channels.close()
        finally:
            os._exit(code)

    def _report(self, error: ErrorInfo) -> None:
        """Fail the running cell. shell may be used: the V8 thread is in V8 or is us."""
        cell = self._cells.running
        text = f"{error.ename}: {error.evalue}\n"
        parent = cell.request.header_frame if cell is not None else b"{}"
        broadcast = self._channels.broadcast
        broadcast.send("stream", {"name": "stderr", "text": text}, parent)
        if cell is not None:
            broadcast.send("error", error_content(error), parent)
            content = execute_reply_content(ExecutionDone(0, cell.count, error), {})
            self._channels.reply(cell.request, "execute_reply", content)
            broadcast.end(parent)
