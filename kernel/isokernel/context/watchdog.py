"""The second thread of a context: keeps output flowing, keeps deadlines.

While JavaScript runs without pause it asks V8, every 50 ms and for the first time
within 0.25 s, to let the context flush what was printed; when the execution's deadline
passes it has it stopped; and when V8 doesn't stop within the grace period it tells the
front, which can only end the process.
"""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

_PERIOD_SECONDS: Final = 0.05
_PERIOD_MAX_SECONDS: Final = 0.2
"""Between looks that find no JavaScript: 64 contexts that take turns spend as much on
those, at 50 ms, as a tenth of their cells takes."""
_IDLE_SECONDS: Final = 0.5
"""Without JavaScript, after which the thread waits to be woken."""


class Watchdog:
    """Watches one context. `enter`, `leave` and `close` belong to the V8 thread."""

    def __init__(
        self,
        *,
        tick: Callable[[], None],
        expire: Callable[[], None],
        stuck: Callable[[], None],
    ) -> None:
        """Set the callbacks; the thread starts with the first `enter`.

        Args:
            tick: Called every 50 ms while JavaScript runs; on the watchdog's thread.
            expire: The deadline has passed; on the watchdog's thread.
            stuck: V8 didn't stop in time; on the watchdog's thread.
        """
        self._tick, self._expire, self._stuck = tick, expire, stuck
        self._thread: threading.Thread | None = None
        self._acting = threading.Lock()
        # Released to wake the thread; an Event costs more.
        self._bell = threading.Lock()
        self._bell.acquire()
        self._asleep = False
        self._closed = False
        self._entered = 0.0  # when JavaScript was entered; 0 when it doesn't run
        self._deadline = 0.0
        self._kill_at = 0.0

    def enter(self, deadline: float | None) -> None:
        """Watch JavaScript that starts now; `deadline` is on the monotonic clock."""
        if self._closed:
            return
        self._deadline = deadline or 0.0
        self._kill_at = 0.0
        now = self._entered = time.monotonic()
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._run, name="isokernel-watchdog", daemon=True
            )
            self._thread.start()
        elif self._asleep or (deadline and deadline - now < _PERIOD_MAX_SECONDS):
            self._ring()

    def watch(self, deadline: float | None) -> None:
        """Change the deadline of the JavaScript that runs now, if any does."""
        if self._entered:
            self._deadline = deadline or 0.0

    def leave(self) -> None:
        """Note that JavaScript has ended."""
        self._entered = 0.0

    def held(self) -> AbstractContextManager[object]:
        """Keep the thread out of V8, while JavaScript doesn't run, to fork."""
        return self._acting

    def give_up_after(self, grace_seconds: float) -> None:
        """Call `stuck` if JavaScript runs on for so many seconds. Any thread."""
        if not self._kill_at:
            self._kill_at = time.monotonic() + grace_seconds

    def close(self) -> None:
        """End the thread; nothing is watched any more."""
        self._closed = True
        self._ring()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _ring(self) -> None:
        with contextlib.suppress(RuntimeError):  # it has been rung already
            self._bell.release()

    def _run(self) -> None:
        busy, period = time.monotonic(), _PERIOD_SECONDS
        while not self._closed:
            self._bell.acquire(timeout=period)
            now = time.monotonic()
            if self._entered:
                busy, period = now, _PERIOD_SECONDS
                with self._acting:
                    if self._entered:
                        self._look(now)
            elif now - busy > _IDLE_SECONDS:
                self._sleep()
                busy, period = time.monotonic(), _PERIOD_SECONDS
            else:
                period = min(2 * period, _PERIOD_MAX_SECONDS)

    def _look(self, now: float) -> None:
        if self._kill_at and now >= self._kill_at:
            self._kill_at = 0.0
            self._stuck()
        elif self._deadline and now >= self._deadline:
            self._deadline = 0.0
            self._expire()
        elif now - self._entered >= _PERIOD_SECONDS:
            self._tick()

    def _sleep(self) -> None:
        self._asleep = True
        if not self._entered and not self._closed:
            self._bell.acquire()
        self._asleep = False
