"""Approvals: asked for once for a call, decided once, by whoever is first.

The database is what counts, so that an approval can be decided through any server
process on it: whoever waits hears of it through the feed of changes.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from sqlalchemy import (
    Column,
    Float,
    Index,
    String,
    Table,
    Text,
    delete,
    func,
    insert,
    select,
    update,
)

from isokernel.timeouts import timeout
from isoserver.errors import (
    ApprovalDecidedError,
    ApprovalDeniedError,
    ApprovalMissingError,
    ToolFailedError,
)
from isoserver.storage.database import METADATA
from isoserver.tools.audit import Entry
from isoserver.tools.calls import Question
from isoserver.tools.redaction import clean

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from isoserver.settings.agents import AgentSettings
    from isoserver.storage.changes import Change, Changes
    from isoserver.storage.database import Database
    from isoserver.tools.audit import Audit
    from isoserver.tools.calls import Asker, Call, Decision

__all__ = [
    "APPROVED",
    "DENIED",
    "EXPIRED",
    "PENDING",
    "WITHDRAWN",
    "Approval",
    "Approvals",
    "Subject",
]

APPROVALS: Final = Table(
    "tool_approvals",
    METADATA,
    Column("id", String, primary_key=True),
    Column("workspace", String, nullable=False),
    Column("task_id", String, nullable=False),
    Column("call_id", String, nullable=False),
    Column("session", String, nullable=True),
    Column("client", String, nullable=False),
    Column("path", String, nullable=False),
    Column("description", Text, nullable=False),
    Column("input", Text, nullable=False),
    Column("rule", String, nullable=False),
    Column("state", String, nullable=False),
    Column("reason", Text, nullable=False),
    Column("decided_by", String, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
    Column("decided_at", Float, nullable=True),
    Index("tool_approvals_state", "workspace", "state", "created_at"),
    Index("tool_approvals_task", "workspace", "task_id"),
)

PENDING: Final = "pending"
APPROVED: Final = "approved"
DENIED: Final = "denied"
EXPIRED: Final = "expired"
WITHDRAWN: Final = "withdrawn"

_ID_BYTES: Final = 24
_DESCRIPTION_CHARACTERS_MAX: Final = 1000
_REASON_CHARACTERS_MAX: Final = 2000


class Approval(NamedTuple):
    """One approval, as the database has it; times are seconds since 1970.

    Attributes:
        id: Unguessable: whoever knows it may have it decided, with an administrator's
            key.
        task_id: The task that waits.
        call_id: The call that waits.
        session: The session in which the code runs, if it has one.
        client: Who started the task.
        path: The tool.
        description: What the tool says that it does.
        input: The input as text, redacted and cut.
        rule: The rule that asks for it; empty for the tool's default.
        state: pending, approved, denied, expired or withdrawn.
        reason: The reviewer's, or what happened.
        expires_at: Until when it is waited for.
    """

    id: str
    workspace: str
    task_id: str
    call_id: str
    session: str | None
    client: str
    path: str
    description: str
    input: str
    rule: str
    state: str
    reason: str
    decided_by: str
    created_at: float
    expires_at: float
    decided_at: float | None

    @classmethod
    def of(cls, row: Any) -> Approval:
        """Return the approval of a row."""
        return cls(*(row[name] for name in cls._fields))


class Subject(Protocol):
    """What an approval is about."""

    @property
    def path(self) -> str:
        """Its name."""

    @property
    def description(self) -> str:
        """What it does."""


class Approvals:
    """The approvals of all workspaces; used from the event loop only."""

    def __init__(
        self,
        settings: AgentSettings,
        database: Database,
        changes: Changes,
        audit: Audit,
        log: FilteringBoundLogger,
    ) -> None:
        """Subscribe to decisions.

        Args:
            settings: How long a decision is waited for, whose clients are asked, and
                how many may be pending in one workspace.
            database: Holds the approvals.
            changes: Tells of decisions.
            audit: Notes who decided what.
            log: Told that a client could not be asked.
        """
        self._settings = settings
        self._seconds = settings.approval_timeout_seconds
        self._database = database
        self._changes = changes
        self._audit = audit
        self._log = log
        self._wakers: dict[str, asyncio.Event] = {}
        self._deciding: set[asyncio.Future[Approval]] = set()
        changes.subscribe(APPROVALS.name, self._changed)

    async def close(self) -> None:
        """Wait until what clients decided is written."""
        await asyncio.gather(*self._deciding, return_exceptions=True)

    # -- for administrators ------------------------------------------------------------

    async def pending(
        self, workspace: str, limit: int = 100, offset: int = 0
    ) -> tuple[list[Approval], int]:
        """Return those that wait for a decision, oldest first, and their number."""
        waiting = (
            APPROVALS.c.workspace == workspace,
            APPROVALS.c.state == PENDING,
            APPROVALS.c.expires_at > time.time(),
        )
        async with self._database.connect() as connection:
            total = await connection.scalar(
                select(func.count()).select_from(APPROVALS).where(*waiting)
            )
            rows = await connection.execute(
                select(APPROVALS)
                .where(*waiting)
                .order_by(APPROVALS.c.created_at, APPROVALS.c.id)
                .limit(limit)
                .offset(offset)
            )
            return [Approval.of(row) for row in rows.mappings()], total or 0

    async def get(self, workspace: str, approval_id: str) -> Approval:
        """Return one approval.

        Raises:
            ApprovalMissingError: The workspace has none of that id.
        """
        if clean(approval_id) != approval_id:
            raise ApprovalMissingError(approval_id)
        async with self._database.connect() as connection:
            rows = await connection.execute(
                select(APPROVALS).where(
                    APPROVALS.c.workspace == workspace, APPROVALS.c.id == approval_id
                )
            )
            row = rows.mappings().first()
        if row is None:
            raise ApprovalMissingError(approval_id)
        found = Approval.of(row)
        if found.state == PENDING and found.expires_at <= time.time():
            # Nobody waits any more, even if nobody was left to write that down.
            return found._replace(state=EXPIRED, reason=self._expiry_reason())
        return found

    async def decide(
        self, workspace: str, approval_id: str, decision: Decision, by: str
    ) -> Approval:
        """Decide; the same decision again changes nothing and gives the same answer.

        Args:
            workspace: The workspace of whoever decides.
            approval_id: The approval.
            decision: What is decided, and why.
            by: Who decides.

        Raises:
            ApprovalMissingError: The workspace has none of that id.
            ApprovalDecidedError: It was decided otherwise, or isn't waited for.
        """
        state = APPROVED if decision.approved else DENIED
        reason = clean(decision.reason)[:_REASON_CHARACTERS_MAX]
        await self.get(workspace, approval_id)
        fields = {"state": state, "reason": reason, "decided_by": by}
        won = await self._set(workspace, approval_id, fields, in_time=True)
        found = await self.get(workspace, approval_id)
        if won:
            await self._audit.add(
                Entry(
                    workspace,
                    "approval.decided",
                    by,
                    found.path,
                    session=found.session,
                    task_id=found.task_id,
                    call_id=found.call_id,
                    decision=state,
                    approval_id=approval_id,
                    reason=reason,
                )
            )
        elif found.state != state:
            raise ApprovalDecidedError(found.state)
        return found

    # -- for calls ---------------------------------------------------------------------

    async def request(
        self, call: Call, tool: Subject, rule: str, shown: str
    ) -> Approval:
        """Ask for the approval of a call; `wait` waits for the decision.

        Args:
            call: The call.
            tool: What it calls, or the capability that it asks for.
            rule: The rule that asks for it; empty for the tool's default.
            shown: The input as reviewers see it.

        Raises:
            ToolFailedError: As many as may be are pending in the workspace.
        """
        limit = self._settings.workspace_approvals_max
        _, waiting = await self.pending(call.workspace, limit=1)
        if waiting >= limit:
            message = (
                f"the limit of {limit} pending approvals is reached "
                "(workspace_approvals_max)"
            )
            raise ToolFailedError(message, code="too_many_approvals", retryable=True)
        now = time.time()
        made = Approval(
            id=secrets.token_urlsafe(_ID_BYTES),
            workspace=call.workspace,
            task_id=call.task_id,
            call_id=call.call_id,
            session=call.session,
            client=call.client,
            path=tool.path,
            description=clean(tool.description[:_DESCRIPTION_CHARACTERS_MAX]),
            input=shown,
            rule=rule,
            state=PENDING,
            reason="",
            decided_by="",
            created_at=now,
            expires_at=now + self._seconds,
            decided_at=None,
        )
        # Before it can be decided: a decision must not be missed.
        self._wakers[made.id] = asyncio.Event()
        try:
            async with self._database.begin() as connection:
                await connection.execute(insert(APPROVALS).values(made._asdict()))
        except BaseException:
            del self._wakers[made.id]
            raise
        return made

    def may_decide(self, *, admin: bool) -> bool:
        """Tell whether a client's answer about its own calls counts.

        It comes from whoever holds the key that the code runs with, which may be a
        program: who may not decide over REST may not do so this way either.

        Args:
            admin: Whether that key is an administrator's.
        """
        whose = self._settings.approval_elicitation
        return whose == "always" or (whose == "admin" and admin)

    async def wait(
        self, approval: Approval, asker: Asker | None = None, *, decides: bool = True
    ) -> Approval:
        """Wait for the decision, from wherever it comes.

        Args:
            approval: What `request` returned.
            asker: Asks the client at the same time.
            decides: Whether the client may approve.

        Returns:
            The approval, approved.

        Raises:
            ApprovalDeniedError: It was denied, withdrawn, or not decided in time.
        """
        asking = None
        if asker is not None:
            asking = asyncio.create_task(self._ask(approval, asker, decides=decides))
        try:
            found = await self._decided(approval)
        except asyncio.CancelledError:
            await asyncio.shield(self._withdraw(approval, "the call was cancelled"))
            raise
        finally:
            self._wakers.pop(approval.id, None)
            if asking is not None:
                asking.cancel()
                await asyncio.gather(asking, return_exceptions=True)
        if found.state == APPROVED:
            return found
        raise ApprovalDeniedError(
            approval.path,
            found.reason or "the reviewer gave no reason",
            code=f"approval_{found.state}",
            approval_id=approval.id,
        )

    async def end_task(self, workspace: str, task_id: str) -> None:
        """Withdraw what a task has asked for, because the task is over."""
        async with self._database.connect() as connection:
            rows = await connection.execute(
                select(APPROVALS).where(
                    APPROVALS.c.workspace == workspace,
                    APPROVALS.c.task_id == task_id,
                    APPROVALS.c.state == PENDING,
                )
            )
            waiting = [Approval.of(row) for row in rows.mappings()]
        for approval in waiting:
            await self._withdraw(approval, "the task is over")

    async def prune(self) -> None:
        """Delete approvals that are older than the audit keeps its entries."""
        until = time.time() - self._settings.audit_ttl_seconds
        async with self._database.begin() as connection:
            await connection.execute(
                delete(APPROVALS).where(APPROVALS.c.expires_at < until)
            )

    async def _decided(self, approval: Approval) -> Approval:
        """Wait until an approval isn't pending any more, or its time is over."""
        changed = self._wakers.setdefault(approval.id, asyncio.Event())
        while True:
            left = approval.expires_at - time.time()
            if left <= 0:
                fields = {"state": EXPIRED, "reason": self._expiry_reason()}
                await self._set(approval.workspace, approval.id, fields)
                return await self.get(approval.workspace, approval.id)
            with contextlib.suppress(asyncio.TimeoutError, TimeoutError):
                async with timeout(left):
                    await changed.wait()
            # Before it is read: what is decided meanwhile is read in the next round.
            changed.clear()
            found = await self.get(approval.workspace, approval.id)
            if found.state not in {PENDING, EXPIRED}:
                return found

    async def _ask(self, approval: Approval, asker: Asker, *, decides: bool) -> None:
        question = Question(
            approval_id=approval.id,
            path=approval.path,
            description=approval.description,
            shown=approval.input,
            seconds=self._seconds,
            decides=decides,
        )
        try:
            decision = await asker.ask(question)
        except Exception as error:  # noqa: BLE001 - the other ways to decide remain
            kind = type(error).__name__
            self._log.warning("a client could not be asked", error=kind)
            return
        if decision is None or (decision.approved and not decides):
            return
        by = f"client:{approval.client}"
        deciding = asyncio.ensure_future(
            self.decide(approval.workspace, approval.id, decision, by)
        )
        # Finished in any case: whoever waits is told before the audit is written.
        self._deciding.add(deciding)
        deciding.add_done_callback(self._deciding.discard)
        # Somebody else may have been first.
        with contextlib.suppress(ApprovalDecidedError):
            await asyncio.shield(deciding)

    async def _withdraw(self, approval: Approval, reason: str) -> None:
        fields = {"state": WITHDRAWN, "reason": reason}
        await self._set(approval.workspace, approval.id, fields)

    async def _set(
        self,
        workspace: str,
        approval_id: str,
        fields: dict[str, Any],
        *,
        in_time: bool = False,
    ) -> bool:
        """Change an approval that is pending; whether it was."""
        conditions = [
            APPROVALS.c.workspace == workspace,
            APPROVALS.c.id == approval_id,
            APPROVALS.c.state == PENDING,
        ]
        if in_time:
            conditions.append(APPROVALS.c.expires_at > time.time())
        async with self._changes.begin(
            APPROVALS.name, workspace, approval_id
        ) as connection:
            changed = await connection.execute(
                update(APPROVALS)
                .where(*conditions)
                .values(decided_at=time.time(), **fields)
            )
        return changed.rowcount == 1

    def _changed(self, change: Change | None) -> None:
        """Wake whoever waits for an approval that may have been decided."""
        if change is None:
            for event in self._wakers.values():
                event.set()
        elif change.id in self._wakers:
            self._wakers[change.id].set()

    def _expiry_reason(self) -> str:
        return f"nobody decided within {self._seconds:g} seconds"
