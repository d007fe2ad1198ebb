"""The HTTP handlers of contexts: each parses, calls the parts, and answers."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import lru_cache
from http import HTTPStatus
from importlib import import_module
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from isoserver.contexts.executions import CellOrder
from isoserver.contexts.jobs import Failure
from isoserver.contexts.languages import unfenced
from isoserver.contexts.models import (
    TIMEOUT_MAX_MS,
    CellRequest,
    CompleteRequest,
    CreateContextRequest,
    ExecuteRequest,
    ForksRequest,
    InspectRequest,
    Notebook,
    StreamRequest,
    context_answer,
    execution_answer,
    failed_answer,
    item_answers,
    known_answer,
    note_language,
    record_answer,
    webhook_body,
)
from isoserver.contexts.records import ContextRecord
from isoserver.contexts.result_files import whole_options
from isoserver.contexts.service import HOME
from isoserver.contexts.streams import (
    ExecutionStream,
    JupyterEvents,
    LineEvents,
    read_place,
)
from isoserver.errors import ExecutionEndedError, FieldProblem, InvalidRequestError
from isoserver.heaps.models import RestartRequest
from isoserver.http.handlers import Handler
from isoserver.http.routes import WAIT_MAX_MS
from isoserver.settings.rules import policy_of

if TYPE_CHECKING:
    from isoserver.contexts.context import Context
    from isoserver.contexts.jobs import Execution
    from isoserver.contexts.messages import Message
    from isoserver.contexts.streams import Place

__all__ = [
    "CheckpointHandler",
    "CompleteHandler",
    "ContextHandler",
    "ContextsHandler",
    "ExecuteHandler",
    "ExecutionCancelHandler",
    "ExecutionEventsHandler",
    "ExecutionHandler",
    "ForkHandler",
    "InspectHandler",
    "InterruptHandler",
    "LanguagesHandler",
    "NotebookHandler",
    "RestartHandler",
    "StreamHandler",
]

_CONTINUE, _INTERRUPT = "continue", "interrupt"
_LINES, _JUPYTER = "lines", "jupyter"


@lru_cache(maxsize=1024)
def _header_text(context_id: str) -> str:
    """Return an id as a header has it: those that clients choose may not be ASCII."""
    return quote(context_id, safe=":@+")


# -- running code ----------------------------------------------------------------------


class _ExecutingHandler(Handler):
    """Root of what runs a cell: begins it, and decides what a lost client means."""

    context: Context | None = None
    execution: Execution | None = None
    on_disconnect = _CONTINUE

    async def begin(self, asked: CellRequest) -> tuple[Context, Execution]:
        """Queue a cell in its context, or in a new one."""
        self.check_open()
        self.on_disconnect = self.choice("on_disconnect", _CONTINUE, _INTERRUPT)
        env = asked.env_vars if isinstance(asked, ExecuteRequest) else None
        # The value's JSON is asked for as well, and a promise as the value is awaited.
        options = {
            "announce": False,  # nobody would hear it
            "result_json": True,
            "value_json": True,
            "result_max": asked.result_characters_max or 0,
            **whole_options(self.parts.settings),
        }
        order = CellOrder(
            self.principal.workspace,
            asked.context_id,
            asked.language,
            unfenced(asked.code),
            asked.timeout_ms / 1e3,
            policy=policy_of(asked.capabilities),
            execution_id=asked.execution_id,
            env=env,
            options=options,
        )
        self.context, self.execution = await self.parts.contexts.executions.begin(order)
        if asked.language is None and self.execution.language.name == "python":
            self.execution.listeners.append(self._note_language)
        # Not with set_header, which checks what is known to be good.
        self._headers["X-Context-Id"] = _header_text(self.context.id)
        if self.gone:
            self._let_go()
        return self.context, self.execution

    def _note_language(self, message: Message) -> None:
        if message.kind == "execute_reply" and self.execution is not None:
            note_language(self.execution)

    def on_connection_close(self) -> None:
        """Leave the execution running, unless the client asked otherwise."""
        super().on_connection_close()
        self._let_go()

    def _let_go(self) -> None:
        if self.context is None or self.execution is None:
            return
        if self.on_disconnect == _INTERRUPT and not self.execution.done.done():
            self.context.cancel(self.execution)


class ExecuteHandler(_ExecutingHandler):
    """POST /execute: run a cell and wait for all of it."""

    async def post(self) -> None:
        """Run the code of the body."""
        context, execution = await self.begin(self.parse(ExecuteRequest))
        execution.awaited = True
        try:
            await execution.done
        finally:
            execution.awaited = False
        if execution.failure is not None and self.parts.cluster is not None:
            self.parts.cluster.check()  # else it failed because of that
        if not self.gone:
            self.answer(execution_answer(context, execution))

    def internal_error(self, status: HTTPStatus) -> None:
        """Answer in the form of an execution, as documented."""
        context_id = "" if self.context is None else self.context.id
        failure = Failure.without_traceback(
            "InternalError", "the server failed; its log says why"
        )
        with suppress(RuntimeError):  # the answer has begun
            self.answer(failed_answer(context_id, failure), status)


class _StreamingHandler(_ExecutingHandler):
    """Root of what sends the events of an execution."""

    stream: ExecutionStream | None = None
    lines = False

    def read_query(self) -> Place | None:
        """Read how events are wanted, and which the client has."""
        self.lines = self.choice("format", _LINES, _JUPYTER) == _LINES
        text = self.request.headers.get("Last-Event-ID")
        text = self.get_query_argument("last_event_id", text)
        if not text:
            return None
        place = read_place(text)
        if place is None:
            problem = "must be the id of one of the stream's events"
            raise InvalidRequestError(FieldProblem("Last-Event-ID", problem))
        return place

    async def send(
        self, context: Context, execution: Execution, place: Place | None, *, late: bool
    ) -> None:
        """Send the events after a place, until the last one."""
        events = (LineEvents if self.lines else JupyterEvents)(execution, item_answers)
        stream = self.stream = ExecutionStream(context, execution, events, place)
        try:
            if late:
                stream.take_late()
            text = stream.read()
            if stream.ended and not text:  # so that browsers don't ask again
                self.clear_header("Content-Type")
                self.set_status(HTTPStatus.NO_CONTENT)
                return
            self.set_header("X-Execution-Id", _header_text(execution.execution_id))
            await self.send_events(stream, text)
        finally:
            stream.close()

    def on_connection_close(self) -> None:
        """Follow the execution no more: what comes late is for others."""
        super().on_connection_close()
        if self.stream is not None:
            self.stream.close()


class StreamHandler(_StreamingHandler):
    """POST /execute/async: run a cell and send events while it runs."""

    async def post(self) -> None:
        """Run the code of the body."""
        place = self.read_query()
        asked = self.parse(StreamRequest)
        if place is not None and asked.execution_id is None:
            # A client that connects anew by itself would run its code twice.
            problem = "only a request with `execution_id` can be sent again"
            raise InvalidRequestError(FieldProblem("Last-Event-ID", problem))
        hook, webhooks = asked.webhook, self.parts.webhooks
        if hook is not None:
            webhooks.check(self.principal.workspace, hook.order())
        context, execution = await self.begin(asked)
        subject = f"{context.id}/{execution.execution_id}"
        if hook is not None and not execution.has_webhook:
            execution.has_webhook = True
            ordered = context.workspace, hook.order(), "cell", subject
            await webhooks.order(*ordered, self.principal.client)
            execution.done.add_done_callback(
                lambda _: self._tell(context, execution, output=hook.output)
            )
        await self.send(context, execution, place, late=place is None)

    def _tell(self, context: Context, execution: Execution, *, output: bool) -> None:
        """Have a webhook sent, now that an execution is over."""
        subject = f"{context.id}/{execution.execution_id}"
        body = webhook_body(context, execution, output=output)
        self.parts.webhooks.end_soon(context.workspace, subject, "cell.ended", body)


# -- executions ------------------------------------------------------------------------


class ExecutionHandler(Handler):
    """One execution of a context."""

    async def get(self, context_id: str, execution_id: str) -> None:
        """Answer how it stands, now or when it is over."""
        seconds = self.whole_number("wait_ms", 0, 0, WAIT_MAX_MS) / 1e3
        context = self.find_context(context_id)
        execution = await self.parts.contexts.executions.find(context, execution_id)
        if seconds and not execution.done.done():
            await asyncio.wait([execution.done], timeout=seconds)
        if not self.gone:
            self.answer(known_answer(context, execution))


class ExecutionCancelHandler(Handler):
    """Ends one execution of a context."""

    async def post(self, context_id: str, execution_id: str) -> None:
        """Cancel it, whether it waits or runs."""
        context = self.find_context(context_id)
        execution = await self.parts.contexts.executions.find(context, execution_id)
        if execution.done.done():
            raise ExecutionEndedError(execution_id, execution.status)
        context.cancel(execution)
        self.answer(known_answer(context, execution))


class ExecutionEventsHandler(_StreamingHandler):
    """The events of one execution of a context."""

    async def get(self, context_id: str, execution_id: str) -> None:
        """Send those that the client hasn't, while they come."""
        place = self.read_query()
        context = self.find_context(context_id)
        execution = await self.parts.contexts.executions.find(context, execution_id)
        self.set_header("X-Context-Id", _header_text(context.id))
        await self.send(context, execution, place, late=False)


