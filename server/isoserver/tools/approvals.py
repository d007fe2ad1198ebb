"""Approvals: asked once for a call, decided once, by whoever is first.

The database is what counts, so that an approval can be decided through any server
process on it: whoever waits hears of it through the feed of changes.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from sqlalchemy import func, insert, select, update

from isoserver.errors import (
    ApprovalDecidedError,
    ApprovalDeniedError,
    ApprovalMissingError,
    ToolFailedError,
)
from isoserver.tools.audit import Entry
from isoserver.tools.calls import Question
from isoserver.tools.redaction import clean
from isoserver.tools.tables import APPROVALS

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from isoserver.storage.changes import Change, Changes
    from isoserver.storage.database import Database
    from isoserver.tools.audit import Audit
    from isoserver.tools.calls import Asker, Call
    from isoserver.tools.tool import Tool

__all__ = [
    "APPROVED",
    "DENIED",
    "EXPIRED",
    "PENDING",
    "WITHDRAWN",
    "Approval",
    "Approvals",
    "Decision",
    "Elicitation",
]

PENDING: Final = "pending"
APPROVED: Final = "approved"
DENIED: Final = "denied"
EXPIRED: Final = "expired"
WITHDRAWN: Final = "withdrawn"
Decision = Literal["approved", "denied"]
Elicitation = Literal["admin", "always", "never"]

_ID_BYTES: Final = 24
_DESCRIPTION_MAX: Final = 1000
_REASON_MAX: Final = 2000


class Approval(NamedTuple):
    """One approval, as the database has it.

    Attributes:
        id: Unguessable: who knows it may have it decided, with an administrator's key.
        workspace: The workspace.
        task_id: The task that waits.
        call_id: The call that waits.
        session: The context that persists, if there is one.
        client: Who started the task.
        path: The tool.
        description: What the tool says that it does.
        input: The input as text, redacted and cut.
        rule: The rule that asks for it; empty for the tool's default.
        state: pending, approved, denied, expired or withdrawn.
        reason: The reviewer's, or what happened.
        decided_by: Who decided.
        created_at: When it was asked for, in seconds since 1970.
        expires_at: When it won't be waited for any longer.
        decided_at: When that was decided.
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
    def ask(
        cls, call: Call, tool: Tool, rule: str, shown: str, seconds: float
    ) -> Approval:
        """Make one for a call, which waits for so many seconds from now."""
        now = time.time()
        return cls(
            secrets.token_urlsafe(_ID_BYTES),
            call.workspace,
            call.task_id,
            call.call_id,
            call.session,
            call.client,
            tool.path,
            clean(tool.description[:_DESCRIPTION_MAX]),
            shown,
            rule,
            PENDING,
            "",
            "",
            now,
            now + seconds,
            None,
        )

    @classmethod
    def of(cls, row: Any) -> Approval:
        """Give it from its row."""
        return cls(*(row[name] for name in cls._fields))


