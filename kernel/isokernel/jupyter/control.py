"""The second thread: what must be answered while JavaScript keeps the first one busy.

It serves control and heartbeat, welcomes subscribers of iopub, receives signals, and
ends the kernel when its parent process dies.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import TYPE_CHECKING, Any, Final

import zmq

from isokernel.errors import MessageError
from isokernel.jupyter.process import log_failure, log_warning
from isokernel.protocol.answers import refusal, reply_type

if TYPE_CHECKING:
    from collections.abc import Callable

    from isokernel.jupyter.channels import Channels
    from isokernel.jupyter.process import Lifecycle, ParentProcess
    from isokernel.jupyter.wire import Message
    from isokernel.protocol.cells import CellRunner

__all__ = ["KernelControl"]

_PARENT_MS: Final = 1000
# An orderly end takes some milliseconds. A native function that V8 can't interrupt may
# hold it up; then nothing but the process itself is left to be ended.
_END_SECONDS: Final = 1.0
_END_STEP_SECONDS: Final = 0.05


class KernelControl(threading.Thread):
    """The control thread. Other threads start and join it, and set `cells`.

    Attributes:
        cells: What an interrupt stops; None until there is a context.
    """

    def __init__(
        self,
        channels: Channels,
        information: dict[str, Any],
        lifecycle: Lifecycle,
        parent: ParentProcess,
    ) -> None:
        """Serve the control side of `channels` from `start` on.

        Args:
            channels: The sockets.
            information: The content of kernel_info_reply.
            lifecycle: Shared with the V8 thread.
            parent: With whose end the kernel ends; closed by this thread.
        """
        super().__init__(name="isokernel-control", daemon=True)
        self._channels = channels
        self._lifecycle = lifecycle
        self._ended = False
        self._parent = parent
        self.cells: CellRunner[Message] | None = None
        self._answers: dict[str, Callable[[Message], dict[str, Any]]] = {
            "kernel_info_request": lambda _request: information,
            "interrupt_request": self._interrupt_request,
            "shutdown_request": self._shutdown,
        }

    def run(self) -> None:
        """Serve until the kernel ends, then see to it that it does."""
        poller = self._poller()
        try:
            while not self._ended:
                self._turn(dict(poller.poll(_PARENT_MS)))
        except Exception as error:  # noqa: BLE001 - without us nobody could stop it
            log_failure("serving control", error)
        finally:
            self._channels.close_control()
            self._end()

    def _poller(self) -> zmq.Poller:
        poller = zmq.Poller()
        poller.register(self._channels.control, zmq.POLLIN)
        poller.register(self._channels.heartbeat, zmq.POLLIN)
        poller.register(self._channels.broadcast.fileno, zmq.POLLIN)
        poller.register(self._lifecycle.control_wakeup.fileno, zmq.POLLIN)
        if self._parent.fileno is not None:
            poller.register(self._parent.fileno, zmq.POLLIN)
        return poller

    def _turn(self, ready: dict[Any, int]) -> None:
        if self._channels.heartbeat in ready:
            heartbeat = self._channels.heartbeat
            heartbeat.send_multipart(heartbeat.recv_multipart())
        if self._channels.broadcast.fileno in ready:
            self._channels.broadcast.welcome()
        if self._lifecycle.control_wakeup.fileno in ready:
            for number in self._lifecycle.control_wakeup.drain():
                if number == signal.SIGINT:
                    self._interrupt()
                else:
                    self._ended = True
        if self._channels.control in ready:
            self._receive()
        if self._parent.fileno in ready or self._parent.gone():
            self._ended = True

    def _interrupt(self) -> None:
        if self.cells is not None:
            self.cells.interrupt()

    def _receive(self) -> None:
        frames = self._channels.control.recv_multipart()
        try:
            request = self._channels.session.unpack(frames)
        except MessageError as error:
            log_warning(f"dropped a message on control: {error}")
            return
        kind = request.type
        if not kind.endswith("_request"):
            log_warning(f"dropped a message of unknown type {kind!r} on control")
            return
        broadcast = self._channels.broadcast
        with broadcast.serving(request.header_frame):
            reply, content = reply_type(kind), self._answer(request)
            self._channels.reply(request, reply, content, control=True)
            if kind == "shutdown_request":
                # Front ends other than the one that asked are to know as well.
                broadcast.send(reply, content, request.header_frame)

    def _answer(self, request: Message) -> dict[str, Any]:
        answer = self._answers.get(request.type)
        if answer is None:
            error = MessageError(f"{request.type} isn't known on control")
            return refusal(request.type, error)
        try:
            return answer(request)
        except Exception as failure:  # noqa: BLE001 - the request must get its reply
            log_failure(f"serving {request.type}", failure)
            return refusal(request.type, failure)

    def _interrupt_request(self, _request: Message) -> dict[str, Any]:
        self._interrupt()
        return {"status": "ok"}

    def _shutdown(self, request: Message) -> dict[str, Any]:
        self._ended = True
        return {"status": "ok", "restart": bool(request.content.get("restart", False))}

    def _end(self) -> None:
        """Stop the V8 thread, and the process if that doesn't help."""
        moment = time.monotonic() + _END_SECONDS
        self._lifecycle.stop()
        while not self._lifecycle.finished.is_set():
            if time.monotonic() >= moment:
                os._exit(0)
            if self.cells is not None and self._lifecycle.serving:
                self.cells.context.interrupt()
            self._lifecycle.finished.wait(_END_STEP_SECONDS)
        self._parent.close()
