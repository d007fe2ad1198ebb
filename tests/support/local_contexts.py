"""A context in the test's own process, with the loop that a front has around it."""

from __future__ import annotations

import itertools
import select
import time
from typing import TYPE_CHECKING, Any

from tests.support.waiting import DEADLINE

from isokernel.context import Context
from isokernel.context.events import (
    ErrorInfo,
    Event,
    ExecuteResult,
    ExecutionDone,
    ExecutionError,
    Stream,
)
from isokernel.settings import ContextSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    from isokernel.context.events import MimeBundle


class Outcome:
    """What one cell did: its events, and the usual things picked out of them."""

    def __init__(self, execution_id: int, events: list[Event]) -> None:
        self.execution_id = execution_id
        self.events = events

    def _text(self, name: str) -> str:
        return "".join(
            e.text for e in self.events if isinstance(e, Stream) and e.name == name
        )

    @property
    def stdout(self) -> str:
        return self._text("stdout")

    @property
    def stderr(self) -> str:
        return self._text("stderr")

    @property
    def result(self) -> MimeBundle | None:
        for event in self.events:
            if isinstance(event, ExecuteResult):
                return event.data
        return None

    @property
    def text(self) -> Any:
        """The result's text/plain."""
        return None if self.result is None else self.result["text/plain"]

    @property
    def error(self) -> ErrorInfo | None:
        for event in self.events:
            if isinstance(event, ExecutionError):
                return event.error
        return None

    @property
    def failure(self) -> ErrorInfo:
        """The error of a cell that must have failed."""
        assert self.error is not None, self.events
        return self.error


class LocalContext:
    """A context with the loop that a front would have around it."""

    def __init__(
        self,
        settings: ContextSettings | None = None,
        read_input: Callable[[str, bool], str] | None = None,
        **options: Any,
    ) -> None:
        self.events: list[Event] = []
        self.context = Context(
            settings or ContextSettings(),
            self.events.append,
            read_input=read_input,
            **options,
        )
        self._ids = itertools.count(1)

    def run(self, code: str, **options: Any) -> Outcome:
        """Run a cell to its end."""
        execution_id = next(self._ids)
        del self.events[:]
        self.context.begin(code, execution_id=execution_id, **options)
        self.wait(lambda: not self.context.busy)
        outcome = Outcome(execution_id, list(self.events))
        assert isinstance(outcome.events[-1], ExecutionDone)
        return outcome

    def value(self, code: str) -> Any:
        """The text of a cell's result; the cell must not fail."""
        outcome = self.run(code)
        assert outcome.error is None, outcome.error
        return outcome.text

    def wait(self, until: Callable[[], bool], seconds: float = DEADLINE) -> None:
        """Step the context until something is so."""
        end = time.monotonic() + seconds
        while not until():
            left = end - time.monotonic()
            assert left > 0, "it did not happen in time"
            wait = self.context.wait_time()
            wait = left if wait is None else min(wait, left)
            select.select([self.context.wakeup], [], [], wait)
            self.context.step()

    def idle(self) -> list[Event]:
        """Step until no timer is left; the events since."""
        del self.events[:]
        self.wait(lambda: self.context.wait_time() is None)
        return list(self.events)
