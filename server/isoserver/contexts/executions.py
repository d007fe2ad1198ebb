"""Executions of all contexts of a server: begun, and found again by their ids."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from isokernel.capabilities import read_policy
from isoserver.contexts.calls import OF_REQUEST
from isoserver.contexts.context import State, id_made_for
from isoserver.contexts.history import cell_content
from isoserver.contexts.named import NamedExecutions
from isoserver.errors import (
    ExecutionForgottenError,
    ExecutionMissingError,
    ExecutionNamedError,
)

if TYPE_CHECKING:
    from isoserver.contexts.context import Context
    from isoserver.contexts.history import Cell
    from isoserver.contexts.jobs import Execution
    from isoserver.contexts.ownership import Ownership
    from isoserver.contexts.service import Contexts
    from isoserver.contexts.store import ContextStore

__all__ = ["CellOrder", "Executions"]


class CellOrder(NamedTuple):
    """A cell that is to run.

    Attributes:
        workspace: Who asks.
        context_id: The context; None for a new one, which is deleted again if it can't
            take the cell.
        language: What the code is in, by any of its names; None for the context's, or
            the server's default.
        code: The source text.
        seconds: How long it may run, from its beginning.
        policy: Narrows what the code may do beyond the context; a new context is
            narrowed for good.
        execution_id: What the client calls the execution; a number if None.
        env: Environment variables, for this execution only.
        options: Those of `Execution`.
    """

    workspace: str
    context_id: str | None
    language: str | None
    code: str
    seconds: float
    policy: dict[str, Any] | None = None
    execution_id: str | None = None
    env: dict[str, str] | None = None
    options: dict[str, Any] | None = None


class Executions:
    """The executions of one server's contexts. Used from the event loop."""

    def __init__(self, contexts: Contexts, store: ContextStore) -> None:
        """Begin with none.

        Args:
            contexts: Where they run.
            store: What the contexts have run by now.
        """
        self._contexts = contexts
        self._store = store
        self._named = NamedExecutions()

    async def begin(self, order: CellOrder) -> tuple[Context, Execution]:
        """Begin to run a cell in a context, or in a new one.

        With an id that an earlier request has named, return what that has begun.

        Raises:
            ContextError: There is no such context, or it is dead.
            ElsewhereError: Another server has it.
            ExecutionNamedError: The id is of another request.
            ExecutionForgottenError: It is of one that is over, and no longer kept.
            InvalidRequestError: The language isn't served, or the context can't run it.
            LimitError: A limit of contexts or of waiting jobs is reached.
        """
        workspace, context_id = order.workspace, order.context_id
        execution_id = order.execution_id
        if context_id is not None:
            await self._contexts.adopt(workspace, context_id)
        if execution_id is None:
            return await self._begin(order)
        begin = partial(self._begin_named, order, execution_id)
        join = partial(self._join, workspace, execution_id)
        name, asked = (context_id, execution_id), hash((order.code, order.language))
        return await self._named.once(workspace, name, asked, begin, join)

    async def _begin_named(
        self, order: CellOrder, execution_id: str
    ) -> tuple[Context, Execution]:
        """Begin it, unless its context has it, perhaps from an earlier server."""
        if order.context_id is None and self._contexts.ownership is not None:
            return await self._begin_anywhere(
                order, execution_id, self._contexts.ownership
            )
        if order.context_id is not None:
            context = self._contexts.get(order.workspace, order.context_id)
            with suppress(ExecutionMissingError):
                return context, await self._begun(context, execution_id, order.code)
        return await self._begin(order)

    async def _begin_anywhere(
        self, order: CellOrder, execution_id: str, ownership: Ownership
    ) -> tuple[Context, Execution]:
        """Begin it in a context of its own, which any server finds by its id."""
        contexts, key = self._contexts, (order.workspace, id_made_for(execution_id))
        await ownership.adopt(key)
        if contexts.has(*key):
            context = contexts.get(*key)
            try:
                return context, await self._begun(context, execution_id, order.code)
            except ExecutionMissingError:
                if context.state is not State.DEAD or context.execution_count:
                    raise ExecutionForgottenError(execution_id, key[1]) from None
                # It was lost with its server, before the execution was over.
                await contexts.delete(*key)
        return await self._begin(order, made_as=key[1])

    async def _begun(self, context: Context, execution_id: str, code: str) -> Execution:
        """Return the execution that a context has of that id, if it has that code."""
        known = await self.find(context, execution_id)
        if known.code != code:
            raise ExecutionNamedError(execution_id)
        return known

    async def _join(
        self, workspace: str, execution_id: str, context_id: str
    ) -> tuple[Context, Execution]:
        context = self._contexts.get(workspace, context_id)
        try:
            return context, await self.find(context, execution_id)
        except ExecutionMissingError:
            raise ExecutionForgottenError(execution_id, context_id) from None

    async def _begin(
        self, order: CellOrder, made_as: str | None = None
    ) -> tuple[Context, Execution]:
        contexts, workspace = self._contexts, order.workspace
        asked: dict[str, Any] = {
            "env": order.env,
            "options": order.options,
            "execution_id": order.execution_id,
        }
        language, policy = order.language, order.policy
        if order.context_id is not None:
            context = contexts.get(workspace, order.context_id)
            spoken = None if language is None else contexts.languages.find(language)
            narrowing = read_policy(policy, setting=OF_REQUEST) if policy else None
            return context, context.execute(
                order.code, order.seconds, language=spoken, policy=narrowing, **asked
            )
        spoken = contexts.languages.find(language)
        context = await contexts.create(
            workspace, spoken, policy=policy, context_id=made_as
        )
        try:
            return context, context.execute(order.code, order.seconds, **asked)
        except BaseException:
            await contexts.delete(workspace, context.id)
            raise

    async def find(self, context: Context, execution_id: str) -> Execution:
        """Find an execution of a context, as long as its history has it.

        Raises:
            ExecutionMissingError: It has none of that id.
        """
        found = context.find(execution_id)
        if found is None:
            cell = await self._store.cell(context, execution_id)
            if cell is None:
                raise ExecutionMissingError(execution_id)
            found = cell.execution(context.language)
        return found

    async def history(self, context: Context) -> list[dict[str, Any]]:
        """Return what a context has run, oldest first; see `cell_content`."""
        stored = [cell.content() for cell in await self._store.cells(context)]
        return stored + [cell_content(done) for done in context.history.executions]

    async def stored_cells(
        self, context: Context, count: int, size_max: int
    ) -> list[Cell]:
        """Return the last cells that a context has stored and doesn't remember.

        Args:
            context: The context; it is left asleep.
            count: How many at most.
            size_max: Characters that they may have together.
        """
        return await self._store.last_cells(context, count, size_max)
