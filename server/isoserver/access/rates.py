"""Rate limits: token buckets, one for each workspace or address.

Where several servers share a database, a workspace has one bucket for all of them.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, defaultdict
from importlib import import_module
from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy import Column, Double, String, Table, func, select, update

from isoserver.errors import RateLimitError
from isoserver.storage.database import SHARED

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Literal

    from isoserver.principal import Principal
    from isoserver.settings.access import AccessSettings
    from isoserver.storage.database import Database

    Kind = Literal["execute", "request"]

__all__ = ["BUCKETS", "Buckets", "RateLimits", "SharedBuckets"]

BUCKETS: Final = Table(
    "rate_buckets",
    SHARED,
    # What was left in a bucket at a time of the database's.
    Column("workspace", String, primary_key=True),
    Column("kind", String, primary_key=True),
    Column("remaining", Double, nullable=False),
    Column("at", Double, nullable=False),
)

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


class SharedBuckets:
    """The buckets of all servers on a database. In the event loop only.

    A server takes as many tokens at once as the rate has in a second, and so asks the
    database once a second at most for each bucket that it uses: all servers together
    never let more pass than one would, and a little less when some get few requests.
    """

    def __init__(self, database: Database, kind: str) -> None:
        """Hold no tokens.

        Args:
            database: The servers', which is PostgreSQL.
            kind: What is counted.
        """
        self._database = database
        self._kind = kind
        self._held: defaultdict[str, int] = defaultdict(int)
        self._asking: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        dialect = import_module(f"sqlalchemy.dialects.{database.engine.dialect.name}")
        self._insert = dialect.insert(BUCKETS).on_conflict_do_nothing()

    async def take(self, workspace: str, rate: float) -> float:
        """Take one token out of a workspace's bucket, if there is one in it.

        Args:
            workspace: Whose bucket.
            rate: Tokens a minute.

        Returns:
            Seconds until there is one; 0 if it was taken.

        Raises:
            DatabaseError: The database can't be used.
        """
        if not self._held[workspace]:
            async with self._asking[workspace]:
                if not self._held[workspace]:
                    got, seconds = await self._fetch(workspace, rate)
                    if not got:
                        return seconds
                    self._held[workspace] += got
        self._held[workspace] -= 1
        return 0.0

    async def _fetch(self, workspace: str, rate: float) -> tuple[int, float]:
        """Take some tokens; return how many, and the seconds until there is one."""
        depth = max(1.0, rate)
        now = func.extract("epoch", func.clock_timestamp())
        key = {"workspace": workspace, "kind": self._kind}
        mine = BUCKETS.c.workspace == workspace, BUCKETS.c.kind == self._kind
        columns = BUCKETS.c.remaining, BUCKETS.c.at, now
        async with self._database.begin() as connection:
            row = {**key, "remaining": depth, "at": now}
            await connection.execute(self._insert.values(row))
            query = select(*columns).where(*mine).with_for_update()
            remaining, at, time_now = (await connection.execute(query)).one()
            # PostgreSQL may have looked at its clock before it waited for the row.
            passed = max(0.0, float(time_now) - at)
            left = min(depth, remaining + passed * rate / _MINUTE)
            taken = min(int(left), max(1, int(rate / _MINUTE)))
            if taken:
                values = {"remaining": left - taken, "at": at + passed}
                await connection.execute(update(BUCKETS).where(*mine).values(values))
        return taken, max(0.0, 1 - left) * _MINUTE / rate


class RateLimits:
    """How often a workspace may do something; used from the event loop only.

    Attributes:
        limited: What is limited at all. Most servers don't limit requests: then each
            costs one look-up here.
    """

    def __init__(
        self,
        settings: AccessSettings,
        refused: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
        shared: Database | None = None,
    ) -> None:
        """Read the limits.

        Args:
            settings: The limits, by workspace.
            refused: Called with the reason for each refusal.
            clock: Returns the time in seconds.
            shared: The database of several servers, which the limits are for together.
        """
        self._settings = settings
        self._refused = refused
        self._buckets = {kind: Buckets(clock) for kind in _WHAT}
        self._shared: dict[str, SharedBuckets] = {}
        if shared is not None:
            self._shared = {kind: SharedBuckets(shared, kind) for kind in _WHAT}
        self.limited = {
            kind
            for kind in _WHAT
            if getattr(settings, f"{kind}_rate_per_minute")
            or any(
                getattr(each, f"{kind}_rate_per_minute") for each in settings.workspaces
            )
        }

    @property
    def shared(self) -> bool:
        """Whether the limits are for several servers together: then `take`."""
        return bool(self._shared)

    def check(self, principal: Principal, kind: Kind) -> None:
        """Count a request of a workspace, and refuse it if it is one too many.

        Of a server that shares its limits with no other.

        Args:
            principal: Who makes the request.
            kind: `execute` (the tool and POST /tasks) or `request` (everything).

        Raises:
            RateLimitError: The workspace has made as many as it may, for now.
        """
        rate = self._rate(principal, kind)
        if rate:
            self._judge(kind, self._buckets[kind].take(principal.workspace, rate))

    async def take(self, principal: Principal, kind: Kind) -> None:
        """Count a request like `check`, on one server or several.

        Raises:
            RateLimitError: The workspace has made as many as it may, for now.
            DatabaseError: The servers' common count can't be read.
        """
        if not self._shared:
            self.check(principal, kind)
            return
        rate = self._rate(principal, kind)
        if rate:
            self._judge(kind, await self._shared[kind].take(principal.workspace, rate))

    def _rate(self, principal: Principal, kind: Kind) -> float:
        if kind not in self.limited:
            return 0.0
        return self._settings.rate_of(principal.workspace, kind)

    def _judge(self, kind: Kind, seconds: float) -> None:
        if seconds:
            self._refused(f"{kind}_rate")
            raise RateLimitError(_WHAT[kind], seconds)
