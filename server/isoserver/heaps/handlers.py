"""Heaps under /api: find, show, tag, delete; and the histories of sessions."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Final

from isoserver.errors import FieldProblem, InvalidRequestError
from isoserver.heaps.content import is_key
from isoserver.heaps.models import TagsRequest
from isoserver.http.handlers import Handler

if TYPE_CHECKING:
    from isoserver.heaps.entries import HeapRecord, SnapshotEntry

__all__ = [
    "HeapHandler",
    "HeapsHandler",
    "SessionsHandler",
    "SnapshotsHandler",
    "TagsHandler",
]

LIMIT: Final = 100
LIMIT_MAX: Final = 1000
FIELDS: Final = ("index", "input_heap", "output_heap", "code", "timestamp")


class HeapsHandler(Handler):
    """All heaps."""

    async def get(self) -> None:
        """List those that have the tags that are asked for."""
        tags: dict[str, set[str]] = {}
        for pair in self.get_query_arguments("tag", strip=False):
            name, colon, value = pair.partition(":")
            if not name or not colon or "\0" in pair:
                raise InvalidRequestError(FieldProblem("tag", "must be NAME:VALUE"))
            tags.setdefault(name, set()).add(value)
        limit = self._limit()
        if any(len(values) > 1 for values in tags.values()):
            self.answer({"heaps": []})  # no tag has two values
            return
        wanted = {name: value for name, values in tags.items() for value in values}
        found = await self.service.heaps.newest(self.principal.workspace, wanted, limit)
        self.answer({"heaps": [_heap(heap) for heap in found]})

    def _limit(self) -> int:
        text = self.get_query_argument("limit", str(LIMIT))
        number = int(text) if text.isascii() and text.isdecimal() and text[:9] else 0
        if len(text) <= len(str(LIMIT_MAX)) and 1 <= number <= LIMIT_MAX:
            return number
        problem = f"must be a whole number from 1 to {LIMIT_MAX}"
        raise InvalidRequestError(FieldProblem("limit", problem))


class KeyHandler(Handler):
    """Root of what is about one heap."""

    def check(self, key: str) -> str:
        """Check that it can be a key at all.

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
        """Show it."""
        heaps = self.service.heaps
        self.answer(_heap(await heaps.get(self.principal.workspace, self.check(key))))

    async def delete(self, key: str) -> None:
        """Delete it."""
        await self.service.heaps.delete(self.principal.workspace, self.check(key))
        self.answer({"ok": True})


class TagsHandler(KeyHandler):
    """The tags of a heap."""

    async def put(self, key: str) -> None:
        """Replace them."""
        workspace, heap = self.principal.workspace, self.check(key)
        tags = self.parse(TagsRequest).tags
        await self.service.heaps.set_tags(workspace, heap, tags)
        self.answer({"ok": True})

    async def delete(self, key: str) -> None:
        """Delete those that are named, or all."""
        workspace, heap = self.principal.workspace, self.check(key)
        given = self.get_query_argument("keys", None)
        names = None if given is None else split(given)
        await self.service.heaps.delete_tags(workspace, heap, names)
        self.answer({"ok": True})


class SessionsHandler(Handler):
    """All sessions that have a history."""

    async def get(self) -> None:
        """List their names."""
        found = await self.service.heaps.sessions(self.principal.workspace)
        self.answer({"sessions": found})


class SnapshotsHandler(Handler):
    """The history of a session."""

    async def get(self, session: str) -> None:
        """List its steps."""
        given = self.get_query_argument("fields", None)
        wanted = FIELDS if given is None else split(given)
        unknown = [name for name in wanted if name not in FIELDS]
        if unknown:
            problem = f"there are {', '.join(FIELDS)}"
            raise InvalidRequestError(FieldProblem("fields", problem))
        steps = await self.service.heaps.snapshots(self.principal.workspace, session)
        self.answer({"entries": [_entry(step, wanted) for step in steps]})


def split(text: str) -> tuple[str, ...]:
    """Split names at commas; blanks around them don't count."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _heap(heap: HeapRecord) -> dict[str, Any]:
    answer = heap._asdict()
    answer["heap"] = answer.pop("key")
    answer["input_heap"] = answer.pop("parent")
    for name in ("created_at", "last_used"):
        answer[name] = _moment(answer[name])
    return answer


def _entry(step: SnapshotEntry, wanted: tuple[str, ...]) -> dict[str, Any]:
    values: dict[str, Any] = {
        name: getattr(step, name) for name in FIELDS if name in wanted
    }
    if "timestamp" in values:
        values["timestamp"] = _moment(step.timestamp)
    return values


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, timezone.utc)
