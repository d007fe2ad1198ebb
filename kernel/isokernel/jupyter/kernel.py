"""The Jupyter kernel: a loop on the thread that runs V8.

Each turn serves what has arrived, fires what is due in JavaScript, and waits again.
"""

from __future__ import annotations

import math
import time
from functools import partial
from typing import TYPE_CHECKING

import zmq

from isokernel.jupyter import log
from isokernel.jupyter.control import Control
from isokernel.jupyter.executions import Executions
from isokernel.jupyter.heaps import Heaps
from isokernel.jupyter.history import History
from isokernel.jupyter.inbox import Inbox
from isokernel.jupyter.information import kernel_information
from isokernel.jupyter.inputs import Inputs
from isokernel.jupyter.lastwords import LastWords
from isokernel.jupyter.outputs import Outputs
from isokernel.jupyter.parent import Parent
from isokernel.jupyter.requests import Requests

if TYPE_CHECKING:
    from collections.abc import Callable

    from isokernel.context.context import Context
    from isokernel.jupyter.channels import Channels
    from isokernel.jupyter.pulse import Pulse
    from isokernel.jupyter.settings import KernelSettings
    from isokernel.jupyter.wire import Message
    from isokernel.v8.snapshot import Snapshot

    ContextFactory = Callable[[Outputs, Inputs, LastWords, Snapshot | None], Context]

__all__ = ["Kernel"]


class Kernel:
    """One context served over ZMQ. Made and run on one thread, which then runs V8."""

    def __init__(  # noqa: PLR0913, PLR0917 - it joins the parts
        self,
        channels: Channels,
        settings: KernelSettings,
        pulse: Pulse,
        make_context: ContextFactory,
        engine_version: str,
        parent: Parent | None = None,
    ) -> None:
        """Start to answer on control and heartbeat, then make the context.

        The sockets are bound already, so front ends connect while V8 starts.
        """
        self._channels = channels
        self._pulse = pulse
        information = kernel_information(settings.language, engine_version)
        last_words = LastWords(channels)
        self._control = Control(channels, information, pulse, parent or Parent())
        channels.broadcast.send("status", {"execution_state": "starting"})
        self._control.start()
        outputs = Outputs(channels.broadcast)
        self._inputs = inputs = Inputs(channels)
        self._make = partial(make_context, outputs, inputs, last_words)
        self._context = self._make(None)
        self._control.context = self._context
        inputs.wakeups = [self._context.wakeup, pulse.bell.fileno]
        self._heaps = Heaps(
            settings.heaps_dir, settings.heap_bytes_max, self._go_on_from
        )
        self._context.keep_heaps(self._heaps)
        self._history = History(
            settings.history, settings.language, rows_max=settings.history_cells_max
        )
        self._inbox = Inbox(channels)
        self._executions = Executions(
            self._context,
            channels,
            self._inbox,
            outputs,
            inputs,
            self._history,
            cells_queued_max=settings.cells_queued_max,
            heaps=self._heaps,
        )
        last_words.executions = self._control.executions = self._executions
        self._requests = Requests(self._context, channels, self._history, information)
        self._poller = self._make_poller()

    def run(self) -> None:
        """Serve until the control thread says stop."""
        try:
            while not self._pulse.stopping:
                self._turn()
        finally:
            self._close()

    def _make_poller(self) -> zmq.Poller:
        poller = zmq.Poller()
        poller.register(self._channels.shell, zmq.POLLIN)
        poller.register(self._context.wakeup, zmq.POLLIN)
        poller.register(self._pulse.bell.fileno, zmq.POLLIN)
        return poller

    def _go_on_from(self, heap: Snapshot) -> None:
        """Put another context in the place of the one that is there; no cell runs."""
        old, new = self._context, self._make(heap)
        new.keep_heaps(self._heaps)
        self._poller.unregister(old.wakeup)
        self._poller.register(new.wakeup, zmq.POLLIN)
        self._inputs.wakeups = [new.wakeup, self._pulse.bell.fileno]
        self._context = self._control.context = new
        self._executions.use(new)
        self._requests.use(new)
        old.close()

    def _turn(self) -> None:
        due = self._due()
        self._pulse.inside = False
        ready = dict(self._poller.poll(_milliseconds(due)))
        self._pulse.inside = True
        if not ready and self._history.wait_time() == 0:
            self._history.write()
        if self._context.wakeup in ready or _is_past(due):
            self._context.step()
        if self._channels.shell in ready:
            self._serve()
        self._executions.advance()

    def _due(self) -> float | None:
        """Give the time at which JavaScript or the history want their turn."""
        waits = (self._context.wait_time(), self._history.wait_time())
        known = [wait for wait in waits if wait is not None]
        return time.monotonic() + min(known) if known else None

    def _serve(self) -> None:
        self._inbox.fill()
        while not self._pulse.stopping:
            request = self._inbox.next()
            if request is None:
                return
            self._dispatch(request)

    def _dispatch(self, request: Message) -> None:
        try:
            if request.kind == "execute_request":
                self._executions.add(request)
            elif request.kind == "shutdown_request":
                # Protocol 5.0 had it on shell.
                restart = bool(request.content.get("restart", False))
                content = {"status": "ok", "restart": restart}
                self._channels.reply(request, "shutdown_reply", content)
                self._pulse.nerve.ring()
                self._pulse.stop()
            else:
                self._requests.serve(request)
        except Exception as error:  # noqa: BLE001 - one request must not end the kernel
            log.failure(f"serving {request.kind}", error)

    def _close(self) -> None:
        self._context.close()
        self._history.close()
        self._channels.close()
        self._pulse.nerve.ring()
        self._pulse.finished.set()
        self._control.join()
        self._pulse.close()


def _milliseconds(due: float | None) -> int | None:
    """Give how long to poll for a time on the monotonic clock."""
    if due is None:
        return None
    return max(0, math.ceil((due - time.monotonic()) * 1000))


def _is_past(due: float | None) -> bool:
    return due is not None and time.monotonic() >= due
