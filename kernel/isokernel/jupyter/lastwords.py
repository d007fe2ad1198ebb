"""What is said before the process must be killed.

There are two occasions. A native function of V8's that can't be stopped (a huge regular
expression or a sort within one builtin) ignores an interrupt until its time of grace is
over. Or V8 meets a fatal error, after which it aborts. Either way whoever waits for the
cell is told why there will be no more, and the manager starts a new process.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, NoReturn

from isokernel import exit_codes
from isokernel.context.events import ErrorInfo, ExecutionDone
from isokernel.protocol.messages import error_content, execute_reply_content

if TYPE_CHECKING:
    from isokernel.jupyter.channels import Channels
    from isokernel.jupyter.executions import Execution, Executions

__all__ = ["LastWords"]

_PATIENCE = 1.0


class LastWords:
    """Ends the process, and says so. Any thread, once."""

    def __init__(self, channels: Channels) -> None:
        """Speak over the sockets of `channels`."""
        self._channels = channels
        self.executions: Executions | None = None

    def unstoppable(self) -> NoReturn:
        """End a process whose V8 thread doesn't come back from JavaScript.

        Called by the context, on its watchdog's thread.
        """
        self._die(
            "KernelKilledError",
            "JavaScript could not be stopped: one of V8's own functions goes on and "
            "on. The kernel was killed and its state is lost",
            exit_codes.UNSTOPPABLE,
        )

    def fatal(self, reason: str) -> NoReturn:
        """End a process that V8 is about to abort. Called by V8, on its thread."""
        self._die(
            "EngineFatalError",
            f"V8 can't go on: {reason}. The kernel ended and its state is lost",
            exit_codes.FATAL,
        )

    def _die(self, name: str, text: str, code: int) -> NoReturn:
        try:
            sys.stderr.write(f"isokernel: {text}\n")
            # Whoever held the lock of iopub for a whole second can't be waited for.
            if self._channels.broadcast.seize(_PATIENCE):
                self._tell(ErrorInfo(name, text, (f"{name}: {text}",)))
                self._channels.close()
        finally:
            os._exit(code)

    def _tell(self, error: ErrorInfo) -> None:
        """Fail the running cell. shell may be used: the V8 thread is in V8 or is us."""
        running = self.executions.running if self.executions is not None else None
        text = f"{error.ename}: {error.evalue}\n"
        parent = running.request.header_frame if running is not None else b"{}"
        broadcast = self._channels.broadcast
        broadcast.send("stream", {"name": "stderr", "text": text}, parent)
        if running is not None:
            broadcast.send("error", error_content(error), parent)
            self._fail(running, error)
            broadcast.end(parent)

    def _fail(self, running: Execution, error: ErrorInfo) -> None:
        done = ExecutionDone(0, 0, error)
        content = execute_reply_content(done, {})
        content["execution_count"] = running.count
        self._channels.reply(running.request, "execute_reply", content)
