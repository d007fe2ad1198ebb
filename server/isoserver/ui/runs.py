"""Runs in the UI: executions and tasks, what they print, and how they end."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from isoserver.errors import RouteMissingError
from isoserver.http.models import cut_page
from isoserver.runs.pages import PageRequest
from isoserver.runs.records import UNENDED, Kind, Status, Wanted
from isoserver.ui.outputs import (
    Room,
    code_view,
    display_view,
    json_view,
    outputs_view,
)
from isoserver.ui.pages import Page
from isoserver.ui.text import cut, terminal

if TYPE_CHECKING:
    from markupsafe import Markup

    from isoserver.runs.records import Ending, RunRecord

__all__ = ["RunActionPage", "RunPage", "RunsPage"]

RUNS_SHOWN: Final = 50
OUTPUT_SHOWN: Final = 64 * 1024
"""Bytes of an execution's output that are shown at once."""
_LOG_SHOWN: Final = 20_000
_DISPLAYS_SHOWN: Final = 50
_APPROVALS_MAX: Final = 1000
_STATUSES: Final = ("running", *(status.value for status in Status if status.final))


def kind_of(name: str) -> Kind:
    """Return the kind of that name.

    Raises:
        RouteMissingError: There is none.
    """
    try:
        return Kind(name)
    except ValueError:
        raise RouteMissingError from None


class RunsPage(Page):
    """The runs of one kind, newest first."""

    area = "runs"

    async def get(self) -> None:
        """List them."""
        given = self.get_query_argument("kind", Kind.SCRIPT.value)
        kind = Kind.TASK if given == Kind.TASK.value else Kind.SCRIPT
        status = self.get_query_argument("status", "")
        wanted = None
        if status == Status.RUNNING.value:
            wanted = UNENDED
        elif status in _STATUSES:
            wanted = frozenset({Status(status)})
        paging = self.paging(RUNS_SHOWN)
        offset = paging["offset"]
        found = await self.parts.runs.list(
            kind, self.principal.workspace, Wanted(RUNS_SHOWN + 1, offset, wanted)
        )
        runs, paging["following"] = cut_page(found, RUNS_SHOWN, offset)
        await self.show(
            "runs.html",
            live=any(not run.status.final for run in runs),
            kind=kind.value,
            status_wanted=status if wanted else "",
            statuses=_STATUSES,
            runs=runs,
            **paging,
        )


class RunPage(Page):
    """One run."""

    area = "runs"

    async def get(self, kind_name: str, run_id: str) -> None:
        """Show how it stands or has ended, with what it has printed."""
        kind, workspace = kind_of(kind_name), self.principal.workspace
        runs = self.parts.runs
        record = await runs.get(kind, workspace, run_id)
        code = await runs.code(kind, workspace, run_id)
        room = Room()
        if kind is Kind.SCRIPT:
            shown = await self._printed(record)
        else:
            shown = {"output": self._live(record, room), "earlier": None}
        approvals: list[Any] = []
        if self.principal.admin and record.status is Status.WAITING:
            pending, _ = await self.parts.tools.approvals.pending(
                workspace, limit=_APPROVALS_MAX
            )
            approvals = [one for one in pending if one.task_id == run_id]
        await self.show(
            "run.html",
            live=not record.status.final,
            run=record,
            code=code_view(code),
            approvals=approvals,
            metadata=_metadata(record),
            **shown,
            **_ended(record.ending, room),
        )

    async def _printed(self, record: RunRecord) -> dict[str, Any]:
        """Return the end of an execution's output, or the part that is asked for."""
        last = max(0, record.output.bytes - OUTPUT_SHOWN)
        start = min(self.number("from", last), record.output.bytes)
        page = await self.parts.runs.page(
            record.workspace,
            record.id,
            PageRequest(byte_offset=start, byte_limit=OUTPUT_SHOWN),
        )
        return {
            "output": terminal(page.data) if page.data else None,
            "earlier": max(0, page.start_byte - OUTPUT_SHOWN)
            if page.start_byte
            else None,
            "later": page.end_byte
            if "from" in self.request.arguments and page.has_more
            else None,
            "total": page.total_bytes,
        }

    def _live(self, record: RunRecord, room: Room) -> Markup | None:
        """Return what a task has put out so far; its end has it afterwards."""
        execution = self.parts.runs.execution(record.kind, record.workspace, record.id)
        if execution is None:
            return None
        return outputs_view(execution.outputs.items, room) or None


def _metadata(record: RunRecord) -> Markup | None:
    metadata = record.details.get("metadata")
    return json_view(json.dumps(metadata)) if metadata else None


def _ended(ending: Ending | None, room: Room) -> dict[str, Any]:
    """Return what a template needs of how a run ended."""
    if ending is None:
        return dict.fromkeys(("result", "logs", "displays", "error"))
    displays = [
        display_view(display.get("data", {}), room)
        for display in ending.displays[:_DISPLAYS_SHOWN]
    ]
    logs = {
        name: terminal(cut([f"{line}\n" for line in lines], _LOG_SHOWN)[0])
        for name, lines in ending.logs.items()
        if lines
    }
    error = None
    if ending.error is not None:
        text = ending.error.stack or f"{ending.error.name}: {ending.error.message}"
        error = terminal(cut([text], _LOG_SHOWN)[0])
    return {
        "result": None if ending.result is None else json_view(ending.result),
        "logs": logs,
        "displays": displays,
        "error": error,
    }


class RunActionPage(Page):
    """Ends a run."""

    async def post(self, kind_name: str, run_id: str) -> None:
        """Cancel it."""
        kind = kind_of(kind_name)
        await self.parts.runs.cancel(kind, self.principal.workspace, run_id)
        self.go("runs", kind_name, run_id)
