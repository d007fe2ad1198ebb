"""The audit: everything that was asked, decided and called, but no results.

A call has an entry before it is made, so that one which the server did not outlive is
there as well, with the outcome `running`. Entries of calls that run at the same time
share a transaction.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import bindparam, delete, func, insert, select, update

from isoserver.errors import ApprovalDeniedError, ToolError
from isoserver.tools.redaction import clean
from isoserver.tools.tables import APPROVALS, AUDIT

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from isoserver.database import Database

__all__ = ["Audit", "Ending", "Entry", "Filter"]

_PRUNE_SECONDS: Final = 3600.0
_TEXT_MAX: Final = 2000
_PATH_MAX: Final = 512


class Entry(NamedTuple):
    """One entry.

    Attributes:
        workspace: The workspace.
        kind: `call`; or what an administrator or a reviewer did: `approval.decided`,
            `source.added`, `source.deleted`, `policy.added`, `policy.deleted`.
        client: Who.
        path: The tool, or the name of the thing.
        session: The context that persists, if there is one.
        task_id: The task, if there is one.
        call_id: The call within it.
        input: The input as text, redacted and cut.
        decision: What the policy said, or the reviewer.
        rule: The rule that said so.
        approval_id: The approval.
        reason: The reviewer's.
        outcome: running, completed, failed, denied or cancelled.
        code: The error's code.
        ms: How long the call took, without the wait for an approval.
    """

    workspace: str
    kind: str
    client: str
    path: str
    session: str | None = None
    task_id: str | None = None
    call_id: str | None = None
    input: str = ""
    decision: str = ""
    rule: str = ""
    approval_id: str | None = None
    reason: str = ""
    outcome: str = "completed"
    code: str | None = None
    ms: int | None = None


class Filter(NamedTuple):
    """Which entries are asked for; None fits every one."""

    task_id: str | None = None
    path: str | None = None
    kind: str | None = None
    outcome: str | None = None


class Audit:
    """The audit of all workspaces; used from the event loop only."""

    def __init__(
        self, database: Database, log: FilteringBoundLogger, retention: float
    ) -> None:
        """Prepare.

        Args:
            database: Where it is.
            log: Where it is said that it can't be written.
            retention: Seconds that entries are kept.
        """
        self._database = database
        self._log = log
        self._retention = retention
        self._numbers = itertools.count()
        self._waiting: list[tuple[Any, dict[str, Any]]] = []
        self._futures: list[asyncio.Future[None]] = []
        self._writer: asyncio.Task[None] | None = None
        self._pruned = 0.0

    async def add(self, entry: Entry) -> str:
        """Add an entry, which is in the database when this returns.

        Returns:
            Its id.

        Raises:
            DatabaseError: It could not be written.
        """
        entry_id, row = self._row(entry)
        await self._write(insert(AUDIT), row)
        return entry_id

    async def change(self, workspace: str, entry_id: str, **fields: Any) -> None:
        """Complete an entry.

        Raises:
            DatabaseError: It could not be written.
        """
        statement = (
            update(AUDIT)
            .where(
                AUDIT.c.workspace == bindparam("of_workspace"),
                AUDIT.c.id == bindparam("of_id"),
            )
            .values({name: bindparam(f"new_{name}") for name in sorted(fields)})
        )
        row = {f"new_{name}": value for name, value in fields.items()}
        row |= {"of_workspace": workspace, "of_id": entry_id}
        await self._write(statement, row)

    async def page(
        self, workspace: str, wanted: Filter, limit: int, offset: int
    ) -> tuple[list[dict[str, Any]], int]:
        """Give entries, the newest first, and how many there are in all."""
        conditions = [AUDIT.c.workspace == workspace]
        conditions += [
            AUDIT.c[name] == value
            for name, value in wanted._asdict().items()
            if value is not None
        ]
        async with self._database.connect() as connection:
            total = await connection.scalar(
                select(func.count()).select_from(AUDIT).where(*conditions)
            )
            rows = await connection.execute(
                select(AUDIT)
                .where(*conditions)
                .order_by(AUDIT.c.at.desc(), AUDIT.c.id.desc())
                .limit(limit)
                .offset(offset)
            )
            return [dict(row) for row in rows.mappings()], total or 0

    async def prune(self) -> None:
        """Delete what is older than entries are kept, and approvals as old."""
        until = time.time() - self._retention
        async with self._database.begin() as connection:
            await connection.execute(delete(AUDIT).where(AUDIT.c.at < until))
            await connection.execute(
                delete(APPROVALS).where(APPROVALS.c.expires_at < until)
            )

    async def close(self) -> None:
        """Wait until everything is written."""
        if self._writer is not None:
            await asyncio.gather(self._writer, return_exceptions=True)

    # -- writing -----------------------------------------------------------------------

    async def _prune(self) -> None:
        now = time.monotonic()
        if self._pruned and now - self._pruned < _PRUNE_SECONDS:
            return
        self._pruned = now
        try:
            await self.prune()
        except Exception as error:  # noqa: BLE001 - the next hour will do
            kind = type(error).__name__
            self._log.error("the audit can't be pruned", error=kind)

    def _row(self, entry: Entry) -> tuple[str, dict[str, Any]]:
        now = time.time()
        entry_id = f"{time.time_ns():x}-{next(self._numbers) & 0xFFFF:x}"
        fields = entry._asdict().items()
        cleaned = {n: clean(v) if isinstance(v, str) else v for n, v in fields}
        row = cleaned | {
            "id": entry_id,
            "at": now,
            "path": clean(entry.path)[:_PATH_MAX],
            "reason": clean(entry.reason)[:_TEXT_MAX],
        }
        return entry_id, row

    async def _write(self, statement: Any, row: dict[str, Any]) -> None:
        """Have a row written with those of others that wait at the same time."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((statement, row))
        self._futures.append(done)
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._flush())
        await asyncio.shield(done)

    async def _flush(self) -> None:
        while self._waiting:
            work, self._waiting = self._waiting, []
            futures, self._futures = self._futures, []
            failure: Exception | None = None
            try:
                async with self._database.begin() as connection:
                    for statement, row in work:
                        await connection.execute(statement, row)
            except Exception as error:  # noqa: BLE001 - those who wait get it
                # Its text may have values in it.
                kind = type(error).__name__
                self._log.error("the audit can't be written", error=kind)
                failure = error
            for future in futures:
                if future.cancelled():
                    continue
                if failure is None:
                    future.set_result(None)
                else:
                    future.set_exception(failure)
            if failure is None:
                await self._prune()


