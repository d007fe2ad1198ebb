"""Text of others as HTML: what can't be seen is shown, what terminals do is done.

Everything that the UI shows comes from untrusted code, or may. Jinja escapes it; here
is what escaping doesn't do.
"""

from __future__ import annotations

import re
import time
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from markupsafe import Markup, escape

from isokernel.protocol.messages import well_formed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = [
    "ago",
    "cut",
    "duration",
    "exact",
    "in_bytes",
    "moment",
    "segment",
    "terminal",
    "visible",
]

_UNSEEN: Final = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b\u2028-\u202e\u2060-\u2069\ufeff"
    r"\ud800-\udfff\U000e0000-\U000e007f]"
)
"""Controls, halves of characters, and what has no width or turns text around."""
_SEQUENCE: Final = re.compile(
    r"\x1b\[([0-9;:]*)m|\x1b\[[0-?]*[ -/]*[@-~]?"
    r"|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[ -/]*[0-~]?"
)
"""What terminals take as a command; the group is that of colours."""
_STYLES: Final = {1: "bold", 2: "dim", 3: "italic", 4: "under", 9: "struck"}
_RESETS: Final = {
    22: ("bold", "dim"),
    23: ("italic",),
    24: ("under",),
    29: ("struck",),
}
_COLOURS_MAX: Final = 16
_COLOURS: Final[dict[int, int | None]] = {
    **{30 + number: number for number in range(8)},
    **{90 + number: 8 + number for number in range(8)},
    39: None,
}
_FOREGROUND, _BACKGROUND = 38, 48
_EXTENDED: Final = {_FOREGROUND, _BACKGROUND}
_RGB: Final = 2
_CODES_MAX: Final = 32
_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB")
_STEP: Final = 1024
_TENS: Final = 10
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_SPANS: Final = ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "min"), (1, "s"))
_DAYS_MAX: Final = 30


def visible(text: str) -> str:
    """Return text whose unseen characters are written as their numbers."""
    return _UNSEEN.sub(lambda found: f"⟨U+{ord(found[0]):04X}⟩", text)


def exact(text: str) -> Markup:
    """Return text as it is, for the fields of forms that send it back."""
    return escape(well_formed(text))


def segment(text: str) -> str:
    """Return text as a part of a URL, also the name of a file that is no UTF-8."""
    return quote(text, safe="", errors="replace")


def cut(pieces: Iterable[str], limit: int) -> tuple[str, int]:
    """Return head and tail of a text that comes in pieces, and how much lies between.

    Args:
        pieces: The text; not joined where it is too long.
        limit: Characters that are kept, a quarter of them from the beginning.
    """
    pieces = list(pieces)
    over = sum(map(len, pieces)) - limit
    if over <= 0:
        return "".join(pieces), 0
    head = _take(pieces, limit // 4)
    tail = _take([piece[::-1] for piece in _last(pieces, limit - len(head))], limit)
    tail = tail[: limit - len(head)][::-1]
    return f"{head}\n… {over} characters are left out here …\n{tail}", over


def _take(pieces: list[str], count: int) -> str:
    taken: list[str] = []
    for piece in pieces:
        if count <= 0:
            break
        taken.append(piece[:count])
        count -= len(piece)
    return "".join(taken)


def _last(pieces: list[str], count: int) -> list[str]:
    """Return the last pieces that have so many characters, the last one first."""
    found: list[str] = []
    for piece in reversed(pieces):
        if count <= 0:
            break
        found.append(piece)
        count -= len(piece)
    return found


# -- terminals -------------------------------------------------------------------------


def terminal(text: str) -> Markup:
    """Return what a terminal would show: colours as classes, other commands left out.

    Of a line that is written over, as progress bars are, the last version is shown.
    """
    text = text.replace("\r\n", "\n")
    if "\r" in text:
        lines = (line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n"))
        text = "\n".join(lines)
    if "\x1b" not in text:
        return escape(visible(text))
    parts: list[str] = []
    style: dict[str, None] = {}
    place = 0
    for found in _SEQUENCE.finditer(text):
        parts.append(_styled(text[place : found.start()], style))
        place = found.end()
        if found[1] is not None:
            _restyle(style, found[1])
    parts.append(_styled(text[place:], style))
    return Markup("".join(parts))  # noqa: S704 - of escaped parts


def _styled(text: str, style: dict[str, None]) -> str:
    shown = escape(visible(text))
    if not shown or not style:
        return shown
    return f'<span class="{" ".join(style)}">{shown}</span>'


def _restyle(style: dict[str, None], given: str) -> None:
    """Change the classes as a command for colours says."""
    numbers = [int(part[:4] or 0) for part in re.split("[;:]", given)[:_CODES_MAX]]
    codes = iter(numbers)
    for code in codes:
        if code == 0:
            style.clear()
        elif code in _STYLES:
            style[_STYLES[code]] = None
        elif code in _COLOURS:
            _colour(style, _COLOURS[code])
        elif code in _EXTENDED:
            _extend(style, code, codes)
        else:
            for name in _RESETS.get(code, ()):
                style.pop(name, None)


def _extend(style: dict[str, None], code: int, codes: Iterator[int]) -> None:
    """Take one of 256 colours if it is one of the page's, and pass over the others."""
    kind, number = next(codes, 0), next(codes, 0)
    if kind == _RGB:
        next(codes, 0), next(codes, 0)
    elif number < _COLOURS_MAX and code == _FOREGROUND:
        _colour(style, number)


def _colour(style: dict[str, None], number: int | None) -> None:
    for name in [name for name in style if name.startswith("ansi")]:
        del style[name]
    if number is not None:
        style[f"ansi{number}"] = None


# -- quantities ------------------------------------------------------------------------


def in_bytes(count: int) -> str:
    """Return a number of bytes for people."""
    number, unit = float(count), 0
    while number >= _STEP and unit < len(_UNITS) - 1:
        number /= _STEP
        unit += 1
    digits = 1 if unit and number < _TENS else 0
    return f"{number:.{digits}f} {_UNITS[unit]}"


def duration(seconds: float) -> str:
    """Return a length of time for people."""
    if seconds < 1:
        return f"{seconds * 1e3:.0f} ms"
    if seconds < _TENS:
        return f"{seconds:.1f} s"
    return _span(seconds)


def _span(seconds: float) -> str:
    for size, unit in _SPANS:
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return "0 s"


def ago(at: float, now: float | None = None) -> str:
    """Return how long ago a moment was, or how soon it is."""
    passed = (time.time() if now is None else now) - at
    if abs(passed) < 1:
        return "now"
    if abs(passed) >= _DAYS_MAX * _DAY:
        return _utc(at).date().isoformat()
    return f"{_span(passed)} ago" if passed > 0 else f"in {_span(-passed)}"


def moment(at: float | datetime | None) -> Markup:
    """Return a moment as HTML: relative, and absolute as its title."""
    if at is None:
        return Markup("&mdash;")
    seconds = at.timestamp() if isinstance(at, datetime) else at
    exact = _utc(seconds)
    return Markup('<time datetime="{}" title="{} UTC">{}</time>').format(
        exact.isoformat(timespec="seconds"), exact.strftime("%F %T"), ago(seconds)
    )


def _utc(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, timezone.utc)
