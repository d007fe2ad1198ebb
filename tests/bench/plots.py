"""Growth series as SVG: how a cost grows with a count or a size.

Both axes are logarithmic: what doesn't grow is level, and what grows with the work
gets ten times as high in ten times the width. The colours follow the reader's light or
dark scheme; without either, lines differ by their dashes.
"""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["Plot", "svg"]

Points = list[tuple[float, float]]

_WIDTH: Final = 640
_HEIGHT: Final = 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 170, 36, 48
_LEGEND_STEP: Final = 20
_TICKS_MAX: Final = 7
_STYLE: Final = """
text { font: 12px system-ui, sans-serif; fill: #24292f }
.title { font-weight: 600 }
.grid { stroke: #d0d7de }
.line { fill: none; stroke-width: 2 }
.c0 { --c: #0969da } .c1 { --c: #bc4c00 } .c2 { --c: #1a7f37 }
.c3 { --c: #8250df } .c4 { --c: #bf3989 } .c5 { --c: #6e7781 }
.line { stroke: var(--c) } .dot { fill: var(--c) }
.c1 .line { stroke-dasharray: 7 3 } .c2 .line { stroke-dasharray: 2 3 }
.c3 .line { stroke-dasharray: 9 3 2 3 } .c4 .line { stroke-dasharray: 4 4 }
.page { fill: #ffffff }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 } .grid { stroke: #3d444d } .page { fill: #0d1117 }
.c0 { --c: #58a6ff } .c1 { --c: #f0883e } .c2 { --c: #56d364 }
.c3 { --c: #bc8cff } .c4 { --c: #f778ba } .c5 { --c: #9198a1 }
}
"""
_COLORS: Final = 6


class Plot(NamedTuple):
    """One picture. It is in the benchmark's JSON as it is here.

    Attributes:
        name: Of the file, after the name of the benchmark.
        title: What is asked.
        x: What grows, with its unit.
        y: What is measured, with its unit.
        series: The points of each line by the line's name, six lines at most. Points
            that aren't positive can't be shown, and are left out.
    """

    name: str
    title: str
    x: str
    y: str
    series: Mapping[str, Sequence[tuple[float, float]]]


class _Axis:
    """From values to places: logarithms between the ends of the data."""

    def __init__(self, values: Iterable[float], start: float, end: float) -> None:
        found = list(values)
        low, high = math.log10(min(found)), math.log10(max(found))
        if high - low < 1:  # a decade at least: noise must not look like growth
            middle = (low + high) / 2
            low, high = middle - 0.5, middle + 0.5
        self._low, self._high = low, high
        self._start, self._end = start, end

    def place(self, value: float) -> float:
        part = (math.log10(value) - self._low) / (self._high - self._low)
        return round(self._start + part * (self._end - self._start), 1)

    def ticks(self) -> list[float]:
        """Powers of ten, fewer or with 2 and 5 between them, as there is room."""
        for steps in ((1, 2, 5), (1, 3), (1,)):
            found = [
                step * 10.0**exponent
                for exponent in range(math.floor(self._low), math.ceil(self._high) + 1)
                for step in steps
                if self._low - 1e-9 <= math.log10(step * 10.0**exponent)
                and math.log10(step * 10.0**exponent) <= self._high + 1e-9
            ]
            if len(found) <= _TICKS_MAX:
                break
        return found[:: math.ceil(len(found) / _TICKS_MAX)]


def svg(plot: Plot) -> str:
    """Draw a plot.

    Raises:
        ValueError: There are no points, or too many lines to tell them apart.
    """
    series = {
        name: sorted((x, y) for x, y in points if x > 0 and y > 0)
        for name, points in plot.series.items()
    }
    series = {name: points for name, points in series.items() if points}
    if not 0 < len(series) <= _COLORS:
        message = f"{plot.name} has {len(series)} lines; 1 to {_COLORS} can be shown"
        raise ValueError(message)
    every = [point for points in series.values() for point in points]
    across = _Axis((x for x, _ in every), _LEFT, _WIDTH - _RIGHT)
    up = _Axis((y for _, y in every), _HEIGHT - _BOTTOM, _TOP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        f'width="{_WIDTH}" height="{_HEIGHT}" role="img">',
        f"<title>{escape(plot.title)}</title>",
        f"<style>{_STYLE}</style>",
        f'<rect class="page" width="{_WIDTH}" height="{_HEIGHT}"/>',
        _text(_LEFT, 20, plot.title, kind="title"),
        *_grid(across, up),
        _text(_WIDTH - _RIGHT, _HEIGHT - 10, plot.x, anchor="end"),
        _text(_WIDTH - _RIGHT + 12, 20, plot.y),
    ]
    for number, (name, points) in enumerate(series.items()):
        parts += _line(number, name, points, across, up)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _grid(across: _Axis, up: _Axis) -> Iterable[str]:
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    for value in across.ticks():
        x = across.place(value)
        yield f'<path class="grid" d="M{x} {_TOP}V{bottom}"/>'
        yield _text(x, bottom + 18, _short(value), anchor="middle")
    for value in up.ticks():
        y = up.place(value)
        yield f'<path class="grid" d="M{_LEFT} {y}H{right}"/>'
        yield _text(_LEFT - 8, y + 4, _short(value), anchor="end")


def _line(
    number: int, name: str, points: Points, across: _Axis, up: _Axis
) -> Iterable[str]:
    places = [(across.place(x), up.place(y)) for x, y in points]
    path = "L".join(f"{x} {y}" for x, y in places)
    left, top = _WIDTH - _RIGHT + 12, _TOP + 12 + number * _LEGEND_STEP
    yield f'<g class="c{number}">'
    yield f'<path class="line" d="M{path}"/>'
    for (x, y), (given_x, given_y) in zip(places, points, strict=True):
        said = f"{name}: {_short(given_x)}, {_short(given_y)}"
        yield f'<circle class="dot" cx="{x}" cy="{y}" r="3.5"><title>{escape(said)}'
        yield "</title></circle>"
    yield f'<path class="line" d="M{left} {top}h24"/>'
    yield _text(left + 30, top + 4, name)
    yield "</g>"


def _text(
    x: float, y: float, said: str, *, anchor: str = "start", kind: str = ""
) -> str:
    of = f' class="{kind}"' if kind else ""
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}"{of}>{escape(said)}</text>'


def _short(value: float) -> str:
    """Two digits that count, thousands as k and so on."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"
