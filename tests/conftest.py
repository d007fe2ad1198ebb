"""Fixtures of all tests: contexts to run code in, and a check that nothing leaks."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings
from tests.support import anywhere, walls
from tests.support.leaks import (
    boot_seconds,
    children,
    described,
    descriptors,
    held,
    reap_adopted,
)
from tests.support.local_contexts import LocalContext
from tests.support.waiting import wait_for

from isokernel.runtime import scripts
from isokernel.settings import ContextSettings
from isokernel.typescript.transpiler import transpiler

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


if anywhere.NUMBER:
    anywhere.replace_servers()

EXAMPLES = 30
"""Of a property, where a test names no number; `just test-all` has Hypothesis's 100."""
SLOW_SECONDS = 240
"""Seconds that a slow test may take; a race, with as many turns as usual."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let races have more turns than there is time for in every run."""
    text = "run races with so many times their usual number of turns"
    parser.addoption("--turns", type=int, default=1, metavar="TIMES", help=text)
    text = "count what was tried to leave the sandboxes, and what refused it"
    parser.addoption("--walls", action="store_true", help=text)


_COMPILE = "from isokernel.context.warmup import compile_all; compile_all()"


def pytest_sessionstart(session: pytest.Session) -> None:
    """Have V8's code of the runtime kept by now.

    Else the first fork servers make it, in a process more than tests count.
    """
    # Read in each worker: what it finds, all contexts of its process take.
    if scripts.lacks_code() and not hasattr(session.config, "workerinput"):
        subprocess.run([sys.executable, "-c", _COMPILE], check=True)


def pytest_terminal_summary(
    terminalreporter: Any, exitstatus: int, config: pytest.Config
) -> None:
    """Print the counts of `--walls`."""
    del exitstatus
    if config.getoption("walls"):
        stats = terminalreporter.stats
        reports = [*stats.get("passed", ()), *stats.get("failed", ())]
        terminalreporter.section("walls")
        for line in walls.lines(reports):
            terminalreporter.line(line)


def pytest_configure(config: pytest.Config) -> None:
    """Have fewer examples than Hypothesis has, but where races have more turns.

    And have processes that tests start notice SIGINT, also where nobody reads stdin.
    """
    settings.register_profile("usual", max_examples=EXAMPLES, deadline=None)
    settings.load_profile("usual" if config.getoption("turns") == 1 else "default")
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Set the timeouts of slow tests; a race's grows with its turns."""
    if anywhere.NUMBER:
        anywhere.keep_tests_of_apis(config, items)
    for item in items:
        turns = config.getoption("turns") if item.get_closest_marker("race") else 1
        if anywhere.NUMBER or item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.timeout(SLOW_SECONDS * turns))


@pytest.fixture(scope="session")
def times(request: pytest.FixtureRequest) -> int:
    """How often a race has its usual number of turns."""
    number: int = request.config.getoption("turns")
    return number


@pytest.fixture
def sessions() -> Iterator[Callable[..., LocalContext]]:
    """Makes sessions with settings of one's own; closes them at the end."""
    made: list[LocalContext] = []

    def make(read_input: Any = None, **settings: Any) -> LocalContext:
        made.append(LocalContext(ContextSettings(**settings), read_input))
        return made[-1]

    yield make
    for session in made:
        session.context.close()


@pytest.fixture
def context(sessions: Callable[..., LocalContext]) -> LocalContext:
    """A JavaScript context."""
    return sessions()


@pytest.fixture
def typescript(sessions: Callable[..., LocalContext]) -> LocalContext:
    """A TypeScript context."""
    return sessions(language="typescript")


@pytest.fixture(scope="session", autouse=True)
def _warm() -> None:
    """What a process makes once is made before leaks are counted."""
    # A fork server is made beside the first kernel, whichever test starts it.
    os.environ["ISOKERNEL_FORKS"] = "off"
    transpiler()


@pytest.fixture(autouse=True)
def _no_leaks(_warm: None) -> Iterator[None]:
    """A test gives back every isolate, thread, process and file descriptor."""
    if anywhere.NUMBER:  # each test runs with one server, too, where this is found
        yield
        return
    before, open_before = held(), descriptors()
    began = boot_seconds() - 0.05  # the kernel counts hundredths
    # What is left now stays: looking at all of it again costs 100 ms and more a test.
    gc.freeze()
    yield
    reap_adopted(children() - before["children"], began)
    now = held()
    assert now == before, described(now["children"] - before["children"])
    # A server in this process may be about to close a connection of another's.
    wait_for(lambda: descriptors() <= open_before, 10)
