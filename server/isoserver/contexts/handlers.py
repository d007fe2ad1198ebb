"""Contexts: list, make, show, delete, and what can be asked of one."""

from __future__ import annotations

from http import HTTPStatus

from isoserver.contexts import notebooks
from isoserver.contexts.answers import context_answer, record_answer
from isoserver.contexts.durable import create_from_heap
from isoserver.contexts.models import (
    TIMEOUT_MAX_MS,
    CompleteRequest,
    CreateContextRequest,
    InspectRequest,
    Notebook,
)
from isoserver.contexts.pool import HOME
from isoserver.contexts.records import Record
from isoserver.errors import FieldProblem, InvalidRequestError
from isoserver.http.handlers import Handler

__all__ = [
    "CompleteHandler",
    "ContextHandler",
    "ContextsHandler",
    "ForkHandler",
    "InspectHandler",
    "InterruptHandler",
    "NotebookHandler",
]


class ContextsHandler(Handler):
    """All contexts."""

    def get(self) -> None:
        """List them."""
        contexts = self.service.contexts
        served = contexts.languages.served
        items = [
            record_answer(one, served[one.language])
            if isinstance(one, Record)
            else context_answer(one)
            for one in contexts.of(self.principal.workspace)
        ]
        self.answer({"items": items})

    async def post(self) -> None:
        """Make one."""
        self.check_open()
        asked = self.parse(CreateContextRequest)
        contexts, workspace = self.service.contexts, self.principal.workspace
        cwd = asked.cwd or HOME
        if asked.heap is not None:
            context = await create_from_heap(self.service, workspace, asked, cwd)
        else:
            language = contexts.languages.find(asked.language)
            context = await contexts.create(workspace, language, cwd)
        self.answer(context_answer(context), HTTPStatus.CREATED)


class ContextHandler(Handler):
    """One context."""

    async def get(self, context_id: str) -> None:
        """Show it."""
        context = self.find_context(context_id)
        memory = await context.memory()
        self.answer(context_answer(context, memory))

    async def delete(self, context_id: str) -> None:
        """Delete it; a context that isn't there is as good as deleted."""
        await self.service.contexts.delete(self.principal.workspace, context_id)
        self.clear_header("Content-Type")
        self.set_status(HTTPStatus.NO_CONTENT)


class InterruptHandler(Handler):
    """Stops what runs."""

    def post(self, context_id: str) -> None:
        """Interrupt the context."""
        context = self.find_context(context_id)
        context.interrupt()
        self.answer(context_answer(context))


class ForkHandler(Handler):
    """Makes a context with the same state."""

    async def post(self, context_id: str) -> None:
        """Fork the context."""
        self.check_open()
        contexts = self.service.contexts
        made = await contexts.fork(self.find_context(context_id))
        self.answer(context_answer(made), HTTPStatus.CREATED)


class CompleteHandler(Handler):
    """Completes code."""

    async def post(self, context_id: str) -> None:
        """Say what could stand at the cursor."""
        context = self.find_context(context_id)
        asked = self.parse(CompleteRequest)
        reply = await context.complete(asked.code, _cursor(asked))
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
        """Say what is known of the name at the cursor."""
        context = self.find_context(context_id)
        asked = self.parse(InspectRequest)
        reply = await context.inspect(asked.code, _cursor(asked), asked.detail_level)
        found = bool(reply.get("found", False))
        self.answer({"found": found, "data": reply.get("data", {})})


class NotebookHandler(Handler):
    """The context as a notebook."""

    async def get(self, context_id: str) -> None:
        """Give what was run in the context."""
        context = self.find_context(context_id)
        past = await self.service.contexts.resting.archive.past(context)
        self.answer(notebooks.history(context, past))

    async def post(self, context_id: str) -> None:
        """Run a notebook in the context."""
        self.check_open()
        context = self.find_context(context_id)
        seconds = self._timeout() / 1e3
        self.parse(Notebook)
        notebook = await notebooks.read(self.request.body)
        self.answer(await notebooks.run(context, notebook, seconds))

    def _timeout(self) -> int:
        text = self.get_query_argument("timeout_ms", "30000")
        number = int(text) if text.isdecimal() and len(text) < len("1" * 12) else 0
        if 1 <= number <= TIMEOUT_MAX_MS:
            return number
        problem = f"must be a whole number from 1 to {TIMEOUT_MAX_MS}"
        raise InvalidRequestError(FieldProblem("timeout_ms", problem))


def _cursor(asked: CompleteRequest) -> int:
    end = len(asked.code)
    return end if asked.cursor_pos is None else min(asked.cursor_pos, end)
