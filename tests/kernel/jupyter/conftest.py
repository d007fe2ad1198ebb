"""Real kernels, driven by jupyter_client, and a check of every message they send."""

from __future__ import annotations

import contextlib
from queue import Empty
from typing import TYPE_CHECKING

import psutil
import pytest
from tests.support.kernels import Kernel, start_kernel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def _no_leaks() -> Iterator[None]:
    """A test ends the kernels that it started.

    What the test's own process holds is jupyter_client's business: it keeps an event
    loop and opens sockets when it needs them.
    """
    before = {child.pid for child in psutil.Process().children()}
    yield
    assert {child.pid for child in psutil.Process().children()} <= before


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Kernel]]:
    """Start kernels of one's own; they end with the test."""
    with contextlib.ExitStack() as stack:

        def start_one(name: str = "v8-javascript", history: str = "off") -> Kernel:
            driver = start_kernel(name, tmp_path, history)
            stack.callback(driver.close)
            return driver

        yield start_one


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    """A JavaScript kernel that the tests of a module share."""
    driver = start_kernel("v8-javascript", tmp_path_factory.mktemp("kernel"), "off")
    yield driver
    driver.close()


@pytest.fixture
def kernel(shared: Kernel) -> Kernel:
    """The shared kernel, with nothing on its way."""
    with contextlib.suppress(Empty):
        while True:
            shared.heard(timeout=0.02)
    shared.kept.clear()
    return shared