class Ending:
    """Completes a call's entry in the audit, however the call ends.

    Attributes:
        began: When the call itself began, on the clock that counts up.
        fields: What else is known of it.
    """

    def __init__(self, audit: Audit, workspace: str, entry_id: str) -> None:
        """Take the entry.

        Args:
            audit: The audit.
            workspace: The entry's workspace.
            entry_id: The entry's id.
        """
        self._audit = audit
        self._workspace = workspace
        self._entry_id = entry_id
        self.began: float | None = None
        self.fields: dict[str, Any] = {}

    async def __aenter__(self) -> None:
        """Begin."""

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: object
    ) -> None:
        """Note how it ended; also when it was cancelled."""
        fields: dict[str, Any] = {**self.fields, "outcome": "completed"}
        if self.began is not None:
            fields["ms"] = round((time.perf_counter() - self.began) * 1e3)
        if isinstance(error, ApprovalDeniedError):
            fields |= {"outcome": "denied", "code": error.code}
            fields["reason"] = error.reason
        elif isinstance(error, ToolError):
            fields |= {"outcome": "failed", "code": error.code}
        elif isinstance(error, asyncio.CancelledError):
            fields["outcome"] = "cancelled"
        elif error is not None:
            fields |= {"outcome": "failed", "code": "internal_error"}
        await asyncio.shield(
            asyncio.ensure_future(
                self._audit.change(self._workspace, self._entry_id, **fields)
            )
        )
