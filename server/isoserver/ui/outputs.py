"""What cells put out, as HTML in which nothing of theirs runs.

Text is escaped. HTML and SVG are documents of their own in a sandboxed frame, whose
policy has neither scripts nor a network; images are data, of the types that browsers
decode and don't run. There is a limit to all of it, as pages are made again and again
while they are looked at: the notebook has everything.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from markupsafe import Markup, escape

from isoserver.ui.text import cut, terminal, visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from isoserver.contexts.jobs import Execution

__all__ = ["CellView", "Room", "code_view", "display_view", "json_view", "outputs_view"]

TEXT_MAX: Final = 20_000
"""Characters of one text that are shown."""
CODE_MAX: Final = 50_000
ROOM_MAX: Final = 4_000_000
"""Characters of HTML and images on one page."""
OUTPUTS_MAX: Final = 100
"""Outputs of one cell that are shown."""
FRAME_POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:; "
    "base-uri 'none'; form-action 'none'"
)
_FRAME_HEAD: Final = (
    "<!doctype html><meta charset=utf-8><meta http-equiv=Content-Security-Policy "
    f'content="{FRAME_POLICY}"><meta name=referrer content=no-referrer>'
    "<base target=_blank>"  # where links lead nowhere, as no windows may be opened
    "<style>:root{color-scheme:light}body{margin:8px;font:14px/1.45 system-ui,"
    "sans-serif;color:#1c1e21;background:#fff}table{border-collapse:collapse}"
    "td,th{padding:2px 8px;text-align:right}svg{max-width:100%;height:auto}</style>"
)
_FRAMED: Final = {"text/html": "HTML", "image/svg+xml": "SVG"}
_IMAGES: Final = ("image/png", "image/jpeg", "image/gif", "image/webp")
_TEXTS: Final = ("text/markdown", "application/json", "text/latex", "text/plain")
_BASE64: Final = re.compile(r"[A-Za-z0-9+/]+={0,2}")


class Room:
    """How much HTML and how many images a page may still have."""

    def __init__(self, characters: int = ROOM_MAX) -> None:
        """Begin with all of it."""
        self._left = characters

    def take(self, text: str) -> bool:
        """Take what a text needs; return whether there is so much."""
        if len(text) > self._left:
            return False
        self._left -= len(text)
        return True


class CellView(NamedTuple):
    """A cell as the page shows it.

    Attributes:
        key: Names it among the cells of its context.
        number: Its number; 0 while it has none.
        code: What was run.
        outputs: What it put out.
        state: `running`, `failed` or `done`.
    """

    key: str
    number: int
    code: Markup
    outputs: Markup
    state: str

    @classmethod
    def of(cls, execution: Execution, room: Room) -> CellView:
        """View an execution that runs, or has run, in this server."""
        state = "running"
        if execution.done.done():
            state = "done" if execution.failure is None else "failed"
        items = execution.outputs.items
        return cls(
            f"c{execution.number}",
            execution.count,
            code_view(execution.code),
            outputs_view(items, room),
            state,
        )

    @classmethod
    def of_stored(cls, number: int, content: Mapping[str, Any], room: Room) -> CellView:
        """View a cell that an earlier process has run; see `history.cell_content`."""
        items = content["outputs"]
        failed = any(item["output_type"] == "error" for item in items)
        return cls(
            f"c{number}",
            content["count"],
            code_view(content["code"]),
            outputs_view(items, room),
            "failed" if failed else "done",
        )


def code_view(code: str, limit: int | None = CODE_MAX) -> Markup:
    """Return code as HTML: its characters, and those that would not be seen.

    Args:
        code: The source text.
        limit: Characters that are shown; None for all.
    """
    return escape(visible(code if limit is None else cut([code], limit)[0]))


def json_view(text: str, limit: int | None = CODE_MAX) -> Markup:
    """Return JSON with indentation, or what is no JSON as it is; see `code_view`."""
    if limit is None or len(text) <= limit:
        with suppress(ValueError, RecursionError):
            text = json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    return code_view(text, limit)


def outputs_view(items: Iterable[Mapping[str, Any]], room: Room) -> Markup:
    """Return outputs, in nbformat's form, as HTML; a stream's text may be in pieces."""
    items = list(items)
    left_out = len(items) - OUTPUTS_MAX
    if left_out > 0:
        half = OUTPUTS_MAX // 2
        items = [*items[:half], {"output_type": "gap"}, *items[-half:]]
    return Markup().join(_output(item, room, left_out) for item in items)


def _output(item: Mapping[str, Any], room: Room, left_out: int) -> Markup:
    kind = item["output_type"]
    if kind == "gap":
        return _note(f"{left_out} outputs are left out here; the notebook has them")
    if kind == "stream":
        text, _ = cut(_pieces(item["text"]), TEXT_MAX)
        name = "stderr" if item["name"] == "stderr" else "stdout"
        return Markup('<pre class="out {}">{}</pre>').format(name, terminal(text))
    if kind == "error":
        lines = [str(line) for line in item["traceback"]]
        known = f"{item['ename']}: {item['evalue']}"
        text, _ = cut(["\n".join(lines) or known], TEXT_MAX)
        return Markup('<pre class="out failed">{}</pre>').format(terminal(text))
    return display_view(item.get("data") or {}, room)


def display_view(data: Mapping[str, Any], room: Room) -> Markup:
    """Return something that was displayed, in the richest form that can be shown."""
    for kind, name in _FRAMED.items():
        if kind in data:
            text = "".join(_pieces(data[kind]))
            if room.take(text):
                return _frame(text, name)
            return _text(data) + _note(f"this page has no room for its {name}")
    for kind in _IMAGES:
        if kind in data:
            return _image(kind, "".join(_pieces(data[kind])), room)
    return _text(data)


def _frame(text: str, name: str) -> Markup:
    return Markup(
        '<iframe sandbox loading="lazy" title="{} output" srcdoc="{}"></iframe>'
    ).format(name, _FRAME_HEAD + text)


def _image(kind: str, text: str, room: Room) -> Markup:
    data = "".join(text.split())
    if not _BASE64.fullmatch(data):
        return _note(f"{kind} that is no base64")
    if not room.take(data):
        return _note(f"this page has no room for its {kind}")
    return Markup('<img alt="Image output" src="data:{};base64,{}">').format(kind, data)


def _text(data: Mapping[str, Any]) -> Markup:
    for kind in _TEXTS:
        if kind not in data:
            continue
        value = data[kind]
        if kind == "application/json" and not isinstance(value, str):
            value = json.dumps(value, indent=2, ensure_ascii=False, default=str)
        text, _ = cut(_pieces(value), TEXT_MAX)
        return Markup('<pre class="out">{}</pre>').format(terminal(text))
    kinds = ", ".join(sorted(data)) or "nothing"
    return _note(f"of a type that isn't shown here: {visible(kinds)[:200]}")


def _note(text: str) -> Markup:
    return Markup('<p class="note">{}</p>').format(text)


def _pieces(value: Any) -> list[str]:
    """Return a text that is in one piece, or in several, as pieces."""
    if isinstance(value, list):
        return [str(piece) for piece in value]
    return [value if isinstance(value, str) else str(value)]
