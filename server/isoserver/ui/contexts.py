"""The UI's first page, and that of one context: what it is, has run, and can run."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple
from urllib.parse import quote

from isokernel.errors import FileError
from isoserver.contexts.context import State
from isoserver.contexts.handlers import NotebookHandler
from isoserver.contexts.jobs import Execution
from isoserver.contexts.languages import unfenced
from isoserver.contexts.records import ContextRecord
from isoserver.errors import (
    ContextFileError,
    FieldProblem,
    InvalidRequestError,
    RouteMissingError,
)
from isoserver.files.handlers import FileHandler
from isoserver.http.models import cut_page
from isoserver.runs.records import UNENDED, Kind, Wanted
from isoserver.ui.outputs import CellView, Room
from isoserver.ui.pages import Page

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from isoserver.contexts.context import Context
    from isoserver.runs.records import RunRecord

__all__ = [
    "ContextActionPage",
    "ContextFilePage",
    "ContextNotebookPage",
    "ContextPage",
    "OverviewPage",
]

CONTEXTS_SHOWN: Final = 50
CELLS_SHOWN: Final = 20
_STORED_CHARACTERS: Final = 1_000_000
FILES_SHOWN: Final = 200
_RUNS_SHOWN: Final = 20
_ASKED_SHOWN: Final = 50
_POLICIES: Final = ("workspace", "narrowed", "context")
_APPROVALS_SHOWN: Final = 5
_SECONDS_DEFAULT: Final = 30
_SECONDS_MAX: Final = 86_400
_LIVE: Final = (State.BUSY, State.STARTING)


class ContextView(NamedTuple):
    """A context as lists show it.

    Attributes:
        id: Its id.
        language: Its language's name.
        state: What it is doing.
        reason: Why it is dead, or what was lost.
        created_at: When it was made, in seconds since 1970.
        last_used: When it was last used.
        execution_count: How many cells it has run.
        memory: Bytes that its process uses; 0 without one.
    """

    id: str
    language: str
    state: str
    reason: str
    created_at: float
    last_used: float
    execution_count: int
    memory: int = 0

    @classmethod
    def of(cls, one: Context | ContextRecord) -> ContextView:
        """View a context without its memory."""
        record = (
            one
            if isinstance(one, ContextRecord)
            else ContextRecord.of(one, one.state.value, one.reason)
        )
        return cls(
            record.id,
            record.language,
            record.state,
            record.reason,
            record.created_at,
            record.last_used,
            record.execution_count,
        )


class OverviewPage(Page):
    """What there is and what happens: contexts, runs, what waits for a decision."""

    area = "overview"

    async def get(self) -> None:
        """Show all of it, contexts page by page."""
        workspace = self.principal.workspace
        contexts = self.parts.contexts
        found = await contexts.everywhere(workspace)
        found.sort(key=attrgetter("last_used"), reverse=True)
        states = Counter(
            one.state if isinstance(one, ContextRecord) else one.state.value
            for one in found
        )
        paging = self.paging(CONTEXTS_SHOWN)
        offset = paging["offset"]
        page, paging["following"] = cut_page(
            found[offset : offset + CONTEXTS_SHOWN + 1], CONTEXTS_SHOWN, offset
        )
        memory = await asyncio.gather(*map(_memory, page))
        views = [
            ContextView.of(one)._replace(memory=taken)
            for one, taken in zip(page, memory, strict=True)
        ]
        running = await self._running()
        approvals: list[Any] = []
        if self.principal.admin:
            approvals, _ = await self.parts.tools.approvals.pending(
                workspace, limit=_APPROVALS_SHOWN
            )
        await self.show(
            "overview.html",
            live=bool(running or states["busy"] or states["starting"]),
            contexts=views,
            states=states,
            **paging,
            running=running,
            approvals=approvals,
            languages=contexts.languages,
        )

    async def _running(self) -> list[RunRecord]:
        wanted = Wanted(_RUNS_SHOWN, statuses=UNENDED)
        workspace = self.principal.workspace
        found = [
            record
            for kind in Kind
            for record in await self.parts.runs.list(kind, workspace, wanted)
        ]
        found.sort(key=lambda record: -record.created_at)
        return found[:_RUNS_SHOWN]

    async def post(self) -> None:
        """Make a context, blank or from a heap."""
        self.check_open()
        contexts = self.parts.contexts
        language, heap = self.field("language"), self.field("heap")
        context = await contexts.create(
            self.principal.workspace,
            contexts.languages.find(language) if language else None,
            heap=heap or None,
        )
        self.go("contexts", context.id)


async def _memory(one: Context | ContextRecord) -> int:
    """Return the bytes that a context's process uses, its share of what is shared."""
    if isinstance(one, ContextRecord):
        return 0
    told = await one.process.memory() or {}
    return told.get("pss") or told.get("rss") or 0


