"""`tools` from the side of the host: one call at a time, from name to plain data."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

import msgspec

from isoserver.errors import (
    ApprovalDeniedError,
    ToolArgumentsError,
    ToolError,
    ToolFailedError,
    ToolMissingError,
)
from isoserver.tools.audit import Ending, Entry
from isoserver.tools.calls import Call
from isoserver.tools.declarations import declare
from isoserver.tools.discovery import PATHS, Discovery
from isoserver.tools.names import snake
from isoserver.tools.redaction import shown
from isoserver.tools.rules import (
    ALLOW,
    DENY,
    REQUIRE_APPROVAL,
    Verdict,
    decide,
    hides,
    strictest,
)
from isoserver.tools.slots import Slots

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from structlog.typing import FilteringBoundLogger

    from isoserver.tools.approvals import Approvals
    from isoserver.tools.audit import Audit
    from isoserver.tools.calls import Asker
    from isoserver.tools.catalog import Catalog
    from isoserver.tools.policies import Policies
    from isoserver.tools.rules import Effect, Rule
    from isoserver.tools.slots import Bounds
    from isoserver.tools.sources.service import Sources
    from isoserver.tools.tool import Tool

__all__ = ["Tools"]

_DECLARED_MAX: Final = 64
_DENIED: Final = "the policy denies it"


class Tools:
    """The tools of all workspaces; used from the event loop only.

    Attributes:
        sources: The sources.
        policies: The rules.
        approvals: The approvals.
        audit: The audit.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - it is what holds them together
        self,
        sources: Sources,
        policies: Policies,
        approvals: Approvals,
        audit: Audit,
        log: FilteringBoundLogger,
        bounds: Bounds,
    ) -> None:
        """Put the parts together; `isoserver.tools.assembly` makes them.

        Args:
            sources: The sources.
            policies: The rules.
            approvals: The approvals.
            audit: The audit.
            log: Where defects are logged.
            bounds: Bounds of calls.
        """
        self.sources = sources
        self.policies = policies
        self.approvals = approvals
        self.audit = audit
        self._log = log
        self._bounds = bounds
        self._slots = Slots(bounds)
        self._declared: dict[tuple[str, str, tuple[str, ...]], str] = {}

    async def start(self) -> None:
        """Start the sources; they connect in the background.

        Raises:
            SourceError: One of the configuration file can't be set up.
        """
        await self.sources.start()

    async def close(self) -> None:
        """End the sources, and write what is to be written."""
        await self.sources.close()
        await self.approvals.close()
        await self.audit.close()

    async def describe(self, workspace: str) -> str:
        """Give the TypeScript declarations of what the workspace's code can call."""
        catalog = await self.sources.catalog(workspace)
        rules = await self.policies.rules(workspace)
        everybody = Call(workspace, None, "", "", "", "", None)
        hidden = tuple(
            tool.path for tool in catalog.tools if hides(rules, everybody, tool.path)
        )
        place = (workspace, catalog.version, hidden)
        text = self._declared.get(place)
        if text is None:
            left = [tool for tool in catalog.tools if tool.path not in set(hidden)]
            text = await asyncio.to_thread(declare, left)
            if len(self._declared) >= _DECLARED_MAX:
                self._declared.clear()
            self._declared[place] = text
        return text

    async def end_task(self, workspace: str, task_id: str) -> None:
        """Withdraw what a task waits for, because it is over; its audit is written."""
        await self.approvals.end_task(workspace, task_id)
        await self.audit.settle()

    # -- a call ------------------------------------------------------------------------

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
        async with self._slots.hold(call):
            rules = await self.policies.rules(call.workspace)
            first = call.path.partition(".")[0]
            catalog = await self.sources.catalog(
                call.workspace, None if call.path in PATHS else snake(first)
            )
            if call.path in PATHS:
                discovery = self._discovery(call, catalog, rules)
                return PATHS[call.path](discovery, call.input)
            return await self._run(call, catalog, rules, asker, waiting)

    async def _run(
        self,
        call: Call,
        catalog: Catalog,
        rules: Sequence[Rule],
        asker: Asker | None,
        waiting: Callable[[bool], None],
    ) -> Any:
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
            tool, arguments = self._check(call, catalog, rules)
            verdict = self._decide(call, tool, arguments, rules)
        except ToolError as error:
            text = shown(call.input, self._bounds.shown_max).text
            await self.audit.add(
                entry._replace(input=text, outcome="failed", code=error.code)
            )
            raise
        text, fits = shown(arguments, self._bounds.shown_max)
        entry = entry._replace(
            path=tool.path, input=text, decision=verdict.effect, rule=verdict.rule
        )
        if verdict.effect == DENY:
            code = "policy_denied"
            await self.audit.add(entry._replace(outcome="denied", code=code))
            raise ApprovalDeniedError(tool.path, _DENIED, code=code)
        if verdict.effect == REQUIRE_APPROVAL and not fits:
            code = "input_not_reviewable"
            await self.audit.add(entry._replace(outcome="failed", code=code))
            message = (
                f"{tool.path} needs an approval, and a reviewer could not see all of "
                f"the input's fields in {self._bounds.shown_max} characters: send less"
            )
            raise ToolFailedError(message, code=code)
        # In the audit before anything is done.
        entry_id = await self.audit.add(entry._replace(outcome="running"))
        end = Ending(self.audit, call.workspace, entry_id)
        async with end:
            if verdict.effect == REQUIRE_APPROVAL:
                await self._approve(call, tool, verdict, text, asker, waiting, end)
                await self._check_again(call, tool, arguments)
            return await self._make(call, tool, arguments, end)

    def _check(
        self, call: Call, catalog: Catalog, rules: Sequence[Rule]
    ) -> tuple[Tool, dict[str, Any]]:
        """Find the tool, and check the input.

        Raises:
            ToolMissingError: There is none of that name.
            ToolArgumentsError: The input isn't what it takes.
            ToolFailedError: Its source was never reached, or the input is too large.
        """
        tool = catalog.find(call.path)
        if tool is None:
            name = snake(call.path.partition(".")[0])
            source = self.sources.source(call.workspace, name)
            if source is not None and source.version == 0:
                raise source.unavailable()
            raise ToolMissingError(
                call.path,
                catalog.nearest(
                    call.path, lambda other: not hides(rules, call, other.path)
                ),
            )
        arguments = {} if call.input is None else call.input
        if not isinstance(arguments, dict):
            problem = {"field": "input", "error": "must be an object"}
            raise ToolArgumentsError(tool.path, [problem])
        size = len(msgspec.json.encode(arguments))
        if size > self._bounds.input_max:
            message = f"the input has {size} bytes, {self._bounds.input_max} may be"
            raise ToolFailedError(
                message,
                code="input_too_large",
            )
        problems = catalog.checker(tool).problems(arguments)
        if problems:
            raise ToolArgumentsError(tool.path, problems)
        return tool, arguments

    def _decide(
        self,
        call: Call,
        tool: Tool,
        arguments: dict[str, Any],
        rules: Sequence[Rule],
    ) -> Verdict:
        """Decide about the call; where it is several in one, about each of them."""
        source = self.sources.source(call.workspace, tool.source)
        if source is None:
            raise ToolMissingError(tool.path, [])
        verdicts = [
            decide(rules, call, path, given, source.default(reads=reads))
            for path, given, reads in source.parts(tool, arguments)
        ]
        return strictest(verdicts)

    async def _approve(  # noqa: PLR0913, PLR0917 - all of one call
        self,
        call: Call,
        tool: Tool,
        verdict: Verdict,
        text: str,
        asker: Asker | None,
        waiting: Callable[[bool], None],
        end: Ending,
    ) -> None:
        """Wait until the call is approved.

        Raises:
            ApprovalDeniedError: It isn't.
        """
        approval = await self.approvals.request(call, tool, verdict.rule, text)
        end.fields["approval_id"] = approval.id
        waiting(True)  # noqa: FBT003 - the interface of those who run tasks
        try:
            decides = self.approvals.may_decide(admin=call.admin)
            await self.approvals.wait(approval, asker, decides=decides)
        finally:
            waiting(False)  # noqa: FBT003

    async def _check_again(
        self, call: Call, tool: Tool, arguments: dict[str, Any]
    ) -> None:
        """Refuse what was forbidden while an approval was waited for."""
        rules = await self.policies.rules(call.workspace)
        if self._decide(call, tool, arguments, rules).effect == DENY:
            raise ApprovalDeniedError(tool.path, _DENIED, code="policy_denied")

    async def _make(
        self, call: Call, tool: Tool, arguments: dict[str, Any], end: Ending
    ) -> Any:
        source = self.sources.source(call.workspace, tool.source)
        if source is None:  # deleted meanwhile
            raise ToolMissingError(tool.path, [])
        async with self._slots.turn(call):
            end.began = time.perf_counter()
            return await source.call(tool, arguments)

    # -- discovery ---------------------------------------------------------------------

    def _discovery(
        self, call: Call, catalog: Catalog, rules: Sequence[Rule]
    ) -> Discovery:
        def approval(tool: Tool) -> Effect:
            # Rules with conditions may make it stricter; they depend on the input.
            source = self.sources.source(call.workspace, tool.source)
            default = source.default(reads=tool.reads) if source else ALLOW
            plain = [rule for rule in rules if not rule.conditions]
            return decide(plain, call, tool.path, {}, default).effect

        return Discovery(
            catalog, lambda tool: not hides(rules, call, tool.path), approval
        )
