"""Where the parts of a text that V8 ran stand in the text that it was made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence


class Move(NamedTuple):
    """A part begins. Lines count from 1, columns from 0 and in UTF-16 units.

    Attributes:
        line: Where it begins in what V8 ran.
        column: Likewise.
        from_line: Where it stood before; where it was put in, if it is new.
        from_column: Likewise.
        inserted: Whether it is new.
    """

    line: int
    column: int
    from_line: int
    from_column: int
    inserted: bool


def origin(moves: Sequence[Move], line: int, column: int) -> tuple[int, int]:
    """The place that one had before the moves; lines from 1, columns from 0."""
    for move in reversed(moves):
        if (move.line, move.column) <= (line, column):
            break
    else:
        return line, column
    if move.inserted:
        return move.from_line, move.from_column
    if line == move.line:
        column += move.from_column - move.column
    # A part's later lines have the columns that they had.
    return line + move.from_line - move.line, column
