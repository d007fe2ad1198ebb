"""Heaps in the UI: a tree of what came from what, their tags, and what can go on."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from isoserver.contexts.records import ContextRecord
from isoserver.errors import HeapMissingError, RouteMissingError
from isoserver.heaps.records import is_key
from isoserver.heaps.service import LIST_MAX
from isoserver.http.models import cut_page
from isoserver.ui.outputs import code_view
from isoserver.ui.pages import Page
from isoserver.ui.trees import tree_rows

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from isoserver.heaps.records import HeapRecord

__all__ = ["HeapActionPage", "HeapPage", "HeapsPage"]

HEAPS_SHOWN: Final = 200
_ANCESTORS_SHOWN: Final = 50
_CHILDREN_SHOWN: Final = 50


class HeapsPage(Page):
    """The heaps of the workspace."""

    area = "heaps"

    async def get(self) -> None:
        """Show a page of the newest as a tree, or of those with a tag."""
        name = self.get_query_argument("name", "")
        value = self.get_query_argument("value", "")
        paging = self.paging(HEAPS_SHOWN)
        offset = paging["offset"]
        workspace = self.principal.workspace
        found = await self.parts.heaps.newest(
            workspace, {name: value} if name else {}, HEAPS_SHOWN + 1, offset
        )
        heaps, paging["following"] = cut_page(found, HEAPS_SHOWN, offset)
        await self.show(
            "heaps.html",
            rows=tree_rows(heaps),
            kept_by=await self._kept_by(),
            name=name,
            value=value,
            **paging,
        )

    async def _kept_by(self) -> dict[str, str]:
        """Return a context that goes back to a heap, by the heap's key."""
        found: dict[str, str] = {}
        for one in await self.parts.contexts.everywhere(self.principal.workspace):
            if isinstance(one, ContextRecord):
                key = one.heap
            else:
                key = None if one.checkpoint is None else one.checkpoint.key
            if key is not None:
                found[key] = one.id
        return found


class HeapPage(Page):
    """One heap."""

    area = "heaps"

    async def get(self, key: str) -> None:
        """Show what it is, what it came from, what came from it, and its tags."""
        workspace, heaps = self.principal.workspace, self.parts.heaps
        heap = await heaps.get(workspace, key)
        newest = await heaps.newest(workspace, {}, LIST_MAX)
        children = [one for one in newest if one.parent == key]
        code = ""
        if heap.session is not None:
            for entry in await heaps.history(workspace, heap.session):
                if entry.output_heap == key:
                    code = entry.code
        await self.show(
            "heap.html",
            live=None,
            heap=heap,
            ancestors=await self._ancestors(heap),
            children=children[:_CHILDREN_SHOWN],
            children_more=max(0, len(children) - _CHILDREN_SHOWN),
            code=code_view(code) if code else None,
        )

    async def _ancestors(self, heap: HeapRecord) -> list[tuple[str, HeapRecord | None]]:
        """Return what it came from, the nearest first; None for what is deleted."""
        found: list[tuple[str, HeapRecord | None]] = []
        seen = {heap.key}
        parent = heap.parent
        while parent and parent not in seen and len(found) < _ANCESTORS_SHOWN:
            seen.add(parent)
            try:
                one = await self.parts.heaps.get(self.principal.workspace, parent)
            except HeapMissingError:
                found.append((parent, None))
                break
            found.append((parent, one))
            parent = one.parent
        return found


class HeapActionPage(Page):
    """What can be done with a heap; each action is a method here."""

    async def post(self, key: str, action: str) -> None:
        """Do it, and show the heap again, or what came of it."""
        act = self._ACTIONS.get(action)
        if act is None or not is_key(key):
            raise RouteMissingError
        await act(self, key)

    async def _tag(self, key: str) -> None:
        """Add a tag, or give it another value."""
        workspace = self.principal.workspace
        heap = await self.parts.heaps.get(workspace, key)
        tags = {**heap.tags, self.field("name"): self.field("value")}
        await self.parts.heaps.set_tags(workspace, key, tags)
        self.go("heaps", key)

    async def _untag(self, key: str) -> None:
        """Delete a tag."""
        workspace, name = self.principal.workspace, self.field("name")
        await self.parts.heaps.delete_tags(workspace, key, [name])
        self.go("heaps", key)

    async def _begin(self, key: str) -> None:
        """Make a context that goes on from it."""
        self.check_open()
        context = await self.parts.contexts.create(self.principal.workspace, heap=key)
        self.go("contexts", context.id)

    async def _delete(self, key: str) -> None:
        await self.parts.heaps.delete(self.principal.workspace, key)
        self.go("heaps")

    _ACTIONS: ClassVar[dict[str, Callable[[HeapActionPage, str], Awaitable[None]]]] = {
        "tag": _tag,
        "untag": _untag,
        "begin": _begin,
        "delete": _delete,
    }