# -- contexts --------------------------------------------------------------------------


class ContextsHandler(Handler):
    """All contexts of the workspace."""

    async def get(self) -> None:
        """List them."""
        contexts, workspace = self.parts.contexts, self.principal.workspace
        served = contexts.languages.served
        found = await contexts.everywhere(workspace)
        saved = await contexts.durabilities(workspace)
        items = [
            record_answer(one, served[one.language], durability=saved.get(one.key))
            if isinstance(one, ContextRecord)
            else context_answer(one)
            for one in found
        ]
        self.answer({"items": items})

    async def post(self) -> None:
        """Make one, blank or from a heap."""
        self.check_open()
        asked = self.parse(CreateContextRequest)
        contexts, language = self.parts.contexts, None
        if asked.language is not None:
            language = contexts.languages.find(asked.language)
        context = await contexts.create(
            self.principal.workspace,
            language,
            asked.cwd or HOME,
            heap=asked.heap,
            policy=policy_of(asked.capabilities),
            packages=asked.packages,
            durability=asked.durability_seconds,
        )
        self.answer(context_answer(context), HTTPStatus.CREATED)


class ContextHandler(Handler):
    """One context."""

    async def get(self, context_id: str) -> None:
        """Answer what it is and how much memory it uses."""
        context = self.find_context(context_id)
        self.answer(context_answer(context, await context.process.memory()))

    async def delete(self, context_id: str) -> None:
        """Delete it; a context that isn't there is as good as deleted."""
        await self.parts.contexts.delete(self.principal.workspace, context_id)
        self.clear_header("Content-Type")
        self.set_status(HTTPStatus.NO_CONTENT)