class ContextPage(Page):
    """One context."""

    area = "overview"

    async def get(self, context_id: str) -> None:
        """Show it; that doesn't count as use, and leaves it asleep."""
        context = self.find_context(context_id)
        memory = await context.process.memory()
        allowed = self.parts.capabilities.shown(context.key)
        policies = {name: allowed[name] for name in _POLICIES if allowed[name]}
        await self.show(
            "context.html",
            live=context.state in _LIVE or context.waiting > 0,
            context=context,
            state=context.state.value,
            memory=memory or {},
            fronts=self.parts.fronts.connections(context),
            asked=allowed["asked"][-_ASKED_SHOWN:],
            allowed=json.dumps(policies, indent=2, ensure_ascii=False),
            seconds=_SECONDS_DEFAULT,
            cells_shown=CELLS_SHOWN,
            cells=await self._cells(context),
            files=await self._files(context),
            **_packages(context),
        )

    async def _cells(self, context: Context) -> list[CellView]:
        """View the last cells, and the one that runs; the newest have most room."""
        room = Room()
        current = context.current
        done = list(context.history.executions)[-CELLS_SHOWN:]
        if isinstance(current, Execution) and not current.silent:
            done.append(current)
        views = [CellView.of(one, room) for one in reversed(done)]
        missing = CELLS_SHOWN - len(views)
        if missing > 0:
            stored = await self.parts.contexts.executions.stored_cells(
                context, missing, _STORED_CHARACTERS
            )
            views += [
                CellView.of_stored(cell.number, cell.content(), room)
                for cell in reversed(stored)
            ]
        return views[::-1]

    async def _files(self, context: Context) -> dict[str, Any]:
        """List a folder of the context's."""
        files = self.parts.files
        path = self.get_query_argument("path", "").strip("/")
        offset = self.number("files")
        folder = await asyncio.to_thread(files.find, context.key)
        shown: dict[str, Any] = {"path": path, "entries": [], "usage": None}
        shown["more"] = None
        if folder is None:
            return shown
        try:
            found = await asyncio.to_thread(partial(folder.list, path or "/"))
            shown["usage"] = await asyncio.to_thread(folder.usage)
        except FileError as error:
            if path:
                raise ContextFileError.of(error) from None
            return shown  # its kernel has just ended
        page, shown["more"] = cut_page(
            found[offset : offset + FILES_SHOWN + 1], FILES_SHOWN, offset
        )
        shown["entries"] = [
            {
                "name": one.path,
                "path": f"{path}/{one.path}".lstrip("/"),
                "kind": one.kind,
                "size": one.facts.st_size,
                "at": one.facts.st_mtime,
            }
            for one in page
        ]
        return shown


def _packages(context: Context) -> dict[str, Any]:
    """Return what a context's lock has; an earlier server's is in its heap."""
    from isokernel.packages.lock import Lock  # noqa: PLC0415 - few ask

    lock: Mapping[str, Any] = context.calls.lock
    locked = Lock(dict(lock))
    return {
        "packages": locked.listed(),
        "modules": locked.listed_addresses(),
        "asleep": context.state is State.HIBERNATED and not lock,
    }


class ContextActionPage(Page):
    """What can be done with a context; each action is a method here."""

    area = "overview"

    async def post(self, context_id: str, action: str) -> None:
        """Do it, and show the context again, or what came of it."""
        act = self._ACTIONS.get(action)
        if act is None:
            raise RouteMissingError
        await act(self, self.find_context(context_id))

    async def _run(self, context: Context) -> None:
        """Run a cell; the page shows it while it runs."""
        self.check_open()
        code = self.field("code")
        if not code.strip():
            raise InvalidRequestError(FieldProblem("code", "is empty"))
        text = self.field("seconds", str(_SECONDS_DEFAULT))
        seconds = int(text) if text.isdecimal() and len(text) <= 5 else 0  # noqa: PLR2004
        if not 1 <= seconds <= _SECONDS_MAX:
            problem = f"must be a whole number from 1 to {_SECONDS_MAX}"
            raise InvalidRequestError(FieldProblem("seconds", problem))
        context.execute(unfenced(code), float(seconds))
        self.go("contexts", context.id)

    async def _interrupt(self, context: Context) -> None:
        context.interrupt()
        self.go("contexts", context.id)

    async def _restart(self, context: Context) -> None:
        self.check_open()
        await self.parts.contexts.restart(
            context, from_checkpoint=self.field("from") == "checkpoint"
        )
        self.go("contexts", context.id)

    async def _save(self, context: Context) -> None:
        self.check_open()
        key = await self.parts.contexts.checkpoint(context)
        self.go("heaps", key)

    async def _fork(self, context: Context) -> None:
        self.check_open()
        fork = await self.parts.contexts.fork(context)
        self.go("contexts", fork.id)

    async def _delete(self, context: Context) -> None:
        await self.parts.contexts.delete(context.workspace, context.id)
        self.go("")

    _ACTIONS: ClassVar[
        dict[str, Callable[[ContextActionPage, Context], Awaitable[None]]]
    ] = {
        "run": _run,
        "interrupt": _interrupt,
        "restart": _restart,
        "save": _save,
        "fork": _fork,
        "delete": _delete,
    }


class ContextNotebookPage(Page, NotebookHandler):
    """All cells of a context, as a notebook to download."""

    async def get(self, context_id: str) -> None:
        """Send it."""
        name = quote(f"{context_id[:64]}.ipynb", safe="")
        self.set_header("Content-Disposition", f"attachment; filename*=UTF-8''{name}")
        await super().get(context_id)


class ContextFilePage(Page, FileHandler):
    """A file of a context, to download."""
