"""The audit: everything that was asked, decided and called, but no results.

A call has an entry before it is made, so that one which the server did not outlive is
there as well, with the outcome `running`. How it ended is written soon after, and
before the end of its task is told.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import delete, func, select

from isoserver.errors import ApprovalDeniedError, ToolError
from isoserver.tools.journal import Journal
from isoserver.tools.redaction import clean
from isoserver.tools.tables import APPROVALS, AUDIT

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from isoserver.storage.database import Database

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
        self._journal = Journal(database, log, self._prune)
        self._pruned = 0.0

    async def add(self, entry: Entry) -> str:
        """Add an entry, which is in the database when this returns.

        Returns:
            Its id.

        Raises:
            DatabaseError: It could not be written.
        """
        entry_id, row = self._row(entry)
        await self._journal.add(row)
        return entry_id

    async def change(self, workspace: str, entry_id: str, **fields: Any) -> None:
        """Complete an entry.

        Raises:
            DatabaseError: It could not be written.
        """
        await self._journal.change(workspace, entry_id, fields)

    def complete(self, workspace: str, entry_id: str, **fields: Any) -> None:
        """Complete an entry soon, without waiting for it; `settle` does."""
        self._journal.change_soon(workspace, entry_id, fields)

    async def settle(self) -> None:
        """Wait until what was said so far is written."""
        await self._journal.settle()

    async def page(
        self, workspace: str, wanted: Filter, limit: int, offset: int
    ) -> tuple[list[dict[str, Any]], int]:
        """Give entries, the newest first, and how many there are in all."""
        await self.settle()
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
        await self._journal.close()

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
        self._audit.complete(self._workspace, self._entry_id, **fields)
