"""Waiting for what a process or a server comes to."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
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


def stop_process(pid: int) -> None:
    """Stop a process; each of its threads may go on for a moment after the signal."""
    os.kill(pid, signal.SIGSTOP)
    threads = Path(f"/proc/{pid}/task")
    wait_for(lambda: all(_is_stopped(thread) for thread in threads.iterdir()))


def _is_stopped(thread: Path) -> bool:
    stat = (thread / "stat").read_text()
    return stat.rpartition(")")[2].split()[0] == "T"
