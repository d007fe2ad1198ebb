"""Pages of output: by line or by byte, in time that doesn't grow with what lies before.

Lines are counted from 1, bytes from 0. A page of bytes never cuts a character: where
its end would, it ends before it, unless it would have nothing then; where its start
would, it starts before it. So pages that are asked for side by side fit together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from isoserver.runs.output import CHUNK, boundary
from isoserver.runs.records import Extent, Status

if TYPE_CHECKING:
    from isoserver.runs.store import Store

__all__ = [
    "BYTES_MAX",
    "LINES_MAX",
    "OutputMissingError",
    "Page",
    "PageRequest",
    "Pages",
]

LINES_MAX: Final = 10_000
"""Lines that a page has at most."""
BYTES_MAX: Final = 1 << 20
"""Bytes that a page has at most, but for one line that is longer by itself."""
_CHARACTER_MAX: Final = 4
"""Bytes of a character in UTF-8."""


class OutputMissingError(Exception):
    """Output that there is by the run's row isn't in the database."""


class PageRequest(NamedTuple):
    """Which part of the output is wanted.

    Attributes:
        line_offset: The first line, from 1; 0 is taken as 1.
        line_limit: How many lines; taken into the bounds.
        byte_offset: The first byte, from 0; with it, the page is one of bytes.
        byte_limit: How many bytes; taken into the bounds.
    """

    line_offset: int = 1
    line_limit: int = 100
    byte_offset: int | None = None
    byte_limit: int = 4096


class Page(NamedTuple):
    """A part of a run's output, and how to ask for the next one.

    Attributes:
        execution_id: The run.
        data: The text; without the last newline when it is a page of lines.
        start_line: The first line; 0 when it is a page of lines without any.
        end_line: The last line. For a page of bytes, the line that its end is in.
        next_line_offset: The line to go on from. A last line without its newline may
            still grow, so that it is asked for again while the run goes on.
        total_lines: Lines so far; one without its newline counts.
        start_byte: Bytes before the page.
        end_byte: Bytes before what follows it.
        next_byte_offset: The byte to go on from.
        total_bytes: Bytes so far.
        has_more: Whether there is more by now.
        status: How the run stood; `running` also while it waited.
    """

    execution_id: str
    data: str
    start_line: int
    end_line: int
    next_line_offset: int
    total_lines: int
    start_byte: int
    end_byte: int
    next_byte_offset: int
    total_bytes: int
    has_more: bool
    status: Status


class Pages:
    """The output of one run, as much as there was at a moment."""

    def __init__(
        self,
        store: Store,
        key: tuple[str, str],
        extent: Extent,
        status: Status,
    ) -> None:
        """Look at an output that is saved.

        Args:
            store: Where it is.
            key: Workspace and id of the run.
            extent: How much of it there is.
            status: How the run stood when that was so.
        """
        self._store = store
        self._key = key
        self._extent = extent
        self._status = status

    async def read(self, request: PageRequest) -> Page:
        """Return a page.

        Raises:
            OutputMissingError: Some of it is missing; the run may be forgotten by now.
        """
        if request.byte_offset is not None:
            return await self._by_byte(request.byte_offset, request.byte_limit)
        return await self._by_line(request.line_offset, request.line_limit)

    # -- by byte -----------------------------------------------------------------------

    async def _by_byte(self, offset: int, limit: int) -> Page:
        total = self._extent.bytes
        start = min(offset, total)
        end = min(start + min(max(limit, 1), BYTES_MAX), total)
        if start == total:
            line = self._extent.newlines + 1
            return self._page("", (line, line, line), (start, start))
        data, base, line = await self._slice(start, end + _CHARACTER_MAX)
        begin = boundary(data, start - base)
        stop = boundary(data, end - base)
        if stop <= begin:
            stop = begin + _length(data[begin])
        line += data.count(b"\n", 0, begin)
        page = data[begin:stop]
        last = line + page.count(b"\n")
        place = (base + begin, base + stop)
        return self._page(page.decode(), (line, last, last), place)

    async def _slice(self, start: int, end: int) -> tuple[bytes, int, int]:
        """Read what has the bytes from `start` to before `end`; where it begins."""
        chunks = await self._store.chunks(*self._key, max(start - CHUNK, 0), end)
        found = [c for c in chunks if c.start_byte + len(c.data) > start]
        place = start
        for chunk in found:
            if chunk.start_byte > place:
                break
            place = chunk.start_byte + len(chunk.data)
        if place < min(end, self._extent.bytes):
            raise OutputMissingError
        data = b"".join(chunk.data for chunk in found)
        base = found[0].start_byte
        return data[: self._extent.bytes - base], base, found[0].start_line + 1

    # -- by line -----------------------------------------------------------------------

    async def _by_line(self, offset: int, limit: int) -> Page:
        first = max(offset, 1)
        if first > self._extent.lines:
            end = self._extent.bytes
            return self._page("", (0, 0, self._extent.lines + 1), (end, end))
        start = await self._start_of(first)
        page, count = await self._lines(start, min(max(limit, 1), LINES_MAX))
        last = first + count - 1
        grows = not page.endswith(b"\n") and self._status is Status.RUNNING
        lines = (first, last, last if grows else last + 1)
        text = page.decode().removesuffix("\n")
        return self._page(text, lines, (start, start + len(page)))

    async def _start_of(self, line: int) -> int:
        if line == 1:
            return 0
        number = line - 1  # the newline that ends the line before
        chunk = await self._store.chunk_of_newline(*self._key, number)
        newlines = number if chunk is None else number - chunk.start_line
        if chunk is None or chunk.data.count(b"\n") < newlines:
            raise OutputMissingError
        position = -1
        for _ in range(newlines):
            position = chunk.data.index(b"\n", position + 1)
        return chunk.start_byte + position + 1

    async def _lines(self, start: int, limit: int) -> tuple[bytes, int]:
        """Read at least a line from a byte on, as many as fit; how many they are."""
        data = bytearray()
        total = self._extent.bytes
        step = CHUNK
        while start + len(data) < total:
            at = start + len(data)
            piece, base, _ = await self._slice(at, min(at + step, total))
            data += piece[at - base :]
            newlines = data.count(b"\n")
            if newlines >= limit or (newlines and len(data) > BYTES_MAX):
                break
            step = min(step * 4, BYTES_MAX)
        count = end = 0
        while count < limit and end < len(data):
            found = data.find(b"\n", end)
            after = len(data) if found < 0 else found + 1
            partial = found < 0 and start + after < total
            if count and (partial or after > BYTES_MAX):
                break
            count, end = count + 1, after
        return bytes(data[:end]), count

    # ----------------------------------------------------------------------------------

    def _page(
        self, text: str, lines: tuple[int, int, int], place: tuple[int, int]
    ) -> Page:
        start, end = place
        return Page(
            execution_id=self._key[1],
            data=text,
            start_line=lines[0],
            end_line=lines[1],
            next_line_offset=lines[2],
            total_lines=self._extent.lines,
            start_byte=start,
            end_byte=end,
            next_byte_offset=end,
            total_bytes=self._extent.bytes,
            has_more=end < self._extent.bytes,
            status=self._status,
        )


def _length(first: int) -> int:
    """Return how many bytes a character has, by its first one."""
    lengths = ((0x80, 1), (0xE0, 2), (0xF0, 3))
    return next((length for below, length in lengths if first < below), 4)
