"""Failures of the user's code as text: name, frames, source line with a caret.

The runtime describes what was thrown (`errors.js`); here it meets the source of the
cells. Plain text, no colours.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from isokernel.context.events import ErrorInfo

if TYPE_CHECKING:
    from collections.abc import ItemsView, Iterator

    from isokernel.compiler.cells import Compiled, Move

_SOURCES_MAX: Final = 10_000
_FRAMES_MAX: Final = 50
_LINE_MAX: Final = 200
"""Longer source lines are cut around the place that is shown."""


_CONSTANT: Final = "Assignment to constant variable."
_CONSTANT_HINT: Final = (
    "  Declared with const by an earlier cell, so constant for good: {}. "
    "Choose another name, or restart."
)


class CellSource:
    """What V8 ran under a script's name.

    Attributes:
        code: What the user wrote.
        source_map: From what V8 ran to the user's, if positions differ.
        moves: What we changed in it, after what the source map tells.
    """

    __slots__ = ("code", "moves", "source_map")

    def __init__(self, code: str) -> None:
        """Begin with code that runs as it was written."""
        self.code = code
        self.source_map: str | None = None
        self.moves: tuple[Move, ...] = ()

    def runs(self, compiled: Compiled) -> None:
        """Note what V8 is about to run for it."""
        self.source_map = compiled.source_map
        self.moves = compiled.moves


class Sources:
    """The sources of the latest cells, by script name; at most 10,000.

    Attributes:
        constants: Names that cells declared anew but that had to stay constants.
    """

    def __init__(self) -> None:
        """Begin with none."""
        self.constants: set[str] = set()
        self._cells: dict[str, CellSource] = {}

    def add(self, script: str, cell: CellSource) -> None:
        """Keep a cell; the oldest is dropped beyond the limit."""
        self._cells[script] = cell
        if len(self._cells) > _SOURCES_MAX:
            del self._cells[next(iter(self._cells))]

    def get(self, script: str) -> CellSource | None:
        """Return the cell, if it is still known."""
        return self._cells.get(script)

    def items(self) -> ItemsView[str, CellSource]:
        """Return all that are known, oldest first."""
        return self._cells.items()

    def line(self, script: str, number: int) -> str | None:
        """Return one line of a cell; lines count from 1."""
        cell = self._cells.get(script)
        if cell is None:
            return None
        # As V8 counts them, not as str.splitlines does (form feeds and the like).
        lines = cell.code.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        return lines[number - 1] if 0 < number <= len(lines) else None


def shown_name(script: str) -> str:
    """Return `cell-3` as people read it: `cell 3`."""
    return (
        script.replace("-", " ") if script.startswith(("cell-", "query-")) else script
    )


def marked_line(
    sources: Sources, script: str, line: int, column: int, end_column: int = 0
) -> Iterator[str]:
    """Yield the source line, and carets below it; nothing if unknown. All from 1."""
    text = sources.line(script, line)
    if text is None:
        return
    start = max(column - 1, 0)
    length = max(end_column - column, 1)
    if len(text) > _LINE_MAX:
        cut = max(start - _LINE_MAX // 2, 0)
        text, start = text[cut : cut + _LINE_MAX], start - cut
    # Tabs stay tabs in the line of the caret, so that it stands where it should.
    indent = "".join("\t" if char == "\t" else " " for char in text[:start])
    length = min(length, max(len(text) - start, 1))
    prefix = f"{line:>6} | "
    yield f"{prefix}{text}"
    yield f"{' ' * (len(prefix) - 2)}| {indent}{'^' * length}"


def place_in(code: str, line: int, column: int) -> tuple[int, int]:
    """Return a place in the code; what V8 finds beyond its end is its end."""
    lines = code.split("\n")
    if line <= len(lines):
        return line, column
    while len(lines) > 1 and not lines[-1].strip():
        lines.pop()
    return len(lines), len(lines[-1]) + 1


def heading(ename: str, evalue: str) -> str:
    """Return the first line of an error."""
    return f"{ename}: {evalue}" if evalue else ename


def error_info(details: str, sources: Sources) -> ErrorInfo:
    """Return an error to show, from what the runtime's `describe` returns."""
    described = json.loads(details)
    lines = _lines(described, sources)
    if described["evalue"] == _CONSTANT and sources.constants:
        lines.append(_CONSTANT_HINT.format(", ".join(sorted(sources.constants))))
    return ErrorInfo(described["ename"], described["evalue"], tuple(lines))


def syntax_error(
    sources: Sources,
    script: str,
    message: str,
    place: tuple[int, int, int],
    ename: str = "SyntaxError",
) -> ErrorInfo:
    """Return a syntax error at (line, column, end column); all from 1."""
    line, column, end_column = place
    traceback = [heading(ename, message)]
    if line:
        traceback.append(f"    at {shown_name(script)}:{line}:{column}")
        traceback.extend(marked_line(sources, script, line, column, end_column))
    return ErrorInfo(ename, message, tuple(traceback))


def _lines(described: dict[str, Any], sources: Sources) -> list[str]:
    lines = [*heading(described["ename"], described["evalue"]).split("\n")]
    frames = described.get("frames", ())[:_FRAMES_MAX]
    for index, frame in enumerate(frames):
        place = f"{shown_name(frame['script'])}:{frame['line']}:{frame['column']}"
        function = frame.get("function")
        lines.append(f"    at {function} ({place})" if function else f"    at {place}")
        if index == 0:
            lines.extend(
                marked_line(sources, frame["script"], frame["line"], frame["column"])
            )
    if properties := described.get("properties"):
        lines.extend(f"  {line}" for line in properties.split("\n"))
    for number, error in enumerate(described.get("errors", ()), 1):
        inner = _lines(error, sources)
        lines.append(f"  [{number}] {inner[0]}")
        lines.extend(f"      {line}" for line in inner[1:])
    cause = described.get("cause")
    if cause is not None:
        inner = _lines(cause, sources)
        lines.append(f"  caused by {inner[0]}")
        lines.extend(f"  {line}" for line in inner[1:])
    return lines
