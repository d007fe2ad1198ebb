"""Fixtures of all tests: contexts to run code in, and a check that nothing leaks."""

from __future__ import annotations

import contextlib
import gc
import itertools
import os
import select
import signal
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from isokernel.context.context import Context
from isokernel.context.events import (
    ErrorInfo,
    Event,
    ExecuteResult,
    ExecutionDone,
    ExecutionError,
    Stream,
)
from isokernel.settings import ContextSettings
from isokernel.typescript.transpiler import transpiler
from isokernel.v8.callbacks import ISOLATES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from isokernel.context.events import MimeBundle

RACE_SECONDS = 120
"""Seconds that a race may take, with as many turns as usual."""
DEADLINE = 20.0
"""Seconds after which a test gives up waiting; nothing here takes as long."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let races have more turns than there is time for in every run."""
    text = "run races with so many times their usual number of turns"
    parser.addoption("--turns", type=int, default=1, metavar="TIMES", help=text)


def pytest_configure() -> None:
    """Have processes that tests start notice SIGINT, also where nobody reads stdin."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Give races the time that their turns take."""
    seconds = RACE_SECONDS * config.getoption("turns")
    for item in items:
        if item.get_closest_marker("race"):
            item.add_marker(pytest.mark.timeout(seconds))


@pytest.fixture(scope="session")
def times(request: pytest.FixtureRequest) -> int:
    """How often a race has its usual number of turns."""
    number: int = request.config.getoption("turns")
    return number


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


class Session:
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


@pytest.fixture
def sessions() -> Iterator[Callable[..., Session]]:
    """Makes sessions with settings of one's own; closes them at the end."""
    made: list[Session] = []

    def make(read_input: Any = None, **settings: Any) -> Session:
        made.append(Session(ContextSettings(**settings), read_input))
        return made[-1]

    yield make
    for session in made:
        session.context.close()


@pytest.fixture
def context(sessions: Callable[..., Session]) -> Session:
    """A JavaScript context."""
    return sessions()


@pytest.fixture
def typescript(sessions: Callable[..., Session]) -> Session:
    """A TypeScript context."""
    return sessions(language="typescript")


@pytest.fixture(scope="session", autouse=True)
def _warm() -> None:
    """What a process makes once is made before leaks are counted."""
    # A fork server is made beside the first kernel, whichever test starts it.
    os.environ["ISOKERNEL_FORKS"] = "off"
    transpiler()


def _children() -> set[int]:
    # psutil looks at every process of the machine for this: 5 ms and more.
    found: set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):  # a thread may end meanwhile
            found.update(map(int, (task / "children").read_text().split()))
    return found


def _held() -> dict[str, Any]:
    gc.collect()
    return {
        "isolates": sorted(ISOLATES),
        "threads": {t for t in threading.enumerate() if t.name.startswith("isok")},
        "children": _children(),
        "descriptors": len(os.listdir("/proc/self/fd")),  # noqa: PTH208 -- 20 us
    }


@pytest.fixture(autouse=True)
def _no_leaks(_warm: None) -> Iterator[None]:
    """A test gives back every isolate, thread, process and file descriptor."""
    before = _held()
    # What is left now stays: looking at all of it again costs 100 ms and more a test.
    gc.freeze()
    yield
    assert _held() == before
