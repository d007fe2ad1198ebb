"""Contexts that last: checkpoints of them, and contexts that begin from a heap."""

from __future__ import annotations

from typing import TYPE_CHECKING

from isoserver.contexts.answers import context_answer
from isoserver.contexts.records import Checkpoint
from isoserver.errors import FieldProblem, InvalidRequestError
from isoserver.heaps.models import RestartRequest
from isoserver.http.handlers import Handler

if TYPE_CHECKING:
    from isoserver.contexts.context import Context
    from isoserver.contexts.models import CreateContextRequest
    from isoserver.http.service import Service

__all__ = ["CheckpointHandler", "RestartHandler", "create_from_heap"]


class CheckpointHandler(Handler):
    """Saves a context."""

    async def post(self, context_id: str) -> None:
        """Save the context's heap, and give its key."""
        self.check_open()
        context = self.find_context(context_id)
        heap = await self.service.contexts.resting.checkpoint(context)
        self.answer({"heap": heap})


class RestartHandler(Handler):
    """Begins anew."""

    async def post(self, context_id: str) -> None:
        """Restart the context, with nothing or from its last checkpoint."""
        self.check_open()
        context = self.find_context(context_id)
        asked = self.parse(RestartRequest) if self.request.body else None
        if asked is not None and asked.from_ == "checkpoint":
            await self.service.contexts.reopen(context)
        else:
            await self.service.contexts.restart(context)
        self.answer(context_answer(context))


async def create_from_heap(
    service: Service, workspace: str, asked: CreateContextRequest, cwd: str
) -> Context:
    """Make a context that goes on from a heap of the workspace.

    Raises:
        HeapError: The workspace has no such heap, or it can't be used.
        InvalidRequestError: The language isn't one of V8.
    """
    key = asked.heap or ""
    heap = await service.heaps.get(workspace, key)
    language = service.contexts.languages.find(asked.language or heap.language)
    if language.engine != "v8":
        problem = f"a {language.name} context can't begin from a heap"
        raise InvalidRequestError(FieldProblem("heap", problem))
    snapshot = await service.heaps.load(workspace, key)
    checkpoint = Checkpoint(key, heap.execution_count, heap.created_at)
    return await service.contexts.create(
        workspace, language, cwd, snapshot=snapshot, checkpoint=checkpoint
    )
