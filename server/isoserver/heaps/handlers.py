"""Heaps under /api: listed, shown, tagged, deleted; and the histories of sessions."""

from __future__ import annotations

from isoserver.errors import FieldProblem, InvalidRequestError
from isoserver.heaps.models import (
    HeapListQuery,
    TagsRequest,
    entry_answer,
    heap_answer,
)
from isoserver.heaps.records import choose_fields, is_key, split_names
from isoserver.http.handlers import Handler
from isoserver.http.models import cut_page

__all__ = [
    "HeapHandler",
    "HeapsHandler",
    "SessionsHandler",
    "SnapshotsHandler",
    "TagsHandler",
]


class HeapsHandler(Handler):
    """All heaps."""

    async def get(self) -> None:
        """List the heaps that have the tags asked for."""
        tags: dict[str, set[str]] = {}
        for name, value in self.pairs("tag"):
            tags.setdefault(name, set()).add(value)
        asked = self.parse_query(HeapListQuery)
        if any(len(values) > 1 for values in tags.values()):
            self.answer({"heaps": [], "next_offset": None})  # no tag has two values
            return
        wanted = {name: value for name, values in tags.items() for value in values}
        found = await self.parts.heaps.newest(
            self.principal.workspace, wanted, asked.limit + 1, asked.offset
        )
        page, following = cut_page(found, asked.limit, asked.offset)
        heaps = [heap_answer(heap) for heap in page]
        self.answer({"heaps": heaps, "next_offset": following})


class KeyHandler(Handler):
    """Root of the handlers for one heap."""

    def check(self, key: str) -> str:
        """Check that it can be a heap key at all.

        Raises:
            InvalidRequestError: It can't.
        """
        if not is_key(key):
            problem = "a heap's key is 64 lower-case hex digits"
            raise InvalidRequestError(FieldProblem("heap", problem))
        return key


class HeapHandler(KeyHandler):
    """One heap."""

    async def get(self, key: str) -> None:
        """Show the heap."""
        heaps = self.parts.heaps
        found = await heaps.get(self.principal.workspace, self.check(key))
        self.answer(heap_answer(found))

    async def delete(self, key: str) -> None:
        """Delete the heap."""
        await self.parts.heaps.delete(self.principal.workspace, self.check(key))
        self.answer({"ok": True})


class TagsHandler(KeyHandler):
    """The tags of a heap."""

    async def put(self, key: str) -> None:
        """Replace the tags."""
        workspace, heap = self.principal.workspace, self.check(key)
        tags = self.parse(TagsRequest).tags
        await self.parts.heaps.set_tags(workspace, heap, tags)
        self.answer({"ok": True})

    async def delete(self, key: str) -> None:
        """Delete the tags that are named, or all."""
        workspace, heap = self.principal.workspace, self.check(key)
        given = self.get_query_argument("keys", None)
        names = None if given is None else split_names(given)
        await self.parts.heaps.delete_tags(workspace, heap, names)
        self.answer({"ok": True})


class SessionsHandler(Handler):
    """All sessions that have a history."""

    async def get(self) -> None:
        """List their names."""
        found = await self.parts.heaps.sessions(self.principal.workspace)
        self.answer({"sessions": found})


class SnapshotsHandler(Handler):
    """The history of a session."""

    async def get(self, session: str) -> None:
        """List the steps, oldest first."""
        fields = choose_fields(self.get_query_argument("fields", None))
        steps = await self.parts.heaps.history(self.principal.workspace, session)
        self.answer({"entries": [entry_answer(step, fields) for step in steps]})