class InterruptHandler(Handler):
    """Stops what runs."""

    def post(self, context_id: str) -> None:
        """Interrupt the context."""
        context = self.find_context(context_id)
        context.interrupt()
        self.answer(context_answer(context))


class RestartHandler(Handler):
    """Has a context begin anew."""

    async def post(self, context_id: str) -> None:
        """Restart the context, with nothing or from its last checkpoint."""
        self.check_open()
        context = self.find_context(context_id)
        asked = self.parse(RestartRequest) if self.request.body else None
        from_checkpoint = asked is not None and asked.from_ == "checkpoint"
        await self.parts.contexts.restart(context, from_checkpoint=from_checkpoint)
        self.answer(context_answer(context))


class ForkHandler(Handler):
    """Makes contexts with the state of another."""

    async def post(self, context_id: str) -> None:
        """Fork the context."""
        self.check_open()
        fork = await self.parts.contexts.fork(self.find_context(context_id))
        self.answer(context_answer(fork), HTTPStatus.CREATED)


class ForksHandler(Handler):
    """Makes several contexts with the state of another."""

    async def post(self, context_id: str) -> None:
        """Fork the context so many times, all at one moment."""
        self.check_open()
        context = self.find_context(context_id)
        asked = self.parse(ForksRequest)
        forks = await self.parts.contexts.forks(context, asked.count)
        self.answer({"items": list(map(context_answer, forks))}, HTTPStatus.CREATED)


