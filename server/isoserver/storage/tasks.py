"""The end of tasks that ask a database, or whatever else may fail instead.

SQLAlchemy makes an ordinary failure of a cancellation that comes while a session is
tried (`pool_pre_ping`) or given back, if that fails as well. A task that goes on after
failures would go on for ever, and whoever waits for its end would wait for ever.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

__all__ = ["end_tasks"]

_AGAIN_SECONDS: Final = 3.0
"""A session has 2 s to close, which isn't to be cut short."""


async def end_tasks(*tasks: asyncio.Future[Any] | None) -> None:
    """Cancel tasks, as often as that takes, and return once they have ended."""
    left = {task for task in tasks if task is not None and not task.done()}
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=_AGAIN_SECONDS)
