"""Waiting for runs, and for the approvals that they wait for themselves.

A run's client is asked while it waits for an answer, or afterwards, if it can be. The
rules are the same for tasks and scripts, and for calls of tools and of capabilities.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS, ElicitResult, InputRequiredResult
from pydantic import Field

from isoserver.errors import (
    ApprovalDecidedError,
    ExecutionMissingError,
    NotRunningError,
    TaskEndedError,
    TaskMissingError,
)
from isoserver.mcp.elicitation import Questions, can_ask, is_modern, read_answer
from isoserver.mcp.tools import Result, explain
from isoserver.runs.records import Status

if TYPE_CHECKING:
    from mcp_types import InputRequests

    from isoserver.mcp.tools import McpCall
    from isoserver.runs.records import Kind, RunRecord

__all__ = ["PendingApproval", "Waits", "how_to_decide", "pending_approvals"]


class PendingApproval(Result):
    """A call that waits for the decision of a person."""

    approvalId: str = Field()  # noqa: N815 - the documented name
    path: str
    description: str
    input: str


class Waits:
    """The questions of the runs of one kind that this process runs."""

    def __init__(self, kind: Kind, seconds: float | None) -> None:
        """Start without any run.

        Args:
            kind: Of which kind.
            seconds: How long an answer waits for an approval from elsewhere, if its
                client can't be asked; None for as long as it waits for the run.
        """
        self._kind = kind
        self._seconds = seconds
        self._questions: dict[str, Questions] = {}

    # -- at the start ------------------------------------------------------------------

    @staticmethod
    def questions(call: McpCall) -> Questions:
        """Return the `Asker` of a run that a call is about to start."""
        admin = call.peer.principal.admin
        decides = call.parts.tools.approvals.may_decide(admin=admin)
        return Questions(call.context, decides=decides)

    def keep(self, call: McpCall, run: RunRecord, questions: Questions) -> None:
        """Keep the questions of a run that has been started, until its end."""
        self._questions[run.id] = questions
        call.spawn(self._forget(call, run))

    async def _forget(self, call: McpCall, run: RunRecord) -> None:
        runs = call.parts.runs
        try:
            while not run.status.final:
                run = await runs.wait(self._kind, call.workspace, run.id, 3600.0)
        finally:
            self._questions.pop(run.id, None)

    def over(self, run: RunRecord) -> None:
        """Note that the request that started a run is answered."""
        questions = self._questions.get(run.id)
        if questions is not None:
            questions.over()

    async def go_on(self, call: McpCall, run_id: str) -> tuple[RunRecord, set[str]]:
        """Read the decisions of the client's user; the request's state is a run's id.

        Returns:
            The run, and the approvals that are decided.

        Raises:
            MCPError: The workspace has no such run, so the state isn't ours.
        """
        try:
            run = await call.parts.runs.get(self._kind, call.workspace, run_id)
        except (TaskMissingError, ExecutionMissingError) as error:
            # The protocol wants a request refused whose state was made up.
            raise MCPError(code=INVALID_PARAMS, message=explain(error)) from error
        decided: set[str] = set()
        approvals = call.parts.tools.approvals
        decides = approvals.may_decide(admin=call.peer.principal.admin)
        for approval_id, given in (call.parameters.input_responses or {}).items():
            answer = read_answer(given) if isinstance(given, ElicitResult) else None
            if answer is None or (answer.approved and not decides):
                continue
            approval = await approvals.get(call.workspace, approval_id)
            if approval.task_id != run.id:
                continue
            by = f"client:{approval.client}"
            # It may have been decided by somebody else, a moment ago.
            with suppress(ApprovalDecidedError):
                await approvals.decide(call.workspace, approval_id, answer, by)
            decided.add(approval_id)
        return run, decided

    # -- until the answer --------------------------------------------------------------

    async def finish(
        self, call: McpCall, run: RunRecord, seconds: float, decided: set[str]
    ) -> RunRecord | InputRequiredResult:
        """Wait for the run's end, or until it can't go on without an approval.

        The run is cancelled if the request is.

        Returns:
            The run as it is then; or what to ask the client.
        """
        try:
            run = await self.watch(call, run, seconds, decided, asks=True)
        except asyncio.CancelledError:
            if call.peer.cancels:
                call.spawn(self.cancel(call, run.id))
            raise
        finally:
            questions = self._questions.get(run.id)
            if questions is not None:
                questions.over()
        return self.asking(call, run) or run

    def asking(self, call: McpCall, run: RunRecord) -> InputRequiredResult | None:
        """Return the answer that asks a client what a run waits for.

        None if there is nothing that it hasn't answered, or it isn't asked that way.
        """
        questions = self._questions.get(run.id)
        asks = can_ask(call.context) and is_modern(call.context)
        if questions is None or not asks:
            return None
        answers = call.parameters.input_responses or {}
        new: InputRequests = {
            key: request
            for key, request in questions.requests().items()
            if key not in answers
        }
        if not new:
            return None
        return InputRequiredResult(input_requests=new, request_state=run.id)

    async def cancel(self, call: McpCall, run_id: str) -> None:
        """Cancel a run, if it hasn't ended."""
        with suppress(NotRunningError, TaskEndedError):
            await call.parts.runs.cancel(self._kind, call.workspace, run_id)

    async def watch(
        self,
        call: McpCall,
        run: RunRecord,
        seconds: float,
        decided: set[str],
        *,
        asks: bool = False,
    ) -> RunRecord:
        """Wait for a run's end, or for an approval that its client can't be asked for.

        Args:
            call: The call that waits.
            run: The run.
            seconds: How long to wait at most.
            decided: Approvals that are decided already.
            asks: Whether the answer may ask the client.

        Returns:
            The run as it is then.
        """
        runs, workspace = call.parts.runs, call.workspace
        loop = asyncio.get_running_loop()
        limit = loop.time() + seconds
        ended = asyncio.ensure_future(runs.wait(self._kind, workspace, run.id, seconds))
        gone = asyncio.ensure_future(call.peer.gone.wait())
        try:
            while not ended.done() and not gone.done() and loop.time() < limit:
                if not await self._next(call, run, {ended, gone}, decided):
                    continue
                if asks and can_ask(call.context) and is_modern(call.context):
                    break
                left = limit - loop.time()
                await asyncio.wait(
                    {ended, gone},
                    timeout=left if self._seconds is None else min(self._seconds, left),
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if self._open(run, decided):
                    break
        finally:
            ended.cancel()
            gone.cancel()
        return await runs.get(self._kind, workspace, run.id)

    async def _next(
        self,
        call: McpCall,
        run: RunRecord,
        others: set[asyncio.Future[Any]],
        decided: set[str],
    ) -> bool:
        """Wait for a question, or for one of the other events; whether it is one."""
        questions = self._questions.get(run.id)
        if questions is None or questions.direct:
            await asyncio.wait(others, return_when=asyncio.FIRST_COMPLETED)
            return False
        if not self._open(run, decided):
            questions.changed.clear()
            changed = asyncio.ensure_future(questions.changed.wait())
            try:
                await asyncio.wait(
                    {*others, changed}, return_when=asyncio.FIRST_COMPLETED
                )
            finally:
                changed.cancel()
            if not self._open(run, decided):
                return False
            for question in tuple(questions.pending.values()):
                text = f"{question.path} waits for an approval"
                await call.notify(call.context, text)
        return True

    def _open(self, run: RunRecord, decided: set[str]) -> bool:
        """Tell whether a run has questions that its client wasn't asked at once."""
        questions = self._questions.get(run.id)
        if questions is None or questions.direct:
            return False
        return any(key not in decided for key in questions.pending)


async def pending_approvals(call: McpCall, run: RunRecord) -> list[dict[str, Any]]:
    """Return what a run waits for, as `PendingApproval` has it."""
    if run.status is not Status.WAITING:
        return []
    found, _ = await call.parts.tools.approvals.pending(call.workspace, limit=1000)
    return [
        {
            "approvalId": approval.id,
            "path": approval.path,
            "description": approval.description,
            "input": approval.input,
        }
        for approval in found
        if approval.task_id == run.id
    ]


def how_to_decide(waiting: list[dict[str, Any]]) -> list[str]:
    """Return, for each of them, the line that says what to do next."""
    return [
        f"waits for approval of {each['path']} with {each['input']}: call resume with "
        f"approvalId {each['approvalId']}, once your user has decided"
        for each in waiting
    ]
