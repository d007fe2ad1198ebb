"""Waiting for what a process or a server comes to."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable


T = TypeVar("T")

DEADLINE = 30.0
"""Seconds that anything here may take at most."""
POLL_SECONDS = 0.005
"""Between two looks at what can only be looked at; others compute meanwhile."""


def wait_for(ask: Callable[[], T | None], seconds: float = DEADLINE) -> T:
    """Ask until the answer is true and return that answer."""
    end = time.monotonic() + seconds
    while not (answer := ask()):
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(POLL_SECONDS)
    return answer
