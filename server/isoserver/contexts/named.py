"""Executions that clients have named, so that a request sent again runs nothing twice.

A client that may lose an answer gives its execution an id of its own. The request that
comes again with that id gets the execution that the first one has begun, or begins.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from isoserver.errors import ExecutionNamedError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import TypeAlias

    from isoserver.contexts.context import Context
    from isoserver.contexts.jobs import Execution

    Begun: TypeAlias = tuple[Context, Execution]
    Name: TypeAlias = tuple[str | None, str]

__all__ = ["NamedExecutions"]

_NAMES_MAX: Final = 10_000
"""Of one workspace; the oldest are forgotten."""


class _Known:
    """What is known of one name: where its execution is, and of which request.

    Attributes:
        asked: A hash of the request.
        context_id: Where it runs; None until it has begun.
        execution: It, as long as it isn't over, or if it was refused for now.
        over: Done when it has begun, or could not be begun.
    """

    __slots__ = ("asked", "context_id", "execution", "over")

    def __init__(self, asked: int) -> None:
        self.asked = asked
        self.context_id: str | None = None
        self.execution: Execution | None = None
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def settle(self, _: object) -> None:
        """Let go of the execution, which is over, unless it never began."""
        if self.execution is not None and not self.execution.refused_for_now:
            self.execution = None


class NamedExecutions:
    """The names that clients have given, by workspace. In the event loop only."""

    def __init__(self) -> None:
        """Begin with none."""
        self._names: dict[str, OrderedDict[Name, _Known]] = {}

    async def once(
        self,
        workspace: str,
        name: Name,
        asked: int,
        begin: Callable[[], Awaitable[Begun]],
        join: Callable[[str], Awaitable[Begun]],
    ) -> Begun:
        """Begin an execution, or join the one that has its name.

        Args:
            workspace: Who asks.
            name: The context that is named, if one is, and the execution's id.
            asked: A hash of what is asked, which must be the same each time.
            begin: Begins the execution; tried again if it has failed before, or if
                the execution was refused as its context could not be woken just then.
            join: Finds it in a context, which is named.

        Raises:
            ExecutionNamedError: The id is of another request.
        """
        names = self._names.setdefault(workspace, OrderedDict())
        while (known := names.get(name)) is not None:
            if known.asked != asked:
                raise ExecutionNamedError(name[1])
            await asyncio.wait([known.over])
            refused = known.execution is not None and known.execution.refused_for_now
            if refused and names.get(name) is known:
                del names[name]
            elif known.context_id is not None:
                return await join(known.context_id)
        known = names[name] = _Known(asked)
        while len(names) > _NAMES_MAX:
            names.popitem(last=False)
        try:
            context, execution = await begin()
        except BaseException:
            if names.get(name) is known:
                del names[name]
            raise
        else:
            known.context_id = context.id
            known.execution = execution
            execution.done.add_done_callback(known.settle)
            return context, execution
        finally:
            known.over.set_result(None)
