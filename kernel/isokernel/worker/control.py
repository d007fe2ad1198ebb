"""The second thread: what must be heard while JavaScript keeps the first one busy."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Any, Final

from isokernel.errors import FrameError
from isokernel.protocol.frames import Decoder, Frame, encode
from isokernel.protocol.messages import error_reply_content
from isokernel.worker.requests import reply_type

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from isokernel.context.context import Context
    from isokernel.worker.executions import Executions
    from isokernel.worker.memory import Memory

__all__ = ["Control"]

_CHUNK: Final = 4096
_FRAME_MAX: Final = 1 << 16
_BEGIN_SECONDS: Final = 0.1
_BEGIN_STEP: Final = 0.001


class Control(threading.Thread):
    """Serves `control` until the server closes it, and then ends the process."""

    def __init__(
        self,
        sock: socket.socket,
        context: Context,
        executions: Executions,
        memory: Memory,
    ) -> None:
        """Take over a stream socket, in blocking mode."""
        super().__init__(name="isokernel-control", daemon=True)
        sock.settimeout(None)
        self._socket = sock
        self._context = context
        self._executions = executions
        self._memory = memory
        self._answers: dict[str, Callable[[Frame], dict[str, Any]]] = {
            "interrupt_request": self._interrupt,
            "memory_request": lambda _request: self._memory.content(),
        }

    def run(self) -> None:
        """Serve; never returns."""
        decoder = Decoder(_FRAME_MAX)
        try:
            while data := self._socket.recv(_CHUNK):
                for request in decoder.feed(data):
                    self._serve(request)
        except (OSError, FrameError):
            pass  # as good as closed
        finally:
            os._exit(0)

    def _serve(self, request: Frame) -> None:
        answer = self._answers.get(request.type)
        if answer is None:
            text = f"a context doesn't know {request.type} on control"
            content = error_reply_content("MessageError", text)
        else:
            content = answer(request)
        reply = encode(reply_type(request.type), content, parent=request.id or 0)
        self._socket.sendall(reply)

    def _interrupt(self, request: Frame) -> dict[str, Any]:
        """Stop one execution, begun or not, or whatever runs now."""
        executions = self._executions
        target = request.content.get("execution")
        if isinstance(target, int) and target > executions.ended:
            executions.cancelled.add(target)
        if target is None or target == executions.running:
            self._halt(executions.running)
        return {"status": "ok"}

    def _halt(self, running: int) -> None:
        # The cell may have been announced and not begun: then the context knows nothing
        # yet that could be interrupted.
        moment = time.monotonic() + _BEGIN_SECONDS
        while (
            running
            and running == self._executions.running
            and not self._context.busy
            and time.monotonic() < moment
        ):
            time.sleep(_BEGIN_STEP)
        self._context.interrupt()