class Approvals:
    """The approvals of all workspaces; used from the event loop only."""

    def __init__(  # noqa: PLR0913 - three of them are bounds
        self,
        database: Database,
        changes: Changes,
        audit: Audit,
        log: FilteringBoundLogger,
        *,
        seconds: float,
        limit: int,
        elicitation: Elicitation = "admin",
    ) -> None:
        """Prepare.

        Args:
            database: Where they are.
            changes: Tells of decisions.
            audit: Where it is noted who decided what.
            log: Where it is said that a client could not be asked.
            seconds: How long a decision is waited for.
            limit: How many may be pending in one workspace.
            elicitation: Whose clients are asked about their own calls.
        """
        self._database = database
        self._changes = changes
        self._audit = audit
        self._log = log
        self._seconds = seconds
        self._limit = limit
        self._elicitation = elicitation
        self._decided: dict[str, asyncio.Event] = {}
        changes.subscribe(APPROVALS.name, self._changed)
        self._resolving: set[asyncio.Future[Approval]] = set()

    async def close(self) -> None:
        """Wait until what clients decided is written."""
        await asyncio.gather(*self._resolving, return_exceptions=True)

    # -- for administrators ------------------------------------------------------------

    async def pending(
        self, workspace: str, limit: int = 100, offset: int = 0
    ) -> tuple[list[Approval], int]:
        """Give those that wait for a decision, oldest first, and how many there are."""
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
        """Give one.

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
            return found._replace(state=EXPIRED, reason=self._late())
        return found

    async def resolve(
        self, workspace: str, approval_id: str, decision: Decision, reason: str, by: str
    ) -> Approval:
        """Decide; the same decision again changes nothing and gives the same answer.

        Args:
            workspace: The workspace of whoever decides.
            approval_id: The approval.
            decision: What is decided.
            reason: Why.
            by: Who decides.

        Raises:
            ApprovalMissingError: The workspace has none of that id.
            ApprovalDecidedError: It was decided otherwise, or isn't waited for.
        """
        reason = clean(reason)[:_REASON_MAX]
        await self.get(workspace, approval_id)
        fields = {"state": decision, "reason": reason, "decided_by": by}
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
                    decision=decision,
                    approval_id=approval_id,
                    reason=reason,
                )
            )
        elif found.state != decision:
            raise ApprovalDecidedError(found.state)
        return found

    # -- for calls ---------------------------------------------------------------------

    async def request(self, call: Call, tool: Tool, rule: str, shown: str) -> Approval:
        """Ask for the approval of a call.

        Raises:
            ToolFailedError: As many as may be are pending in the workspace.
        """
        _, waiting = await self.pending(call.workspace, limit=1)
        if waiting >= self._limit:
            message = f"{waiting} approvals are pending, no more may be"
            raise ToolFailedError(
                message,
                code="too_many_approvals",
                retryable=True,
            )
        made = Approval.ask(call, tool, rule, shown, self._seconds)
        # Before it can be decided: a decision must not be missed.
        self._decided[made.id] = asyncio.Event()
        try:
            async with self._database.begin() as connection:
                await connection.execute(insert(APPROVALS).values(made._asdict()))
        except BaseException:
            del self._decided[made.id]
            raise
        return made

    def may_decide(self, *, admin: bool) -> bool:
        """Tell whether a client's answer about its own calls counts.

        It comes from whoever holds the key that the code runs with, which may be a
        program: who may not decide over REST may not do so this way either.

        Args:
            admin: Whether that key is an administrator's.
        """
        return self._elicitation == "always" or (self._elicitation == "admin" and admin)

    async def wait(
        self, approval: Approval, asker: Asker | None = None, *, decides: bool = True
    ) -> Approval:
        """Wait for the decision, from wherever it comes.

        Args:
            approval: What was asked for.
            asker: Asks the client at the same time.
            decides: Whether the client may approve.

        Returns:
            It, approved.

        Raises:
            ApprovalDeniedError: It was denied, withdrawn, or not decided in time.
        """
        asking = None
        if asker is not None:
            asking = asyncio.create_task(self._ask(approval, asker, decides=decides))
        try:
            found = await self._settled(approval)
        except asyncio.CancelledError:
            await asyncio.shield(self._withdraw(approval))
            raise
        finally:
            self._decided.pop(approval.id, None)
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
                select(APPROVALS.c.id).where(
                    APPROVALS.c.workspace == workspace,
                    APPROVALS.c.task_id == task_id,
                    APPROVALS.c.state == PENDING,
                )
            )
            waiting = list(rows.scalars())
        for approval_id in waiting:
            fields = {"state": WITHDRAWN, "reason": "the task is over"}
            await self._set(workspace, approval_id, fields)

    async def _settled(self, approval: Approval) -> Approval:
        """Wait until it isn't pending any more, or its time is over."""
        decided = self._decided.setdefault(approval.id, asyncio.Event())
        while True:
            left = approval.expires_at - time.time()
            if left <= 0:
                fields = {"state": EXPIRED, "reason": self._late()}
                await self._set(approval.workspace, approval.id, fields)
                return await self.get(approval.workspace, approval.id)
            with contextlib.suppress(asyncio.TimeoutError, TimeoutError):
                await asyncio.wait_for(decided.wait(), left)
            # Before it is read: what is decided meanwhile is read in the next round.
            decided.clear()
            found = await self.get(approval.workspace, approval.id)
            if found.state not in {PENDING, EXPIRED}:
                return found

    async def _ask(self, approval: Approval, asker: Asker, *, decides: bool) -> None:
        question = Question(
            approval.id,
            approval.path,
            approval.description,
            approval.input,
            self._seconds,
            decides,
        )
        try:
            answer = await asker.ask(question)
        except Exception as error:  # noqa: BLE001 - the other ways to decide remain
            kind = type(error).__name__
            self._log.warning("a client could not be asked", error=kind)
            return
        if answer is None or (answer.approved and not decides):
            return
        decision: Decision = APPROVED if answer.approved else DENIED
        by = f"client:{approval.client}"
        # Somebody else was first: fine.
        resolving = asyncio.ensure_future(
            self.resolve(approval.workspace, approval.id, decision, answer.reason, by)
        )
        # Finished in any case: whoever waits is told before the audit is written.
        self._resolving.add(resolving)
        resolving.add_done_callback(self._resolving.discard)
        with contextlib.suppress(ApprovalDecidedError):
            await asyncio.shield(resolving)

    async def _withdraw(self, approval: Approval) -> None:
        fields = {"state": WITHDRAWN, "reason": "the call was cancelled"}
        await self._set(approval.workspace, approval.id, fields)

    async def _set(
        self,
        workspace: str,
        approval_id: str,
        fields: dict[str, Any],
        *,
        in_time: bool = False,
    ) -> bool:
        """Change one that is pending; whether it was."""
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
            for event in self._decided.values():
                event.set()
        elif change.id in self._decided:
            self._decided[change.id].set()

    def _late(self) -> str:
        return f"nobody decided within {self._seconds:g} seconds"
