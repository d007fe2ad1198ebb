"""`tools` from the side of the host: one call at a time, from name to plain data."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

from isoserver.errors import (
    ApprovalDeniedError,
    ToolArgumentsError,
    ToolError,
    ToolFailedError,
    ToolMissingError,
)
from isoserver.storage.retention import Sweeper
from isoserver.tools.approvals import Approvals
from isoserver.tools.audit import Audit, Entry
from isoserver.tools.calls import Call
from isoserver.tools.declarations import declare
from isoserver.tools.discovery import PATHS, Discovery
from isoserver.tools.names import snake
from isoserver.tools.policies import Policies
from isoserver.tools.redaction import excerpt
from isoserver.tools.rules import (
    ALLOW,
    DENY,
    REQUIRE_APPROVAL,
    Verdict,
    decide,
    hides,
    strictest,
)
from isoserver.tools.sources.service import Sources

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from structlog.typing import FilteringBoundLogger

    from isoserver.settings.agents import AgentSettings
    from isoserver.settings.tools import Effect
    from isoserver.storage.changes import Changes
    from isoserver.storage.database import Database
    from isoserver.tools.audit import CallRecord
    from isoserver.tools.calls import Asker
    from isoserver.tools.catalog import Catalog
    from isoserver.tools.rules import Rule
    from isoserver.tools.tool import Tool

__all__ = ["Tools"]

_DECLARED_MAX: Final = 64
_DENIED: Final = "the policy denies it"
_PRUNE_SECONDS: Final = 3600.0


class Tools:
    """The tools of all workspaces; used from the event loop only.

    Attributes:
        settings: SourceLimits of calls.
        sources: Where tools come from.
        policies: The rules about them.
        approvals: The decisions that calls wait for.
        audit: What was asked, decided and called.
    """

    def __init__(
        self,
        settings: AgentSettings,
        database: Database,
        changes: Changes,
        log: FilteringBoundLogger,
    ) -> None:
        """Put the parts together; `start` starts the sources.

        Args:
            settings: The sources and rules of the configuration file, and all limits.
            database: Holds sources and rules that were added, approvals, the audit.
            changes: Tells of what other processes have written there.
            log: Told of what goes wrong.

        Raises:
            SourceError: A rule of the configuration file can't be understood.
        """
        self.settings = settings
        self.audit = Audit(settings, database, log)
        self.sources = Sources(settings, database, changes, self.audit, log)
        self.policies = Policies(settings, database, changes, self.audit)
        self.approvals = Approvals(settings, database, changes, self.audit, log)
        self._tasks = _Tasks(settings)
        self._sweeper = Sweeper("tools", self._prune, _PRUNE_SECONDS, log)
        self._declared: dict[tuple[str, str, tuple[str, ...]], str] = {}

    async def start(self) -> None:
        """Start the sources; they connect in the background.

        Raises:
            SourceError: One of the configuration file can't be set up.
        """
        await self.sources.start()
        self._sweeper.start()

    async def close(self) -> None:
        """End the sources, and write what is to be written."""
        await self._sweeper.close()
        await self.sources.close()
        await self.approvals.close()
        await self.audit.close()

    async def _prune(self) -> None:
        """Delete what the audit and the approvals no longer keep."""
        await self.audit.prune()
        await self.approvals.prune()

    async def describe(self, workspace: str) -> str:
        """Return the TypeScript declarations of what a workspace's code can call."""
        catalog = await self.sources.catalog(workspace)
        rules = await self.policies.rules(workspace)
        everybody = Call(workspace)
        hidden = tuple(
            tool.path for tool in catalog.tools if hides(rules, everybody, tool.path)
        )
        key = (workspace, catalog.version, hidden)
        text = self._declared.get(key)
        if text is None:
            left = [tool for tool in catalog.tools if tool.path not in set(hidden)]
            text = await asyncio.to_thread(declare, left)
            if len(self._declared) >= _DECLARED_MAX:
                self._declared.clear()
            self._declared[key] = text
        return text

    async def end_task(self, workspace: str, task_id: str) -> None:
        """Withdraw what a task waits for, because it is over; its audit is written."""
        await self.approvals.end_task(workspace, task_id)
        await self.audit.settle()

    async def call(
        self,
        call: Call,
        *,
        asker: Asker | None = None,
        waiting: Callable[[bool], None] = lambda _: None,
    ) -> Any:
        """Make a call.

        Args:
            call: What is called, with what, and for whom.
            asker: Asks the client, if an approval is needed and the client can.
            waiting: Told when the wait for an approval begins, and when it ends.

        Returns:
            Plain data.

        Raises:
            ToolError: It failed, in one of the ways that the code is told.
        """
        # Discovery included: that the code's side counts as well is no proof.
        async with self._tasks.admit(call) as turn:
            rules = await self.policies.rules(call.workspace)
            name = snake(call.path.partition(".")[0])
            catalog = await self.sources.catalog(
                call.workspace, None if call.path in PATHS else name
            )
            if call.path in PATHS:
                discovery = self._discovery(call, catalog, rules)
                return PATHS[call.path](discovery, call.input)
            run = _ToolRun(self, call, catalog, rules, turn, asker, waiting)
            return await run.run()

    def _discovery(
        self, call: Call, catalog: Catalog, rules: Sequence[Rule]
    ) -> Discovery:
        def effect(tool: Tool) -> Effect:
            # Rules with conditions may make it stricter; they depend on the input.
            source = self.sources.find(call.workspace, tool.source)
            default = source.default(reads=tool.reads) if source else ALLOW
            plain = [rule for rule in rules if not rule.conditions]
            return decide(plain, call, tool.path, {}, default).effect

        return Discovery(
            catalog, lambda tool: not hides(rules, call, tool.path), effect
        )


