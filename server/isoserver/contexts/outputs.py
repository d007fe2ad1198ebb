"""What an execution put out, gathered from its messages up to a limit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Outputs", "lines"]

_DISPLAYS: Final = {"display_data", "execute_result"}
_ITEM: Final = 64
"""Characters that an output takes beside its own, roughly."""
_ITEMS_FREE: Final = 1000
"""Outputs that are not counted for that."""


def lines(text: str) -> list[str]:
    """Split what was printed; a newline at the end begins no other line."""
    if not text:
        return []
    found = text.split("\n")
    if not found[-1]:
        found.pop()
    return found


class Outputs:
    """The outputs of one execution, in order, as a notebook has them.

    Consecutive texts of one stream are one output. What comes after the limit is
    dropped, and a line on stderr says so.

    Attributes:
        items: Outputs in nbformat's form, except that a stream's text is a list of
            pieces, which `text` and `plain` join.
        size: Characters so far.
    """

    __slots__ = (
        *("_clear", "_displays", "_failed", "_full", "_items_max", "_limit"),
        *("_noticed", "_shown", "items", "size"),
    )

    def __init__(self, limit: int) -> None:
        """Begin with nothing.

        Args:
            limit: Characters that are kept.
        """
        self.items: list[dict[str, Any]] = []
        self.size = 0
        self._limit = limit
        self._items_max = _ITEMS_FREE + limit // _ITEM
        self._shown = 0
        self._noticed: set[str] = set()
        self._full = False
        self._failed = False
        self._clear = False
        self._displays: dict[str, list[dict[str, Any]]] = {}

    def add(self, kind: str, content: dict[str, Any]) -> None:
        """Add what a message puts out, if it is of a kind that does."""
        if kind == "clear_output":
            self._clear = True
            if not content.get("wait"):
                self._forget()
            return
        if kind == "update_display_data":
            self._update(content)
            return
        if kind not in _DISPLAYS and kind not in {"stream", "error"}:
            return
        if self._clear:
            self._forget()
        # Much output leaves no room for more of it: the result, the error and what is
        # displayed have room of their own.
        if kind in _DISPLAYS:
            fits = kind == "execute_result" or self._show(_weight(kind, content))
        else:
            fits = self._take(_weight(kind, content))
        if fits or (kind == "error" and not self._failed):
            self._failed = self._failed or kind == "error"
            self._append(kind, content)

    def stream(self, name: str, text: str) -> None:
        """Add text to a stream."""
        if not text:
            return
        last = self.items[-1] if self.items else None
        if last is not None and last.get("name") == name:
            last["text"].append(text)
        else:
            self.items.append({"output_type": "stream", "name": name, "text": [text]})

    def text(self, name: str) -> str:
        """Return all the text of a stream."""
        return "".join(
            piece
            for item in self.items
            if item.get("name") == name
            for piece in item["text"]
        )

    def take_logs(self) -> dict[str, list[str]]:
        """Return the lines of both streams, and forget everything."""
        logs = {name: lines(self.text(name)) for name in ("stdout", "stderr")}
        self._forget()
        self.size = self._shown = 0
        self._full = False
        self._noticed.clear()
        return logs

    def displays(self) -> Iterator[dict[str, Any]]:
        """Return what was displayed, the result included."""
        return (item for item in self.items if item["output_type"] in _DISPLAYS)

    def plain(self) -> list[dict[str, Any]]:
        """Return them in nbformat's form, each stream as one text."""
        return [
            {**item, "text": "".join(item["text"])}
            if item["output_type"] == "stream"
            else item
            for item in self.items
        ]

    def _append(self, kind: str, content: dict[str, Any]) -> None:
        if kind == "stream":
            self.stream(content["name"], content["text"])
            return
        if kind == "error":
            fields = ("ename", "evalue", "traceback")
            self.items.append(
                {"output_type": "error", **{name: content[name] for name in fields}}
            )
            return
        item = {
            "output_type": kind,
            "data": content["data"],
            "metadata": content.get("metadata") or {},
        }
        if kind == "execute_result":
            item["execution_count"] = content.get("execution_count")
        self.items.append(item)
        display_id = (content.get("transient") or {}).get("display_id")
        if display_id is not None:
            self._displays.setdefault(display_id, []).append(item)

    def _update(self, content: dict[str, Any]) -> None:
        display_id = (content.get("transient") or {}).get("display_id")
        shown = self._displays.get(display_id or "")
        if shown and self._show(_weight("display_data", content)):
            for item in shown:
                item["data"] = content["data"]
                item["metadata"] = content.get("metadata") or {}

    def _forget(self) -> None:
        self._clear = False
        self.items.clear()
        self._displays.clear()

    def _show(self, weight: int) -> bool:
        """Whether something more may be displayed."""
        if self._shown + weight > self._limit or len(self.items) >= self._items_max:
            self._notice("displays")
            return False
        self._shown += weight
        self.size += weight
        return True

    def _take(self, weight: int) -> bool:
        if self._full:
            return False
        many = len(self.items) >= self._items_max
        if self.size - self._shown + weight <= self._limit and not many:
            self.size += weight
            return True
        self._full = True
        self._notice("output")
        return False

    def _notice(self, what: str) -> None:
        """Say once on stderr that some of the output is missing."""
        if what in self._noticed:
            return
        self._noticed.add(what)
        notice = (
            f"isokernel: {what} beyond {self._limit} characters was dropped "
            "(--cell-output-characters-max)\n"
        )
        text = self.text("stderr")
        self.stream("stderr", notice if not text or text[-1] == "\n" else f"\n{notice}")


def _weight(kind: str, content: dict[str, Any]) -> int:
    """Estimate how many characters a message adds."""
    if kind == "stream":
        return len(content["text"])
    if kind == "error":
        texts = (content["ename"], content["evalue"], *content["traceback"])
        return sum(map(len, texts))
    parts = (*content["data"].values(), *(content.get("metadata") or {}).values())
    return sum(
        len(value) if isinstance(value, str) else len(repr(value)) for value in parts
    )
