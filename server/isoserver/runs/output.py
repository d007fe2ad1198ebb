"""The output of a run while it goes on: gathered, limited, saved in chunks."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from isokernel.protocol.messages import well_formed
from isoserver.runs.records import Extent

if TYPE_CHECKING:
    from isoserver.runs.store import Store

__all__ = ["CHUNK", "LiveOutput", "boundary"]

CHUNK: Final = 32 * 1024
"""Bytes of a chunk at most; all but the last of a run have nearly as many."""
_SAVE_SECONDS: Final = 0.5
"""The longest that output waits until it is saved, while nobody reads it."""
_CONTINUATION: Final = 0xC0
_CONTINUES: Final = 0x80


def boundary(data: bytes | bytearray, position: int) -> int:
    """Return the start of the character that a position in UTF-8 is in."""
    while 0 < position < len(data) and data[position] & _CONTINUATION == _CONTINUES:
        position -= 1
    return position


class _Chunk:
    """A piece of output that is not all saved.

    Attributes:
        start_byte: Bytes before it.
        start_line: Newlines before it.
        data: The bytes.
        full: Whether it will not grow any more.
    """

    __slots__ = ("data", "full", "start_byte", "start_line")

    def __init__(self, start_byte: int, start_line: int) -> None:
        self.start_byte = start_byte
        self.start_line = start_line
        self.data = bytearray()
        self.full = False


class LiveOutput:
    """What a run has printed so far. In the event loop only.

    Attributes:
        extent: How much it is.
        changed: Set when there is more of it than when it was read, and at the end.
    """

    def __init__(
        self, workspace: str, run_id: str, store: Store, limit_bytes: int
    ) -> None:
        """Begin empty.

        Args:
            workspace: Who owns the run.
            run_id: The run.
            store: Where chunks are written.
            limit_bytes: How much is kept; what comes after is dropped, and a last line
                says so.
        """
        self.extent = Extent()
        self.changed = asyncio.Event()
        self._key = {"workspace": workspace, "run_id": run_id}
        self._store = store
        self._limit = limit_bytes
        self._cut = False
        self._chunks = [_Chunk(0, 0)]
        self._saved_bytes = 0
        self._timer: asyncio.TimerHandle | None = None

    def append(self, text: str) -> None:
        """Add text that was printed."""
        data = well_formed(text).encode()
        if self._cut or not data:
            return
        room = self._limit - self.extent.bytes
        if len(data) > room:
            self._cut = True
            data = data[: boundary(data, room)]
            whole = data.endswith(b"\n") if data else not self.extent.open
            notice = f"[output cut after {self._limit} bytes]\n"
            data += (notice if whole else f"\n{notice}").encode()
        self._add(data)
        self.tell()
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(_SAVE_SECONDS, self.save)

    def tell(self) -> None:
        """Wake who waits for more of it, or for the end."""
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()

    def _add(self, data: bytes) -> None:
        while data:
            chunk = self._chunks[-1]
            end = boundary(data, CHUNK - len(chunk.data))
            piece, data = data[:end], data[end:]
            chunk.data += piece
            lines = self.extent.newlines + piece.count(b"\n")
            ends_open = not chunk.data.endswith(b"\n") if chunk.data else False
            self.extent = Extent(self.extent.bytes + len(piece), lines, ends_open)
            if data:
                chunk.full = True
                self._chunks.append(_Chunk(self.extent.bytes, lines))

    def save(self) -> None:
        """Have all of it written; `Store.flush` waits for that.

        What is only being written is written again: that may fail, and what is asked
        for next goes along with it then.
        """
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        size = self.extent.bytes
        if self._saved_bytes == size:
            return
        # Full ones are forgotten once they are safe; the last one is written again
        # when it has grown.
        sent = [chunk for chunk in self._chunks if chunk.data]
        full = [chunk for chunk in sent if chunk.full]
        # All of them are in one commit.
        commits = [self._store.put(self._row(chunk)) for chunk in sent]
        commits[-1].written.add_done_callback(
            lambda done: self._note_saved(size, full, done)
        )

    def _row(self, chunk: _Chunk) -> dict[str, Any]:
        return {
            **self._key,
            "start_byte": chunk.start_byte,
            "start_line": chunk.start_line,
            "data": bytes(chunk.data),
        }

    def _note_saved(
        self, size: int, full: list[_Chunk], done: asyncio.Future[None]
    ) -> None:
        if done.cancelled() or done.exception() is not None:
            return
        self._saved_bytes = size
        self._chunks = [chunk for chunk in self._chunks if chunk not in full]