@dataclass(frozen=True)
class _ToolRun:
    """One call of a source's tool: checked, decided, approved, made, and recorded."""

    tools: Tools
    call: Call
    catalog: Catalog
    rules: Sequence[Rule]
    turn: asyncio.Semaphore
    asker: Asker | None
    waiting: Callable[[bool], None]

    async def run(self) -> Any:
        """Make the call, as `Tools.call` says."""
        call, audit = self.call, self.tools.audit
        shown_max = self.tools.settings.approval_input_characters_max
        entry = Entry(
            call.workspace,
            "call",
            call.client,
            call.path,
            session=call.session,
            task_id=call.task_id,
            call_id=call.call_id,
        )
        try:
            tool, arguments = self._check()
            verdict = self._decide(tool, arguments, self.rules)
        except ToolError as error:
            text = excerpt(call.input, shown_max).text
            await audit.add(
                entry._replace(input=text, outcome="failed", code=error.code)
            )
            raise
        text, complete = excerpt(arguments, shown_max)
        entry = entry._replace(
            path=tool.path, input=text, decision=verdict.effect, rule=verdict.rule
        )
        if verdict.effect == DENY:
            code = "policy_denied"
            await audit.add(entry._replace(outcome="denied", code=code))
            raise ApprovalDeniedError(tool.path, _DENIED, code=code)
        if verdict.effect == REQUIRE_APPROVAL and not complete:
            code = "input_not_reviewable"
            await audit.add(entry._replace(outcome="failed", code=code))
            message = (
                f"{tool.path} needs an approval, and a reviewer could not see all of "
                f"the input's fields in {shown_max} characters: send less"
            )
            raise ToolFailedError(message, code=code)
        # In the audit before anything is done.
        async with audit.recording(entry) as record:
            if verdict.effect == REQUIRE_APPROVAL:
                await self._approve(tool, verdict, text, record)
                await self._check_again(tool, arguments)
            return await self._make(tool, arguments, record)

    def _check(self) -> tuple[Tool, dict[str, Any]]:
        """Find the tool, and check the input.

        Raises:
            ToolMissingError: There is none of that name.
            ToolArgumentsError: The input isn't what it takes.
            ToolFailedError: Its source was never reached, or the input is too large.
        """
        call = self.call
        tool = self.catalog.find(call.path)
        if tool is None:
            name = snake(call.path.partition(".")[0])
            source = self.tools.sources.find(call.workspace, name)
            if source is not None and source.version == 0:
                raise source.unavailable()
            nearest = self.catalog.nearest(
                call.path, lambda other: not hides(self.rules, call, other.path)
            )
            raise ToolMissingError(call.path, nearest)
        arguments = {} if call.input is None else call.input
        if not isinstance(arguments, dict):
            problem = {"field": "input", "error": "must be an object"}
            raise ToolArgumentsError(tool.path, [problem])
        size = len(msgspec.json.encode(arguments))
        limit = self.tools.settings.tool_input_bytes_max
        if size > limit:
            message = (
                f"the input has {size} bytes, {limit} are allowed "
                "(tool_input_bytes_max)"
            )
            raise ToolFailedError(message, code="input_too_large")
        problems = self.catalog.checker(tool).problems(arguments)
        if problems:
            raise ToolArgumentsError(tool.path, problems)
        return tool, arguments

    def _decide(
        self, tool: Tool, arguments: dict[str, Any], rules: Sequence[Rule]
    ) -> Verdict:
        """Decide about the call; where it is several in one, about each of them."""
        source = self.tools.sources.find(self.call.workspace, tool.source)
        if source is None:
            raise ToolMissingError(tool.path, [])
        verdicts = [
            decide(rules, self.call, path, given, source.default(reads=reads))
            for path, given, reads in source.parts(tool, arguments)
        ]
        return strictest(verdicts)

    async def _approve(
        self, tool: Tool, verdict: Verdict, text: str, record: CallRecord
    ) -> None:
        """Wait until the call is approved.

        Raises:
            ApprovalDeniedError: It isn't.
        """
        approvals = self.tools.approvals
        approval = await approvals.request(self.call, tool, verdict.rule, text)
        record.approval_id = approval.id
        self.waiting(True)  # noqa: FBT003 - the interface of those who run tasks
        try:
            decides = approvals.may_decide(admin=self.call.admin)
            await approvals.wait(approval, self.asker, decides=decides)
        finally:
            self.waiting(False)  # noqa: FBT003

    async def _check_again(self, tool: Tool, arguments: dict[str, Any]) -> None:
        """Refuse what was forbidden while an approval was waited for."""
        rules = await self.tools.policies.rules(self.call.workspace)
        if self._decide(tool, arguments, rules).effect == DENY:
            raise ApprovalDeniedError(tool.path, _DENIED, code="policy_denied")

    async def _make(
        self, tool: Tool, arguments: dict[str, Any], record: CallRecord
    ) -> Any:
        source = self.tools.sources.find(self.call.workspace, tool.source)
        if source is None:  # deleted meanwhile
            raise ToolMissingError(tool.path, [])
        async with self.turn:
            record.began = time.perf_counter()
            return await source.call(tool, arguments)


