"""Rate limits: token buckets, one for each workspace or address.

Where several servers share a database, each has one bucket for all of them.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, OrderedDict, defaultdict
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import Column, Double, String, Table, func, select, text, update

from isoserver.errors import DatabaseError, RateLimitError
from isoserver.storage.database import SHARED
from isoserver.storage.tasks import end_tasks

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Literal

    from isoserver.principal import Principal
    from isoserver.settings.access import AccessSettings
    from isoserver.storage.database import Database

    Kind = Literal["execute", "request"]

__all__ = ["BUCKETS", "Buckets", "RateLimits", "SharedBuckets", "SharedFailures"]

BUCKETS: Final = Table(
    "rate_buckets",
    SHARED,
    # What was left in a bucket at a time of the database's. It is a workspace's, or of
    # the kind `failure` an address's.
    Column("workspace", String, primary_key=True),
    Column("kind", String, primary_key=True),
    Column("remaining", Double, nullable=False),
    Column("at", Double, nullable=False),
)

BUCKETS_MAX: Final = 10_000
"""Buckets of one kind that are kept; the oldest is dropped, and is full again."""
_MINUTE: Final = 60.0
_FAILURES: Final = "failure"
_TOLD_MAX: Final = 1000
"""Buckets that are told of at once: those of which most was taken."""
_ROUNDS: Final = 60
"""After which what is full again is dropped from the database."""
_TAKE: Final = text(
    """
    INSERT INTO rate_buckets AS mine (workspace, kind, remaining, at)
    SELECT name, :kind, :depth - taken, extract(epoch FROM clock_timestamp())
    FROM unnest(CAST(:names AS text[]), CAST(:counts AS integer[])) AS told(name, taken)
    ON CONFLICT (workspace, kind) DO UPDATE SET
        remaining = excluded.remaining - :depth
            + least(:depth, mine.remaining
                + greatest(0, excluded.at - mine.at) * :rate),
        at = greatest(mine.at, excluded.at)
    RETURNING workspace, remaining
    """
)
_DROP_FULL: Final = text(
    """
    DELETE FROM rate_buckets WHERE (workspace, kind) IN (
        SELECT workspace, kind FROM rate_buckets
        WHERE kind = :kind AND remaining
            + (extract(epoch FROM clock_timestamp()) - at) * :rate >= :depth
        ORDER BY workspace FOR UPDATE SKIP LOCKED
    )
    """
)
"""Of the addresses that nothing wrong has come from for long."""
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

    def put(self, name: str, left: float, rate: float) -> None:
        """Note that no more than so much is left in a bucket; less than 0 is a debt."""
        if name in self._buckets:
            now = self._clock()
            left = min(left, self._left(name, rate, now))
            self._buckets[name] = _Bucket(left, now)

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
        self._insert = database.insert(BUCKETS).on_conflict_do_nothing()

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


class SharedFailures:
    """Buckets for what each server counts by itself and all count together.

    Like `Buckets`, whose methods it has, but what was taken is told to the database, a
    second's at a time, which answers what is left of it on all servers. So who is let
    in costs nothing, and who isn't costs the database a statement a second, however
    often, and from however many addresses, somebody tries. What comes to several
    servers before each has heard of the others is a debt that is waited for later.
    """

    def __init__(
        self,
        database: Database,
        clock: Callable[[], float] = time.monotonic,
        pause: float = 1.0,
    ) -> None:
        """Begin with full buckets.

        Args:
            database: The servers', which is PostgreSQL.
            clock: Returns the time in seconds.
            pause: Seconds between two statements.
        """
        self._database = database
        self._pause = pause
        self._own = Buckets(clock)
        self._taken: Counter[str] = Counter()
        self._rate = 0.0
        self._telling: asyncio.Task[None] | None = None

    def take(self, name: str, rate: float) -> float:
        """Take one token out of a bucket; see `Buckets`."""
        seconds = self._own.take(name, rate)
        if not seconds:
            self._rate = rate
            self._taken[name] += 1
            if self._telling is None:
                self._telling = asyncio.ensure_future(self._tell())
        return seconds

    def wait(self, name: str, rate: float) -> float:
        """Return the seconds until a bucket has a token here, and take none."""
        return self._own.wait(name, rate)

    async def close(self) -> None:
        """Tell nothing more."""
        await end_tasks(self._telling)

    async def _tell(self) -> None:
        """Tell the database what was taken, until nothing more is."""
        try:
            for number in count():
                if not self._taken:
                    return
                told = dict(self._taken.most_common(_TOLD_MAX))
                self._taken.clear()
                # Else each server has its own count until it can be reached again.
                with suppress(DatabaseError):
                    if not number % _ROUNDS:
                        await self._drop_full()
                    for name, left in await self._exchange(told):
                        self._own.put(name, left, self._rate)
                await asyncio.sleep(self._pause)
        finally:
            self._telling = None

    async def _exchange(self, told: dict[str, int]) -> list[tuple[str, float]]:
        names = sorted(told)  # so that no two servers wait for each other's rows
        values = {"names": names, "counts": [told[name] for name in names]}
        async with self._database.begin() as connection:
            rows = await connection.execute(_TAKE, {**values, **self._of()})
            return [(row[0], float(row[1])) for row in rows]

    async def _drop_full(self) -> None:
        async with self._database.begin() as connection:
            await connection.execute(_DROP_FULL, self._of())

    def _of(self) -> dict[str, Any]:
        depth, rate = max(1.0, self._rate), self._rate / _MINUTE
        return {"kind": _FAILURES, "depth": depth, "rate": rate}


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
