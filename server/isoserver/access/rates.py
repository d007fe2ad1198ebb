"""Rate limits: token buckets, one for each workspace or address."""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Final, NamedTuple

from isoserver.errors import RateLimitError

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Literal

    from isoserver.principal import Principal
    from isoserver.settings.access import AccessSettings

    Kind = Literal["execute", "request"]

__all__ = ["Buckets", "RateLimits"]

BUCKETS_MAX: Final = 10_000
"""Buckets of one kind that are kept; the oldest is dropped, and is full again."""
_MINUTE: Final = 60.0
_WHAT: Final = {"execute": "executions", "request": "requests"}


class _Bucket(NamedTuple):
    """What was left in a bucket at a time."""

    left: float
    time: float


class Buckets:
    """Buckets with names: full at first, refilled evenly, a minute's worth deep."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Start without any.

        Args:
            clock: Returns the time in seconds.
        """
        self._clock = clock
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def __len__(self) -> int:
        """Return how many buckets are kept."""
        return len(self._buckets)

    def take(self, name: str, rate: float) -> float:
        """Take one token out of a bucket, if there is one in it.

        Args:
            name: Whose bucket.
            rate: Tokens a minute.

        Returns:
            Seconds until there is one; 0 if it was taken.
        """
        now = self._clock()
        left = self._left(name, rate, now)
        if left < 1:
            return (1 - left) * _MINUTE / rate
        self._buckets[name] = _Bucket(left - 1, now)
        self._buckets.move_to_end(name)
        if len(self._buckets) > BUCKETS_MAX:
            self._buckets.popitem(last=False)
        return 0.0

    def wait(self, name: str, rate: float) -> float:
        """Return the seconds until a bucket has a token, and take none."""
        left = self._left(name, rate, self._clock())
        return max(0.0, 1 - left) * _MINUTE / rate

    def _left(self, name: str, rate: float, now: float) -> float:
        depth = max(1.0, rate)
        bucket = self._buckets.get(name)
        if bucket is None:
            return depth
        return min(depth, bucket.left + (now - bucket.time) * rate / _MINUTE)


class RateLimits:
    """How often a workspace may do something; used from the event loop only."""

    def __init__(
        self,
        settings: AccessSettings,
        refused: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Read the limits.

        Args:
            settings: The limits, by workspace.
            refused: Called with the reason for each refusal.
            clock: Returns the time in seconds.
        """
        self._settings = settings
        self._refused = refused
        self._buckets = {kind: Buckets(clock) for kind in _WHAT}
        # Most servers don't limit requests: then each costs one look-up here.
        self._limited = {
            kind
            for kind in _WHAT
            if getattr(settings, f"{kind}_rate_per_minute")
            or any(
                getattr(each, f"{kind}_rate_per_minute") for each in settings.workspaces
            )
        }

    def check(self, principal: Principal, kind: Kind) -> None:
        """Count a request of a workspace, and refuse it if it is one too many.

        Args:
            principal: Who makes the request.
            kind: `execute` (the tool and POST /tasks) or `request` (everything).

        Raises:
            RateLimitError: The workspace has made as many as it may, for now.
        """
        if kind not in self._limited:
            return
        rate = self._settings.rate_of(principal.workspace, kind)
        if not rate:
            return
        seconds = self._buckets[kind].take(principal.workspace, rate)
        if seconds:
            self._refused(f"{kind}_rate")
            raise RateLimitError(_WHAT[kind], seconds)