class _Tasks:
    """How many calls each task makes, and how many of them at a time."""

    def __init__(self, settings: AgentSettings) -> None:
        self._settings = settings
        self._counts: Counter[tuple[str, str]] = Counter()
        self._turns: dict[tuple[str, str], asyncio.Semaphore] = {}

    @asynccontextmanager
    async def admit(self, call: Call) -> AsyncIterator[asyncio.Semaphore]:
        """Count a call, from its beginning to its end.

        Yields:
            What lets as many of the task's calls run as may at a time. A call that
            waits for an approval doesn't hold it, so that others go on.

        Raises:
            ToolFailedError: The task has as many calls as it may.
        """
        key, limit = (call.workspace, call.task_id), self._settings
        if self._counts[key] >= limit.task_calls_unfinished_max:
            message = (
                f"the limit of {limit.task_calls_unfinished_max} unfinished calls of "
                "this task is reached (task_calls_unfinished_max)"
            )
            raise ToolFailedError(message, code="too_many_calls", retryable=True)
        turn = self._turns.setdefault(
            key, asyncio.Semaphore(limit.task_calls_running_max)
        )
        self._counts[key] += 1
        try:
            yield turn
        finally:
            self._counts[key] -= 1
            if not self._counts[key]:
                del self._counts[key], self._turns[key]
