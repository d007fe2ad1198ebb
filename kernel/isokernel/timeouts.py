"""The most that may be waited for something: `async with timeout(seconds): …`.

In place of `asyncio.wait_for`, which before Python 3.12 takes a cancellation for a
success if what is awaited ends in the same turn of the loop. A task that waits in a
loop then goes on for ever, and whoever cancelled it waits for its end: one of some
thousand servers that were stopped while webhooks were being sent didn't end.
"""

from __future__ import annotations

import sys

if sys.version_info >= (3, 11):
    from asyncio import timeout
else:
    from async_timeout import timeout

__all__ = ["timeout"]
