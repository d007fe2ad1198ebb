"""The Jupyter kernel: a loop on the thread that runs V8.

Each turn serves what has arrived, fires what is due in JavaScript, and waits again.
"""

from __future__ import annotations

import math
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import zmq

from isokernel.jupyter.capabilities import KernelCalls
from isokernel.jupyter.channels import ShellQueue, UserInput
from isokernel.jupyter.control import KernelControl
from isokernel.jupyter.exits import KernelExits
from isokernel.jupyter.front import KernelFront
from isokernel.jupyter.heaps import NotebookHeaps
from isokernel.jupyter.history import History
from isokernel.jupyter.process import log_failure
from isokernel.protocol.information import kernel_information

if TYPE_CHECKING:
    from collections.abc import Callable

    from isokernel.capabilities import Providers
    from isokernel.context import Context
    from isokernel.context.calls import CallNow
    from isokernel.context.events import Event
    from isokernel.jupyter.channels import Channels
    from isokernel.jupyter.process import Lifecycle, ParentProcess
    from isokernel.jupyter.settings import KernelSettings
    from isokernel.jupyter.wire import Message
    from isokernel.v8.snapshot import Snapshot

    ContextFactory = Callable[
        [
            Callable[[Event], None],
            UserInput,
            KernelExits,
            CallNow,
            Snapshot | None,
        ],
        Context,
    ]

__all__ = ["Kernel"]


class Kernel:
    """One context served over ZMQ. Made and run on one thread, which then runs V8."""

    def __init__(  # noqa: PLR0913, PLR0917 - it joins the parts
        self,
        channels: Channels,
        settings: KernelSettings,
        lifecycle: Lifecycle,
        make_context: ContextFactory,
        engine_version: str,
        parent: ParentProcess,
        providers: Providers,
    ) -> None:
        """Start to answer on control and heartbeat, then make the context.

        The sockets are bound already, so front ends connect while V8 starts.
        """
        self._channels = channels
        self._lifecycle = lifecycle
        information = kernel_information(settings.language, engine_version)
        self._control = KernelControl(channels, information, lifecycle, parent)
        channels.broadcast.send("status", {"execution_state": "starting"})
        self._control.start()
        self._shell = ShellQueue(channels)
        self._user_input = UserInput(channels)
        self._history = History(
            settings.history, settings.language, rows_max=settings.history_cells_max
        )
        self._heaps = NotebookHeaps(
            settings.heaps_dir, settings.heap_bytes_max, self._restore, self._lock
        )
        self._calls = KernelCalls(providers, settings, ask=self._user_input.ask_for)
        self._front = KernelFront(
            channels,
            self._shell,
            self._user_input,
            self._history,
            self._heaps,
            self._calls,
            information=information,
            cells_queued_max=settings.cells_queued_max,
        )
        cells = self._front.cells
        exits = KernelExits(channels, cells)
        self._make_context = partial(
            make_context, cells, self._user_input, exits, self._calls.call_now
        )
        self._poller = zmq.Poller()
        self._poller.register(channels.shell, zmq.POLLIN)
        self._poller.register(lifecycle.v8_wakeup.fileno, zmq.POLLIN)
        self._poller.register(self._calls.fileno, zmq.POLLIN)
        self._use(self._make_context(None), {})
        self._control.cells = cells

    def _lock(self) -> dict[str, Any]:
        return self._calls.lock()

    def _use(self, context: Context, lock: dict[str, Any]) -> None:
        """Serve everything with this context from now on; no cell runs."""
        self._context = self._front.cells.context = context
        context.heaps.serve(self._heaps.serve)
        self._calls.use(context, lock)
        self._poller.register(context.wakeup, zmq.POLLIN)
        self._user_input.wakeups = [context.wakeup, self._lifecycle.v8_wakeup.fileno]

    def _restore(self, heap: Snapshot, lock: dict[str, Any]) -> None:
        """Replace the context by one that is restored from a heap; no cell runs.

        Raises:
            EngineError: The heap can't be used. Everything is as before.
        """
        old, new = self._context, self._make_context(heap)
        self._poller.unregister(old.wakeup)
        self._use(new, lock)
        old.close()

    def run(self) -> None:
        """Serve until the control thread says stop."""
        try:
            while not self._lifecycle.stopping:
                self._turn()
        finally:
            self._close()

    def _turn(self) -> None:
        waits = (self._context.wait_time(), self._history.wait_time())
        wait = min((wait for wait in waits if wait is not None), default=None)
        if self._calls.pending:
            wait = 0
        due = None if wait is None else time.monotonic() + wait
        self._lifecycle.serving = False
        ready = dict(
            self._poller.poll(None if wait is None else math.ceil(wait * 1000))
        )
        self._lifecycle.serving = True
        if not ready and self._history.wait_time() == 0:
            self._history.write()
        if self._context.wakeup in ready or (due and time.monotonic() >= due):
            self._context.step()
        if self._calls.fileno in ready or self._calls.pending:
            self._calls.deliver()
        if self._channels.shell in ready:
            self._shell.fill()
            while not self._lifecycle.stopping and (request := self._shell.next()):
                self._dispatch(request)
        self._front.advance()

    def _dispatch(self, request: Message) -> None:
        try:
            if request.type == "execute_request":
                self._front.add(request)
            elif request.type == "shutdown_request":
                # Protocol 5.0 had it on shell.
                restart = bool(request.content.get("restart", False))
                content = {"status": "ok", "restart": restart}
                self._channels.reply(request, "shutdown_reply", content)
                self._lifecycle.control_wakeup.wake()
                self._lifecycle.stop()
            else:
                self._front.serve(request)
        except Exception as error:  # noqa: BLE001 - one request must not end the kernel
            log_failure(f"serving {request.type}", error)

    def _close(self) -> None:
        self._calls.close()
        self._context.close()
        self._history.close()
        self._channels.close()
        self._lifecycle.control_wakeup.wake()
        self._lifecycle.finished.set()
        self._control.join()
        self._lifecycle.close()
