"""Which contexts there are, and how many there may be."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, defaultdict
from contextlib import contextmanager
from operator import itemgetter
from typing import TYPE_CHECKING, Final
from weakref import WeakValueDictionary

from isoserver.contexts.kernel_ids import kernel_id
from isoserver.errors import (
    ContextDeadError,
    ContextExistsError,
    ContextLimitError,
    EphemeralLimitError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from isoserver.contexts.context import Context, Key
    from isoserver.contexts.records import ContextRecord
    from isoserver.settings.server import ServerSettings

__all__ = ["Registry"]

_GONE_MAX: Final = 10_000
"""Deleted contexts that are remembered; the oldest go."""


class Registry:
    """All contexts of a server, each of one of three sorts.

    live         It has a process, or had one in this server's time and is dead now.
    ephemeral    Live, but for one run: neither listed nor found.
    recorded     Hibernated, or dead since an earlier server: a `ContextRecord` of a few
                 hundred bytes. Whoever finds it gets a context made of it, and the
                 same one as long as anybody holds that.

    Nothing in here waits, so that no context is ever of two sorts, or of none; but for
    `wait_free`, of names that can't be had yet.
    """

    def __init__(
        self, settings: ServerSettings, recall: Callable[[ContextRecord], Context]
    ) -> None:
        """Begin with none.

        Args:
            settings: The server's settings.
            recall: Makes the context, without a process, of a record.
        """
        self._settings = settings
        self._recall = recall
        self._live: dict[Key, Context] = {}
        self._ephemeral: dict[Key, Context] = {}
        self._records: dict[Key, ContextRecord] = {}
        # The same by workspace: there may be very many of others.
        self._recorded: defaultdict[str, dict[Key, ContextRecord]] = defaultdict(dict)
        self._recalled: WeakValueDictionary[Key, Context] = WeakValueDictionary()
        self._gone: OrderedDict[Key, str] = OrderedDict()
        self._clearing: dict[Key, list[asyncio.Future[None]]] = {}

    # -- looking -----------------------------------------------------------------------

    def live(self) -> list[Context]:
        """Return the live contexts, oldest first; no ephemeral ones."""
        return list(self._live.values())

    def processes(self) -> list[Context]:
        """Return the live and the ephemeral contexts."""
        return [*self._live.values(), *self._ephemeral.values()]

    def records(self) -> list[ContextRecord]:
        """Return the records of contexts without a process."""
        return list(self._records.values())

    def in_workspace(self, workspace: str) -> list[Context | ContextRecord]:
        """Return the live and the recorded contexts of a workspace, oldest first."""
        found: list[tuple[float, Context | ContextRecord]] = [
            (record.created_at, record)
            for record in self._recorded.get(workspace, {}).values()
        ]
        found += [
            (context.created_at, context)
            for context in self._live.values()
            if context.workspace == workspace
        ]
        return [one for _, one in sorted(found, key=itemgetter(0))]

    def find(self, key: Key) -> Context | None:
        """Find a live or recorded context."""
        context = self._live.get(key) or self._recalled.get(key)
        if context is not None:
            return context
        record = self._records.get(key)
        if record is None:
            return None
        context = self._recall(record)
        self._recalled[key] = context
        return context

    def find_kernel(self, workspace: str, wanted: str) -> Context | None:
        """Find a context by its UUID."""
        for one in self.in_workspace(workspace):
            if kernel_id(one.key) == wanted:
                return self.find(one.key)
        return None

    def has(self, key: Key) -> bool:
        """Whether a context is here, of whatever sort."""
        return key in self._live or key in self._records or key in self._ephemeral

    def recalled(self, key: Key) -> Context | None:
        """Return the context made of a record, if anybody holds it."""
        return self._recalled.get(key)

    def knows(self, context: Context) -> bool:
        """Whether a context is here; not one that was deleted, whoever has its id."""
        key = context.key
        return self.is_live(context) or (
            key in self._records and self._recalled.get(key) is context
        )

    def holds(self, context: Context) -> bool:
        """Whether a context that is being made has not been deleted."""
        return self.is_live(context) or self._ephemeral.get(context.key) is context

    def is_clearing(self, key: Key) -> bool:
        """Whether what a context leaves that was deleted isn't gone yet."""
        return key in self._clearing

    def is_live(self, context: Context) -> bool:
        """Whether a context is live, and has not been deleted."""
        return self._live.get(context.key) is context

    # -- changes of sort ---------------------------------------------------------------

    def load(self, record: ContextRecord) -> None:
        """Add a record that an earlier server has left."""
        self._put(record)

    def add(self, context: Context) -> None:
        """Add a new context.

        Raises:
            ContextExistsError: There is one of that id.
            ContextLimitError: The limit of live contexts is reached.
        """
        key = context.key
        if key in self._live or key in self._records or key in self._clearing:
            raise ContextExistsError(context.id)
        self.check_room(context.workspace)
        self._live[context.key] = context

    def add_ephemeral(self, context: Context) -> None:
        """Add a new context that is for one run.

        Raises:
            EphemeralLimitError: The limit of such contexts is reached.
        """
        limit = (
            self._settings.executions_running_max + self._settings.tasks_unfinished_max
        )
        if len(self._ephemeral) >= limit:
            raise EphemeralLimitError(limit)
        self._ephemeral[context.key] = context

    def discard(self, context: Context) -> None:
        """Drop a context that could not be made; it may sleep already."""
        key = context.key
        for group in (self._live, self._ephemeral):
            if group.get(key) is context:
                del group[key]
        if self._recalled.get(key) is context:
            self.pop_record(key)

    def revive(self, context: Context) -> None:
        """Have a context live that is about to be restarted.

        Raises:
            ContextDeadError: It was deleted meanwhile.
            ContextLimitError: The limit of live contexts is reached.
        """
        if not self.knows(context):
            reason = "it was deleted"
            raise ContextDeadError(reason)
        if context.key not in self._live:
            self.check_room(context.workspace)
        self._take(context.key)
        self._live[context.key] = context

    def wake(self, context: Context) -> bool:
        """Have a recorded context live; False if it was deleted meanwhile."""
        if not self.knows(context):
            return False
        self._take(context.key)
        self._live[context.key] = context
        return True

    def put_down(self, context: Context, record: ContextRecord) -> None:
        """Have a context recorded that has no process any more, unless deleted."""
        if not self.knows(context):
            return
        self._live.pop(context.key, None)
        self._put(record)
        self._recalled[context.key] = context

    @contextmanager
    def clearing(self, *keys: Key) -> Iterator[None]:
        """Keep names from new contexts until what the old ones leave is gone.

        Rows, files and owners go by the name: they would be those of the new one.
        """
        cleared = asyncio.get_running_loop().create_future()
        for key in keys:
            self._clearing.setdefault(key, []).append(cleared)
        try:
            yield
        finally:
            cleared.set_result(None)
            for key in keys:
                self._clearing[key].remove(cleared)
                if not self._clearing[key]:
                    del self._clearing[key]

    async def wait_free(self, key: Key, seconds: float) -> bool:
        """Wait until a name is free again; False if that takes longer."""
        end = time.monotonic() + seconds
        while clearing := self._clearing.get(key):
            if time.monotonic() >= end:
                return False
            await asyncio.wait(clearing, timeout=end - time.monotonic())
        return True

    def pop(self, key: Key) -> tuple[Context | None, ContextRecord | None]:
        """Drop a context that isn't ephemeral; return it, and its record."""
        self._gone.pop(key, None)
        found = self._live.pop(key, None) or self._recalled.get(key)
        return found, self.pop_record(key)

    def pop_ephemeral(self, key: Key) -> Context | None:
        """Drop an ephemeral context, of which nothing is recorded; return it."""
        return self._ephemeral.pop(key, None)

    def pop_record(self, key: Key) -> ContextRecord | None:
        """Drop a context without a process; return its record."""
        self._recalled.pop(key, None)
        return self._take(key)

    def _put(self, record: ContextRecord) -> None:
        self._records[record.key] = record
        self._recorded[record.workspace][record.key] = record

    def _take(self, key: Key) -> ContextRecord | None:
        record = self._records.pop(key, None)
        if record is not None:
            group = self._recorded[record.workspace]
            del group[key]
            if not group:
                del self._recorded[record.workspace]
        return record

    def clear(self) -> None:
        """Drop the live and the ephemeral contexts, which are all closed."""
        self._live.clear()
        self._ephemeral.clear()

    def note_gone(self, key: Key, reason: str) -> None:
        """Remember why a context was deleted that nobody has asked to delete."""
        self._gone[key] = reason
        self._gone.move_to_end(key)
        while len(self._gone) > _GONE_MAX:
            self._gone.popitem(last=False)

    def why_gone(self, key: Key) -> str:
        """Return why a context isn't there any more; empty if that isn't known."""
        return self._gone.get(key, "")

    # -- limits ------------------------------------------------------------------------

    def check_room(self, workspace: str) -> None:
        """Refuse another live context of a workspace at the limit.

        Raises:
            ContextLimitError: The limit of live contexts is reached.
        """
        if self.crowd(workspace):
            limit = self._settings.contexts_max
            shared = len(self._live) < limit
            limit = self._settings.share_of(limit) if shared else limit
            raise ContextLimitError(limit, shared=shared)

    def crowd(self, workspace: str) -> list[Context]:
        """Return the contexts of which one must go before a workspace gets another.

        All live ones at the server's limit, those of the workspace at its share, none
        if there is room.
        """
        limit = self._settings.contexts_max
        share = self._settings.share_of(limit)
        if len(self._live) >= limit:
            return self.live()
        if share == limit:
            return []
        own = [one for one in self._live.values() if one.workspace == workspace]
        return own if len(own) >= share else []

    def may_hibernate(self, workspace: str, others: Iterable[Key]) -> bool:
        """Whether one more context of a workspace may be hibernated.

        Args:
            workspace: The workspace.
            others: Those that are about to be hibernated as well.
        """
        total = self._settings.hibernated_contexts_max
        others = list(others)
        if len(self._records) + len(others) >= total:
            return False
        owned = len(self._recorded.get(workspace, ()))
        owned += sum(owner == workspace for owner, _ in others)
        return owned < self._settings.share_of(total)
