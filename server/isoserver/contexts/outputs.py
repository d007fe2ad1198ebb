"""What an execution put out, gathered from its messages up to a limit."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["OUTPUT_SETTING", "Outputs", "lines"]

OUTPUT_SETTING: Final = "--output-bytes-max"
"""How the limit is written, for the notices."""
# As in contexts of V8 (runtime/output.js).
_SHORTEST_WITH_TAIL: Final = 10_000
_TAIL_MAX: Final = 65_536
_TAIL_PIECES: Final = 10_000
_NOTICES: Final = 4096
"""Bytes that a context's own notices may take."""
_UTF8: Final = ("utf-8", "replace")

_DISPLAYS: Final = {"display_data", "execute_result"}
_ITEM: Final = 64
"""Bytes that an output takes beside its own, roughly."""
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

    Consecutive texts of one stream are one output. Of text beyond the limit the end is
    kept, too; `finish` puts it there, and says how much lies between. The result, the
    first error and what is displayed have room of their own.

    Attributes:
        items: Outputs in nbformat's form, except that a stream's text is a list of
            pieces, which `text` and `plain` join.
        size: Bytes so far.
    """

    __slots__ = (
        *("_clear", "_displays", "_failed", "_full", "_items_max", "_limit"),
        *("_finished", "_head_max", "_left_out", "_noticed", "_shown"),
        *("_tail", "_tail_max", "_tail_size"),
        *("items", "size"),
    )

    def __init__(self, limit: int, *, cut_before: bool = False) -> None:
        """Begin with nothing.

        Args:
            limit: Bytes that are kept.
            cut_before: Whether the context has cut what comes, and told so, unless
                it is broken.
        """
        self.items: list[dict[str, Any]] = []
        self.size = 0
        self._limit = limit
        self._head_max, self._tail_max = limit + _NOTICES, 0
        if not cut_before:
            keeps = limit >= _SHORTEST_WITH_TAIL
            self._tail_max = min(limit // 8, _TAIL_MAX) if keeps else 0
            self._head_max = limit - self._tail_max
        self._finished = False
        self._tail: deque[tuple[str, str]] = deque()
        self._tail_size = 0
        self._left_out = 0
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
        if kind == "stream":
            self._print(content["name"], content["text"])
            return
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
        self.finish()
        logs = {name: lines(self.text(name)) for name in ("stdout", "stderr")}
        self._forget()
        self.size = self._shown = 0
        self._full = self._finished = False
        self._noticed.clear()
        return logs

    def finish(self) -> None:
        """Put the end of what was too much behind the rest; nothing more is kept."""
        self._finished = True
        if self._left_out:
            self._say(f"[{self._left_out} bytes left out]\n")
        for name, text in self._tail:
            self.stream(name, text)
        self.size += self._tail_size
        self._forget_tail()

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

    def _print(self, name: str, text: str) -> None:
        """Add text to a stream, or keep it as the end of what is too much."""
        weight = _bytes(text)
        if not self._full:
            room = self._head_max - (self.size - self._shown)
            if weight <= room and len(self.items) < self._items_max:
                self.size += weight
                self.stream(name, text)
                return
            head = text.encode(*_UTF8)[: max(room, 0)].decode("utf-8", "ignore")
            self.stream(name, head)
            self.size += _bytes(head)
            self._full = True
            self._notice("output", self.size - self._shown)
            text = text[len(head) :]
            weight -= _bytes(head)
        if not text or self._finished:
            return
        self._tail.append((name, text))
        self._tail_size += weight
        while self._tail_size > self._tail_max or len(self._tail) > _TAIL_PIECES:
            self._shorten()

    def _shorten(self) -> None:
        """Leave out the beginning of the tail, as much of one piece as is too much."""
        name, text = self._tail.popleft()
        data = text.encode(*_UTF8)
        over = self._tail_size - self._tail_max
        kept = data[over:].decode("utf-8", "ignore") if over > 0 else ""
        gone = len(data) - _bytes(kept)
        if kept:
            self._tail.appendleft((name, kept))
        self._left_out += gone
        self._tail_size -= gone

    def _append(self, kind: str, content: dict[str, Any]) -> None:
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
        self._forget_tail()

    def _forget_tail(self) -> None:
        self._tail.clear()
        self._tail_size = self._left_out = 0

    def _show(self, weight: int) -> bool:
        """Whether something more may be displayed."""
        if self._shown + weight > self._limit or len(self.items) >= self._items_max:
            self._notice("displays", self._limit)
            return False
        self._shown += weight
        self.size += weight
        return True

    def _take(self, weight: int) -> bool:
        if self._full:
            return False
        many = len(self.items) >= self._items_max
        if self.size - self._shown + weight <= self._head_max and not many:
            self.size += weight
            return True
        self._full = True
        self._notice("output", self.size - self._shown)
        return False

    def _notice(self, what: str, limit: int) -> None:
        """Say once on stderr that some of the output is missing."""
        if what in self._noticed:
            return
        self._noticed.add(what)
        self._say(
            f"[{what} cut after {limit} bytes; raise {OUTPUT_SETTING} to see more]\n"
        )

    def _say(self, notice: str) -> None:
        """Add a line to stderr."""
        text = self.text("stderr")
        self.stream("stderr", notice if not text or text[-1] == "\n" else f"\n{notice}")


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode(*_UTF8))


def _weight(kind: str, content: dict[str, Any]) -> int:
    """Estimate how many bytes a message adds."""
    if kind == "error":
        texts = (content["ename"], content["evalue"], *content["traceback"])
        return sum(map(_bytes, texts))
    parts = (*content["data"].values(), *(content.get("metadata") or {}).values())
    return sum(
        _bytes(value) if isinstance(value, str) else len(repr(value)) for value in parts
    )