class CheckpointHandler(Handler):
    """Saves a context."""

    async def post(self, context_id: str) -> None:
        """Save the context, and answer the heap key."""
        self.check_open()
        context = self.find_context(context_id)
        self.answer({"heap": await self.parts.contexts.checkpoint(context)})


class CompleteHandler(Handler):
    """Completes code."""

    async def post(self, context_id: str) -> None:
        """Answer what could stand at the cursor."""
        context = self.find_context(context_id)
        asked = self.parse(CompleteRequest)
        content = {"code": asked.code, "cursor_pos": _cursor(asked)}
        reply = await context.ask("complete_request", content)
        self.answer(
            {
                "matches": reply.get("matches", []),
                "cursor_start": reply.get("cursor_start", 0),
                "cursor_end": reply.get("cursor_end", 0),
                "metadata": reply.get("metadata", {}),
            }
        )


class InspectHandler(Handler):
    """Explains code."""

    async def post(self, context_id: str) -> None:
        """Answer what is known of the name at the cursor."""
        context = self.find_context(context_id)
        asked = self.parse(InspectRequest)
        content = {
            "code": asked.code,
            "cursor_pos": _cursor(asked),
            "detail_level": asked.detail_level,
        }
        reply = await context.ask("inspect_request", content)
        found = bool(reply.get("found", False))
        self.answer({"found": found, "data": reply.get("data", {})})


class NotebookHandler(Handler):
    """The context as a notebook."""

    async def get(self, context_id: str) -> None:
        """Answer what was run in the context."""
        context = self.find_context(context_id)
        contents = await self.parts.contexts.executions.history(context)
        notebooks = await _notebooks()
        self.answer(notebooks.history(context, contents))

    async def post(self, context_id: str) -> None:
        """Run a notebook in the context."""
        self.check_open()
        context = self.find_context(context_id)
        seconds = self.whole_number("timeout_ms", 30_000, 1, TIMEOUT_MAX_MS) / 1e3
        self.parse(Notebook)
        notebooks = await _notebooks()
        notebook = await notebooks.read(self.request.body)
        self.answer(await notebooks.run(context, notebook, seconds))


async def _notebooks() -> Any:
    """Load what handles notebooks: with JupyterLab installed, nbformat takes 3 s."""
    return await asyncio.to_thread(import_module, "isoserver.contexts.notebooks")


def _cursor(asked: CompleteRequest) -> int:
    end = len(asked.code)
    return end if asked.cursor_pos is None else min(asked.cursor_pos, end)


class LanguagesHandler(Handler):
    """What code can be in."""

    def get(self) -> None:
        """List the languages."""
        languages = self.parts.contexts.languages
        items = [
            {
                "name": language.name,
                "aliases": languages.names(language),
                "number": language.number,
                "engine": language.engine,
                "can_fork": language.engine == "v8",
            }
            for language in languages.served.values()
        ]
        self.answer({"default": languages.default, "items": items})
