"""The audit: everything that was asked, decided and called, but no results.

A call has an entry before it is made, so that one which the server did not outlive is
there as well, with the outcome `running`. How it ended is written soon after, and
before the end of its task is told: it goes along with the next entry, so that calls one
after the other take one commit each, not two.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from contextlib import asynccontextmanager, suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import (
    Column,
    Float,
    Index,
    Integer,
    String,
    Table,
    Text,
    bindparam,
    delete,
    func,
    select,
    update,
)

from isoserver.errors import ApprovalDeniedError, DatabaseError, ToolError
from isoserver.storage.database import METADATA
from isoserver.storage.writer import Writer
from isoserver.tools.redaction import clean

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from structlog.typing import FilteringBoundLogger

    from isoserver.settings.agents import AgentSettings
    from isoserver.storage.database import Database

__all__ = ["Audit", "CallRecord", "Entry", "Filter"]

AUDIT: Final = Table(
    "tool_audit",
    METADATA,
    Column("id", String, primary_key=True),
    Column("workspace", String, nullable=False),
    Column("at", Float, nullable=False),
    Column("kind", String, nullable=False),
    Column("client", String, nullable=False),
    Column("session", String, nullable=True),
    Column("task_id", String, nullable=True),
    Column("call_id", String, nullable=True),
    Column("path", String, nullable=False),
    Column("input", Text, nullable=False),
    Column("decision", String, nullable=False),
    Column("rule", String, nullable=False),
    Column("approval_id", String, nullable=True),
    Column("reason", Text, nullable=False),
    Column("outcome", String, nullable=False),
    Column("code", String, nullable=True),
    Column("ms", Integer, nullable=True),
    Index("tool_audit_time", "workspace", "at"),
    Index("tool_audit_task", "workspace", "task_id"),
)

_TEXT_MAX: Final = 2000
_PATH_MAX: Final = 512


class Entry(NamedTuple):
    """One entry.

    Attributes:
        workspace: The workspace.
        kind: `call`; `capability` for what code asked for beyond its context; or what
            an administrator or a reviewer did: `approval.decided`,
            `source.added`, `source.deleted`, `policy.added`, `policy.deleted`,
            `capabilities.changed`.
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
        self, settings: AgentSettings, database: Database, log: FilteringBoundLogger
    ) -> None:
        """Begin with nothing to write.

        Args:
            settings: How long entries are kept.
            database: Holds the audit.
            log: Told that the audit can't be written.
        """
        self._ttl_seconds = settings.audit_ttl_seconds
        self._database = database
        self._log = log
        self._numbers = itertools.count()
        self._writer = Writer(database, log, "the audit")
        self._insert = database.insert(AUDIT).on_conflict_do_nothing()

    async def add(self, entry: Entry) -> str:
        """Add an entry, which is in the database when this returns.

        Returns:
            Its id.

        Raises:
            DatabaseError: It could not be written.
        """
        entry_id, row = self._row(entry)
        await self._writer.insert(self._insert, row)
        return entry_id

    @asynccontextmanager
    async def recording(self, entry: Entry) -> AsyncIterator[CallRecord]:
        """Add a call's entry before the call is made, and complete it afterwards.

        How the call ended is written soon; `settle` waits for that.

        Raises:
            DatabaseError: The entry could not be written; the body doesn't run.
        """
        entry_id = await self.add(entry._replace(outcome="running"))
        record, failure = CallRecord(), None
        try:
            yield record
        except BaseException as error:
            failure = error
            raise
        finally:
            fields = record.completed(failure)
            self._complete(entry.workspace, entry_id, fields)

    async def settle(self) -> None:
        """Wait until all that was asked for so far is written, or could not be."""
        with suppress(DatabaseError):  # the log has it
            await self._writer.flush()

    async def page(
        self, workspace: str, wanted: Filter, limit: int, offset: int
    ) -> tuple[list[dict[str, Any]], int]:
        """Return a page of entries, newest first, and the number of all."""
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
        """Delete the entries that have been kept for long enough."""
        until = time.time() - self._ttl_seconds
        async with self._database.begin() as connection:
            await connection.execute(delete(AUDIT).where(AUDIT.c.at < until))

    async def close(self) -> None:
        """Wait until everything is written."""
        await self._writer.close()

    # -- writing -----------------------------------------------------------------------

    def _complete(self, workspace: str, entry_id: str, fields: dict[str, Any]) -> None:
        """Change an entry with the next commit, or a moment later: nobody waits."""
        names = tuple(sorted(fields))
        row = {f"new_{name}": fields[name] for name in names}
        row |= {"of_workspace": workspace, "of_id": entry_id}
        self._writer.update(_update(names), row, soon=True)

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


class CallRecord:
    """What becomes known of a call while its entry says that it is running.

    Attributes:
        approval_id: The approval that it waits for, or has waited for.
        began: When the call itself began, by `time.perf_counter`.
    """

    def __init__(self) -> None:
        """Know nothing yet."""
        self.approval_id: str | None = None
        self.began: float | None = None

    def completed(self, error: BaseException | None) -> dict[str, Any]:
        """Return the entry's last fields, by what ended the call, if anything did."""
        fields: dict[str, Any] = {"outcome": "completed"}
        if self.approval_id is not None:
            fields["approval_id"] = self.approval_id
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
        return fields


@lru_cache(maxsize=64)
def _update(names: tuple[str, ...]) -> Any:
    """Return the statement that changes some columns: one object, used again."""
    return (
        update(AUDIT)
        .where(
            AUDIT.c.workspace == bindparam("of_workspace"),
            AUDIT.c.id == bindparam("of_id"),
        )
        .values({name: bindparam(f"new_{name}") for name in names})
    )
