"""Failures of the user's code as text: name, frames, source line with a caret.

The runtime describes what was thrown (`errors.js`); here it meets the source of the
cells. Plain text, or with ANSI colours for notebooks.
"""

from __future__ import annotations

import json
import re
from array import array
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from isokernel.context.events import ErrorInfo

if TYPE_CHECKING:
    from collections.abc import ItemsView, Iterator

    from isokernel.compiler.cells import Compiled, Move

_SOURCES_MAX: Final = 10_000
_FRAMES_MAX: Final = 50
_LINE_MAX: Final = 200
"""Longer source lines are cut around the place that is shown."""


_LINE_END: Final = re.compile("\r\n?|[\n\u2028\u2029]")
_HEAD: Final = 16
_AMONG_BLANKS: Final = ";()\ufeff"
"""What SWC puts into the place of types beside blanks: what ends a statement there, and
parentheses of arrow functions that would be on another line than the arrow."""

_CONSTANT: Final = "Assignment to constant variable."
_CONSTANT_HINT: Final = (
    "  Declared with const by an earlier cell, so constant for good: {}. "
    "Choose another name, or restart."
)


class Paint(NamedTuple):
    """How the parts of a traceback are marked: ANSI sequences to begin with.

    Attributes:
        name: For the error's name.
        place: For frames, and for line numbers.
        mark: For the carets.
        end: Ends each.
    """

    name: str = ""
    place: str = ""
    mark: str = ""
    end: str = ""

    def named(self, text: str) -> str:
        """Return the error's name to show."""
        return f"{self.name}{text}{self.end}"

    def placed(self, text: str) -> str:
        """Return a frame or a line number to show."""
        return f"{self.place}{text}{self.end}"

    def marked(self, text: str) -> str:
        """Return carets to show."""
        return f"{self.mark}{text}{self.end}"


PLAIN: Final = Paint()
# Nothing but bold and colours is known to all of JupyterLab, nbconvert and terminals:
# "dim" is the bright black there.
COLORED: Final = Paint("\x1b[1;31m", "\x1b[90m", "\x1b[31m", "\x1b[0m")


class CellSource:
    """What V8 ran under a script's name.

    Attributes:
        code: What the user wrote.
        lines: How many lines that has.
        source_map: From what V8 ran to the user's, if positions differ.
        moves: What we changed in it, after what the source map tells.
    """

    __slots__ = ("code", "lines", "moves", "source_map")

    def __init__(self, code: str) -> None:
        """Begin with code that runs as it was written."""
        self.code = code
        self.lines = code.count("\n") + 1
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


def marked_line(  # noqa: PLR0913 - a place is four of them
    sources: Sources,
    script: str,
    line: int,
    column: int,
    end_column: int = 0,
    *,
    paint: Paint = PLAIN,
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
    yield f"{paint.placed(prefix)}{text}"
    gutter = paint.placed(f"{' ' * (len(prefix) - 2)}| ")
    yield f"{gutter}{indent}{paint.marked('^' * length)}"


def end_of(code: str) -> tuple[int, int]:
    """Return the place of the code's end, which is where V8's beyond it belong."""
    lines = code.split("\n")
    while len(lines) > 1 and not lines[-1].strip():
        lines.pop()
    return len(lines), len(lines[-1]) + 1


def unblanked(code: str, place: tuple[int, int], text: str) -> str | None:
    """Return what stands in the code where a text came from whose types are blanks.

    Args:
        code: What the user wrote.
        place: A line and a column within; from 1, columns in UTF-16 units.
        text: A part of what the compiler made of it, with everything in its place.
    """
    line, column = place
    code, text = _units(code), _units(text)
    ends = [0, *(found.end() for found in _LINE_END.finditer(code))]
    if line > len(ends):
        return None
    within = ends[line - 1] + column - 1
    head = text[:_HEAD]
    for start in range(within, max(within - len(text), -1), -1):
        if not _is_blanked(head, code[start : start + len(head)]):
            continue  # no copy of a long text for each place
        found = code[start : start + len(text)]
        if _is_blanked(text, found):
            return found.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return None


def _units(text: str) -> str:
    """Return a text with its UTF-16 units as characters: each keeps its place."""
    units = array("H", text.encode("utf-16-le", "surrogatepass"))
    return "".join(map(chr, units))


def _is_blanked(text: str, code: str) -> bool:
    """Whether a text is the code but for blanks, and what stands among them."""
    return len(text) == len(code) and all(
        now == was or now.isspace() or now in _AMONG_BLANKS
        for now, was in zip(text, code, strict=True)
    )


def heading(ename: str, evalue: str, paint: Paint = PLAIN) -> str:
    """Return the first line of an error."""
    name = paint.named(ename)
    return f"{name}: {evalue}" if evalue else name


def error_info(details: str, sources: Sources, paint: Paint = PLAIN) -> ErrorInfo:
    """Return an error to show, from what the runtime's `describe` returns."""
    described = json.loads(details)
    lines = _lines(described, sources, paint)
    if described["evalue"] == _CONSTANT and sources.constants:
        lines.append(_CONSTANT_HINT.format(", ".join(sorted(sources.constants))))
    return ErrorInfo(described["ename"], described["evalue"], tuple(lines))


def syntax_error(  # noqa: PLR0913 - a place is two of them
    sources: Sources,
    script: str,
    message: str,
    place: tuple[int, int, int],
    ename: str = "SyntaxError",
    *,
    paint: Paint = PLAIN,
) -> ErrorInfo:
    """Return a syntax error at (line, column, end column); all from 1."""
    line, column, end_column = place
    traceback = [heading(ename, message, paint)]
    if line:
        at = f"    at {shown_name(script)}:{line}:{column}"
        traceback.append(paint.placed(at))
        marked = marked_line(sources, script, line, column, end_column, paint=paint)
        traceback.extend(marked)
    return ErrorInfo(ename, message, tuple(traceback))


def _lines(described: dict[str, Any], sources: Sources, paint: Paint) -> list[str]:
    lines = [*heading(described["ename"], described["evalue"], paint).split("\n")]
    frames = described.get("frames", ())[:_FRAMES_MAX]
    for index, frame in enumerate(frames):
        place = f"{shown_name(frame['script'])}:{frame['line']}:{frame['column']}"
        function = frame.get("function")
        at = f"    at {function} ({place})" if function else f"    at {place}"
        lines.append(paint.placed(at))
        if index == 0:
            script, line, column = frame["script"], frame["line"], frame["column"]
            lines.extend(marked_line(sources, script, line, column, paint=paint))
    if properties := described.get("properties"):
        lines.extend(f"  {line}" for line in properties.split("\n"))
    for number, error in enumerate(described.get("errors", ()), 1):
        inner = _lines(error, sources, paint)
        lines.append(f"  [{number}] {inner[0]}")
        lines.extend(f"      {line}" for line in inner[1:])
    cause = described.get("cause")
    if cause is not None:
        inner = _lines(cause, sources, paint)
        lines.append(f"  caused by {inner[0]}")
        lines.extend(f"  {line}" for line in inner[1:])
    return lines
