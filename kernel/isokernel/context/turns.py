"""Turns: the times when JavaScript runs, and how it is stopped from outside."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from typing import TYPE_CHECKING, Final

from isokernel.context.execution import Stop
from isokernel.context.watchdog import NoWatchdog, Watchdog
from isokernel.errors import TerminatedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from isokernel.settings import ContextSettings
    from isokernel.v8.isolate import Isolate

_DRAIN: Final = 4096


class Turns:
    """Who runs when. Belongs to the V8 thread, but for `request_stop`.

    Attributes:
        stop: Why JavaScript was stopped, until somebody has taken note of it.
        wakeup: A file descriptor that becomes readable when a stop was requested.
        memory_message: What ran out, when `stop` is MEMORY.
        ran: Seconds that JavaScript has run, in turns that are over.
        count: How many turns there were: what was asked of JavaScript since the last
            one still holds.
    """

    def __init__(
        self,
        isolate: Isolate,
        settings: ContextSettings,
        flush: Callable[[], None],
        on_stuck: Callable[[], None],
    ) -> None:
        """Prepare.

        Args:
            isolate: Whose JavaScript runs.
            settings: For the bounds.
            flush: Hands out what was printed; called amid running JavaScript.
            on_stuck: V8 didn't stop in time; called on the watchdog's thread.
        """
        self._isolate = isolate
        self._flush = flush
        self._on_stuck = on_stuck
        self.count = 0
        self._prepare(settings)

    def _prepare(self, settings: ContextSettings) -> None:
        """Make what belongs to one process and one user of the context."""
        self._settings = settings
        self._lock = threading.Lock()
        self._running = False
        self._closed = False
        self._entered = 0.0
        self.ran = 0.0
        self.stop: Stop | None = None
        self.memory_message = ""
        self.wakeup, self._waker = os.pipe()
        os.set_blocking(self.wakeup, False)
        os.set_blocking(self._waker, False)
        self._watchdog = Watchdog(
            tick=lambda: self._isolate.request(self._flush),
            expire=lambda: self.request_stop(Stop.DEADLINE),
            stuck=self._on_stuck,
        )

    def after_fork(
        self,
        settings: ContextSettings,
        flush: Callable[[], None],
        on_stuck: Callable[[], None],
    ) -> None:
        """Part from the process that this one was forked from, in the child.

        The pipe is shared with the parent and its other children, the watchdog's
        thread stayed behind. Arguments as the constructor's.
        """
        if not self._closed:
            os.close(self.wakeup)
            os.close(self._waker)
        self._flush = flush
        self._on_stuck = on_stuck
        self._prepare(settings)

    def go_unwatched(self) -> None:
        """Do without the watchdog: whoever has forked this process watches it."""
        nothing = _nothing
        self._watchdog = NoWatchdog(tick=nothing, expire=nothing, stuck=nothing)

    def turn(self, deadline: float | None = None) -> Turn:
        """JavaScript runs inside; it can be stopped, and afterwards it may again."""
        return Turn(self, deadline)

    def enter(self, deadline: float | None) -> None:
        """A turn begins."""
        self._entered = time.monotonic()
        self.count += 1
        self._watchdog.enter(deadline)
        with self._lock:
            self._running = True
            if self.stop is not None:  # it came between two turns
                self._terminate()

    def _terminate(self) -> None:
        self._isolate.terminate()
        self._watchdog.give_up_after(self._settings.interrupt_grace_seconds)

    def leave(self) -> None:
        """A turn ends; whatever stopped it, JavaScript may run again."""
        self._watchdog.leave()
        self.ran += time.monotonic() - self._entered
        with self._lock:
            self._running = False
        self._isolate.resume()
        memory = self._isolate.memory
        if memory.out_of_memory is not None:
            bound = self._settings.v8_heap_bytes_max or memory.initial_limit_bytes
            self.memory_message = (
                f"the heap of the context is full ({bound >> 20} MiB); "
                "what the cell did until then is kept"
            )
            self.stop = self.stop or Stop.MEMORY
            memory.reset()

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
            self.stop = self.stop or stop
            if self._running:
                self._terminate()
            with contextlib.suppress(BlockingIOError):  # it is readable already
                os.write(self._waker, b"!")

    @property
    def stopped(self) -> bool:
        """Whether this turn shall end, or the next one not begin."""
        full = self._isolate.memory.out_of_memory is not None
        return self.stop is not None or full

    def take_stop(self) -> Stop | None:
        """Why JavaScript was stopped; asks only once."""
        stop, self.stop = self.stop, None
        return stop

    def drain(self) -> None:
        """Make `wakeup` unreadable again."""
        with contextlib.suppress(BlockingIOError):
            os.read(self.wakeup, _DRAIN)

    def close(self) -> None:
        """End the watchdog, close the descriptors."""
        with self._lock:
            self._closed = True
        self._watchdog.close()
        os.close(self.wakeup)
        os.close(self._waker)


def _nothing() -> None:
    """Do nothing."""


class Turn:
    """One turn, a context manager; a termination inside ends it quietly."""

    __slots__ = ("_deadline", "_turns")

    def __init__(self, turns: Turns, deadline: float | None) -> None:
        """Prepare a turn with a deadline on the monotonic clock."""
        self._turns = turns
        self._deadline = deadline

    def __enter__(self) -> None:
        """Begin."""
        self._turns.enter(self._deadline)

    def __exit__(
        self, kind: type[BaseException] | None, error: object, traceback: object
    ) -> bool:
        """End; `Turns.stop` says whether and why JavaScript was terminated."""
        self._turns.leave()
        return kind is TerminatedError
