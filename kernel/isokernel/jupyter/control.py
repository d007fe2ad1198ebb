"""The second thread: what must be answered while JavaScript keeps the first one busy.

It serves control and heartbeat, welcomes subscribers of iopub, receives signals, and
ends the kernel when its parent process dies.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

import zmq

from isokernel.errors import MessageError
from isokernel.jupyter import log
from isokernel.protocol.messages import error_reply_content

if TYPE_CHECKING:
    from collections.abc import Callable

    from isokernel.context.context import Context
    from isokernel.jupyter.channels import Channels
    from isokernel.jupyter.executions import Executions
    from isokernel.jupyter.parent import Parent
    from isokernel.jupyter.pulse import Pulse
    from isokernel.jupyter.wire import Message

__all__ = ["Control"]

_PARENT_MS = 1000
# An orderly end takes some milliseconds. A native function that V8 can't interrupt may
# hold it up; then nothing but the process itself is left to be ended.
_END_SECONDS = 1.0
_END_STEP = 0.05
_BEGIN_SECONDS = 0.1


class Control(threading.Thread):
    """The control thread. Other threads start and join it, and set its attributes.

    Attributes:
        context: What an interrupt stops; None until it has been made.
        executions: Tells whether a cell is running; None until it has been made.
    """

    def __init__(
        self,
        channels: Channels,
        information: dict[str, Any],
        pulse: Pulse,
        parent: Parent,
    ) -> None:
        """Serve the control side of `channels` from `start` on.

        Args:
            channels: The sockets.
            information: The content of kernel_info_reply.
            pulse: Shared with the V8 thread.
            parent: With whose end the kernel ends; closed by this thread.
        """
        super().__init__(name="isokernel-control", daemon=True)
        self._channels = channels
        self._pulse = pulse
        self._ended = False
        self._parent = parent
        self.context: Context | None = None
        self.executions: Executions | None = None
        self._information = information
        self._answers: dict[str, Callable[[Message], dict[str, Any]]] = {
            "kernel_info_request": self._kernel_info,
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
            log.failure("serving control", error)
        finally:
            self._channels.close_control()
            self._end()

    def _poller(self) -> zmq.Poller:
        poller = zmq.Poller()
        poller.register(self._channels.control, zmq.POLLIN)
        poller.register(self._channels.heartbeat, zmq.POLLIN)
        poller.register(self._channels.broadcast.fileno, zmq.POLLIN)
        poller.register(self._pulse.nerve.fileno, zmq.POLLIN)
        if self._parent.fileno is not None:
            poller.register(self._parent.fileno, zmq.POLLIN)
        return poller

    def _turn(self, ready: dict[Any, int]) -> None:
        if self._channels.heartbeat in ready:
            heartbeat = self._channels.heartbeat
            heartbeat.send_multipart(heartbeat.recv_multipart())
        if self._channels.broadcast.fileno in ready:
            self._channels.broadcast.welcome()
        if self._pulse.nerve.fileno in ready:
            self._feel(self._pulse.nerve.answer())
        if self._channels.control in ready:
            self._receive()
        if self._parent.fileno in ready or self._parent.gone():
            self._ended = True

    def _feel(self, words: bytes) -> None:
        for word in words:
            if word == signal.SIGINT:
                self._interrupt()
            else:
                self._ended = True

    def _interrupt(self) -> None:
        if self.context is None or self.executions is None:
            return
        # The cell may have been announced and not begun: then the context knows nothing
        # yet that could be interrupted.
        target = self.executions.running
        moment = time.monotonic() + _BEGIN_SECONDS
        while (
            target is not None
            and target is self.executions.running
            and not self.context.busy
            and time.monotonic() < moment
        ):
            time.sleep(0.001)
        self.context.interrupt()

    def _receive(self) -> None:
        frames = self._channels.control.recv_multipart()
        try:
            request = self._channels.session.unpack(frames)
        except MessageError as error:
            log.warning(f"dropped a message on control: {error}")
            return
        kind = request.kind
        if not kind.endswith("_request"):
            log.warning(f"dropped a message of unknown type {kind!r} on control")
            return
        broadcast = self._channels.broadcast
        with broadcast.serving(request.header_frame):
            reply = kind.removesuffix("_request") + "_reply"
            content = self._answer(request)
            self._channels.reply_control(request, reply, content)
            if kind == "shutdown_request":
                # Front ends other than the one that asked are to know as well.
                broadcast.send(reply, content, request.header_frame)

    def _answer(self, request: Message) -> dict[str, Any]:
        answer = self._answers.get(request.kind)
        if answer is None:
            text = f"this kernel doesn't know {request.kind}"
            return error_reply_content("MessageError", text)
        try:
            return answer(request)
        except Exception as error:  # noqa: BLE001 - the request must get its reply
            log.failure(f"serving {request.kind}", error)
            return error_reply_content(type(error).__name__, str(error))

    def _kernel_info(self, _request: Message) -> dict[str, Any]:
        return self._information

    def _interrupt_request(self, _request: Message) -> dict[str, Any]:
        self._interrupt()
        return {"status": "ok"}

    def _shutdown(self, request: Message) -> dict[str, Any]:
        self._ended = True
        return {"status": "ok", "restart": bool(request.content.get("restart", False))}

    def _end(self) -> None:
        """Stop the V8 thread, and the process if that doesn't help."""
        moment = time.monotonic() + _END_SECONDS
        self._pulse.stop()
        while not self._pulse.finished.is_set():
            if time.monotonic() >= moment:
                os._exit(0)
            if self.context is not None and self._pulse.inside:
                self.context.interrupt()
            self._pulse.finished.wait(_END_STEP)
        self._parent.close()
