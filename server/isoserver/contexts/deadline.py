"""How long a context's job may take, and what is done about one that takes longer."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Final

from isoserver.contexts.jobs import Execution
from isoserver.errors import ContextDeadlineError

if TYPE_CHECKING:
    from collections.abc import Callable

    from isoserver.contexts.context import Context
    from isoserver.contexts.jobs import Job
    from isoserver.settings.server import ServerSettings

__all__ = ["Alarm", "Deadline"]

SECOND_HALF_SECONDS: Final = 5.0
"""Between reply and idle, whichever comes first: no code runs any more."""
_INTERRUPTS: Final = 5
"""How often a kernel is interrupted in its grace period."""


class Alarm:
    """Calls a function at one moment, unless it is put off or stopped before.

    Every cell sets it twice and stops it, most within a millisecond. So it keeps one
    timer of the event loop, which it leaves alone while that isn't too late: when it
    turns out to be too early, it is set anew. Two timers for each cell were made,
    sorted in with 14 comparisons, cancelled and swept up again.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._due: float | None = None
        self._call: Callable[[], None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def set(self, seconds: float, call: Callable[[], None]) -> None:
        """Have a function called after so many seconds, instead of any set before."""
        due = self._loop.time() + seconds
        self._due, self._call = due, call
        if self._timer is not None:
            if self._timer.when() <= due:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(due, self._ring)

    def stop(self) -> None:
        """Have nothing called."""
        self._due = self._call = None

    def close(self) -> None:
        """Have nothing called, and keep no timer: nothing more is to come soon."""
        self.stop()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ring(self) -> None:
        self._timer = None
        due, call = self._due, self._call
        if due is None or call is None:
            return
        if due > self._loop.time():
            self._timer = self._loop.call_at(due, self._ring)
            return
        self.stop()
        call()


class Deadline:
    """The deadline of what one context does: interrupts it, and then insists.

    Code may swallow an interrupt, as `except:` in a loop does, and would lose its
    context's state for that. So kernels are interrupted several times.
    """

    def __init__(self, context: Context, settings: ServerSettings) -> None:
        """Wait for nothing.

        Args:
            context: Whose current job; its `give_up` is called when nothing helps.
            settings: The server's settings.
        """
        self._context = context
        self._grace_seconds = settings.interrupt_grace_seconds
        self._alarm = Alarm()

    def begin(self, job: Job) -> None:
        """Have a job interrupted in its time, which begins now."""
        self._alarm.set(self._patience(job), self._overdue)

    def wait_for_end(self) -> None:
        """Give up if a job's reply has come, and its idle doesn't, or the reverse."""
        self._alarm.set(SECOND_HALF_SECONDS, self._context.give_up)

    def stop(self) -> None:
        """Wait for nothing: the job is over, or its clock stands still."""
        self._alarm.stop()

    def close(self) -> None:
        """Wait for nothing, and keep no timer: no job is to come soon."""
        self._alarm.close()

    def interrupt(self, job: Job) -> None:
        """Interrupt a job, again while it goes on; its deadline stays."""
        self._interrupt(job, self._interrupts)

    def _interrupt(self, job: Job, times: int) -> None:
        if job is not self._context.current:
            return
        self._context.process.interrupt(job)
        if times > 1:
            pause = self._grace_seconds / _INTERRUPTS
            again = partial(self._interrupt, job, times - 1)
            asyncio.get_running_loop().call_later(pause, again)

    @property
    def _interrupts(self) -> int:
        return _INTERRUPTS if self._context.process.restarts_when_stuck else 1

    def _patience(self, job: Job) -> float:
        """Return after how many seconds a job that has begun is interrupted."""
        if self._context.process.enforces_deadline and isinstance(job, Execution):
            return job.seconds + self._grace_seconds + 1
        return job.seconds

    def _overdue(self) -> None:
        job = self._context.current
        if job is None:
            return
        job.overdue = True
        if not isinstance(job, Execution):
            job.refuse(ContextDeadlineError(job.seconds))
        self._insist(self._interrupts)

    def _insist(self, times: int) -> None:
        """Interrupt what runs, and again, until the grace period is over."""
        job = self._context.current
        if job is None:
            return
        self._context.process.interrupt(job)
        pause = self._grace_seconds / self._interrupts
        if times > 1:
            self._alarm.set(pause, partial(self._insist, times - 1))
        else:
            self._alarm.set(pause, self._context.give_up)
