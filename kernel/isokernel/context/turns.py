"""Turns: the times when JavaScript runs, and how it is stopped from outside."""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
from enum import Enum
from typing import TYPE_CHECKING, Final, TypeVar

from isokernel.context.watchdog import Watchdog
from isokernel.errors import CallInterruptedError, ScriptError, TerminatedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from isokernel.context.bridge import Bridge
    from isokernel.settings import ContextSettings

_DRAIN_BYTES: Final = 4096
_TICK_MS: Final = 50
_Result = TypeVar("_Result")


class Stop(Enum):
    """Why JavaScript was stopped from outside; the value is the error's name."""

    INTERRUPT = "KeyboardInterrupt"
    DEADLINE = "TimeoutError"
    MEMORY = "OutOfMemoryError"


class Turns:
    """Runs JavaScript, one turn after the other. Of the V8 thread, but `request_stop`.

    Attributes:
        bridge: The runtime.
        settings: The context's.
        stop: Why JavaScript was stopped, until `take_stop`.
        wakeup: A file descriptor that becomes readable when a stop was requested.
        memory_message: What ran out, when `stop` is MEMORY.
        seconds_run: How long JavaScript has run, in the turns that are over.
    """

    def __init__(
        self, bridge: Bridge, settings: ContextSettings, on_stuck: Callable[[], None]
    ) -> None:
        """Create the wakeup pipe and the watchdog.

        Args:
            bridge: The runtime whose JavaScript runs.
            settings: The context's.
            on_stuck: V8 didn't stop in time; called on the watchdog's thread.
        """
        self.bridge = bridge
        self._isolate = bridge.isolate
        self._count = 0
        self._flushed = -1  # at which count; a heap may have timers from the start
        self._timer_due_ms = -1.0
        self._prepare(settings, on_stuck, None)

    def _prepare(
        self,
        settings: ContextSettings,
        on_stuck: Callable[[], None],
        on_tick: Callable[[], None] | None,
    ) -> None:
        """Make what belongs to one process and one user of the context."""
        self.settings = settings
        self._on_tick = on_tick
        self._lock = threading.Lock()
        self._running = False
        self._closed = False
        self._entered = 0.0
        self.seconds_run = 0.0
        self.stop: Stop | None = None
        self.memory_message = ""
        self.wakeup, self._waker = os.pipe()
        os.set_blocking(self.wakeup, False)
        os.set_blocking(self._waker, False)
        self._watchdog = Watchdog(
            tick=lambda: self._isolate.request(self._tick),
            expire=lambda: self.request_stop(Stop.DEADLINE),
            stuck=on_stuck,
        )

    def after_fork(
        self,
        settings: ContextSettings,
        on_stuck: Callable[[], None],
        on_tick: Callable[[], None] | None = None,
    ) -> None:
        """Replace what is shared with the parent process, in the child of a fork.

        The pipe is shared with the parent and its other children, and the watchdog's
        thread exists in the parent only.
        """
        if not self._closed:
            os.close(self.wakeup)
            os.close(self._waker)
        self._prepare(settings, on_stuck, on_tick)

    def held(self) -> contextlib.AbstractContextManager[object]:
        """Keep other threads out of V8, between two turns, so that a fork is safe."""
        return self._watchdog.held()

    def disable_watchdog(self) -> None:
        """Do without the thread, in a process whose parent enforces a deadline."""
        self._watchdog.close()

    # -- a turn --------------------------------------------------------------------

    def run(
        self, function: Callable[[], _Result], deadline: float | None = None
    ) -> _Result | None:
        """Call a function that runs JavaScript, which can be stopped meanwhile.

        Args:
            function: Called once.
            deadline: On the monotonic clock; JavaScript is terminated then.

        Returns:
            What the function returns; None if JavaScript was terminated. Then `stop`
            says why, and JavaScript may run again.
        """
        self._enter(deadline)
        try:
            return function()
        except TerminatedError:
            return None
        finally:
            self._leave()

    def watch(self, deadline: float | None) -> None:
        """Have another deadline for the turn that runs, if one does."""
        self._watchdog.watch(deadline)

    def _enter(self, deadline: float | None) -> None:
        self._entered = time.monotonic()
        self._count += 1
        self._watchdog.enter(deadline)
        with self._lock:
            self._running = True
            if self.stop is not None:  # it came between two turns
                self._terminate()

    def _leave(self) -> None:
        self._watchdog.leave()
        self.seconds_run += time.monotonic() - self._entered
        self._isolate.memory.settle()
        with self._lock:
            self._running = False
        self._isolate.resume()
        memory = self._isolate.memory
        if memory.out_of_memory:
            bound = memory.heap_bound_bytes
            self.memory_message = (
                f"the heap of the context is full ({bound >> 20} MiB); "
                "what the cell did until then is kept"
            )
            self.stop = self.stop or Stop.MEMORY
            memory.reset()

    def run_cleanups(self) -> None:
        """Call callbacks of FinalizationRegistries; inside a turn, at its end."""
        isolate = self._isolate
        while isolate.cleanups.pending and not self._stopped():
            for thrown in isolate.cleanups.run():
                self.bridge.call("report", thrown, "error")
            isolate.run_microtasks()

    def block(self, descriptor: int, look: Callable[[], _Result | None]) -> _Result:
        """Wait for something from outside, amid running JavaScript.

        What was printed so far is emitted meanwhile.

        Args:
            descriptor: Readable when `look` has something to do.
            look: Takes in what has come; returns None if that isn't it yet.

        Raises:
            CallInterruptedError: JavaScript is to stop.
        """
        poller = select.poll()
        poller.register(descriptor, select.POLLIN)
        poller.register(self.wakeup, select.POLLIN)
        while True:
            if self.stop is not None:
                raise CallInterruptedError
            found = look()
            if found is not None:
                return found
            ready = dict(poller.poll(_TICK_MS))
            if self.wakeup in ready:
                self.drain()
            elif not ready:
                self._tick()

    # -- stopping ------------------------------------------------------------------

    def request_stop(self, stop: Stop, *, waiting: bool = False) -> None:
        """Stop JavaScript if it runs, or what waits for it; thread-safe.

        Args:
            stop: Why.
            waiting: An execution is pending, so there is something to stop even when
                no JavaScript runs.
        """
        with self._lock:
            if self._closed or not (self._running or waiting):
                return
            if stop is Stop.DEADLINE and self._isolate.memory.out_of_memory:
                stop = Stop.MEMORY  # which JavaScript hasn't come to notice yet
            self.stop = self.stop or stop
            if self._running:
                self._terminate()
            with contextlib.suppress(BlockingIOError):  # it is readable already
                os.write(self._waker, b"!")

    def _terminate(self) -> None:
        self._isolate.terminate()
        self._watchdog.give_up_after(self.settings.interrupt_grace_seconds)

    def _stopped(self) -> bool:
        """Whether this turn shall end."""
        return self.stop is not None or self._isolate.memory.out_of_memory

    def take_stop(self) -> Stop | None:
        """Return why JavaScript was stopped, once."""
        stop, self.stop = self.stop, None
        return stop

    def drain(self) -> None:
        """Make `wakeup` unreadable again."""
        with contextlib.suppress(BlockingIOError):
            os.read(self.wakeup, _DRAIN_BYTES)

    # -- output and timers -----------------------------------------------------------

    def flush(self) -> None:
        """Emit what was printed, and update when the next timer is due."""
        with contextlib.suppress(TerminatedError):  # the rest is flushed at the end
            self._timer_due_ms = self.bridge.call("flush")
            self._flushed = self._count

    def flush_once(self) -> None:
        """Flush, unless no JavaScript has run since the last time."""
        if self._flushed != self._count:
            self.flush()

    def timer_due(self) -> float | None:
        """Return when the next timer is due, on the monotonic clock; None for never."""
        self.flush_once()
        return self._timer_due_ms / 1e3 if self._timer_due_ms >= 0 else None

    def _tick(self) -> None:
        """Emit buffered output that is old enough; called amid running JavaScript."""
        # A call finds no room where recursion has filled the stack; the next tick will.
        with contextlib.suppress(TerminatedError, ScriptError):
            self.bridge.call("tick")
        if self._on_tick is not None:
            self._on_tick()

    def close(self) -> None:
        """End the watchdog, close the descriptors."""
        with self._lock:
            self._closed = True
        self._watchdog.close()
        os.close(self.wakeup)
        os.close(self._waker)
