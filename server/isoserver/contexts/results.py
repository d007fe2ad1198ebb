"""The value of an execution as JSON: read from a reply, and cut to a budget."""

from __future__ import annotations

import json
from typing import Any, Final, NamedTuple

import msgspec

__all__ = ["Result", "cut_json", "cut_text", "fit", "read_result"]

_DEPTH_MAX: Final = 110
"""Levels; contexts bound their results to 100, and readers of JSON give up at 200."""
_MARK: Final = 40
"""Characters that say what is left out, about."""
_TRIES: Final = 8


class Result(NamedTuple):
    """A value as data.

    Attributes:
        text: JSON text; None for what JSON has no word for.
        cut: Whether it is head and tail only, with what lies between counted.
        shown: The value as text, when JSON doesn't hold all of it.
        note: What JSON doesn't hold of it, and what was cut; empty if it holds all.
    """

    text: str | None = None
    cut: bool = False
    shown: str | None = None
    note: str = ""


def read_result(reply: dict[str, Any]) -> Result:
    """Return the value that a reply has; the process that sent it isn't trusted."""
    text = reply.get("result_json")
    shown, note = reply.get("result_text"), reply.get("result_note") or ""
    if text is not None and not _is_json(text):
        text, note = json.dumps(text, ensure_ascii=False), "the value isn't JSON"
    return Result(text, bool(reply.get("result_cut")), shown, note)


def _is_json(text: str) -> bool:
    """Whether every reader can read a text as JSON."""
    depth = 0
    if text.count("[") + text.count("{") > _DEPTH_MAX:
        in_text = False
        pieces = iter(text)
        for piece in pieces:
            if in_text:
                if piece == "\\":
                    next(pieces, None)
                in_text = piece != '"'
            elif piece == '"':
                in_text = True
            elif piece in "[{":
                depth += 1
                if depth > _DEPTH_MAX:
                    return False
            elif piece in "]}":
                depth -= 1
    try:
        msgspec.json.decode(text.encode())
    except (ValueError, RecursionError):
        return False
    return True


# -- cutting ---------------------------------------------------------------------------


def cut_text(text: str, characters: int) -> str:
    """Return head and tail of a text, with the characters between them counted."""
    if len(text) <= characters:
        return text
    room = max(characters - _MARK, 0)
    head, tail = room - room // 4, len(text) - room // 4
    return f"{text[:head]}… {tail - head} characters …{text[tail:]}"


def cut_json(text: str, characters: int) -> str:
    """Return JSON text, cut to so many characters: head and tail, as JSON again."""
    if len(text) <= characters:
        return text
    value = msgspec.json.decode(text)
    room = characters
    for _ in range(_TRIES):
        cut = _json(_fit(value, room))
        if len(cut) <= characters:
            return cut
        room = room * characters // (len(cut) + _MARK)  # what is escaped takes more
    return _json(f"… {len(text)} characters …")


def fit(value: Any, characters: int) -> Any:
    """Return plain data, cut to so many characters of JSON."""
    return msgspec.json.decode(cut_json(_json(value), characters))


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _fit(value: Any, characters: int) -> Any:
    if isinstance(value, str):
        return cut_text(value, max(characters - 2, 0))
    if not isinstance(value, (list, dict)):
        return value
    is_list = isinstance(value, list)
    what = "items" if is_list else "properties"
    items: list[tuple[Any, Any]]
    if characters <= 2 * _MARK:
        return f"… {len(value)} {what} …"
    items = list(enumerate(value) if isinstance(value, list) else value.items())
    room = characters - _MARK
    head = _take(items, room - room // 4, named=not is_list, least=1)
    left = items[len(head) :]
    tail = _take(left[::-1], room // 4, named=not is_list, least=0)[::-1]
    gone = len(left) - len(tail)
    if is_list:
        middle = [f"… {gone} more {what} …"] if gone else []
        return [item for _, item in head] + middle + [item for _, item in tail]
    found = {cut_text(str(name), room): item for name, item in head}
    if gone:
        found["…"] = f"{gone} more {what}"
    return found | dict(tail)


def _take(
    items: list[tuple[Any, Any]], characters: int, *, named: bool, least: int
) -> list[tuple[Any, Any]]:
    """Return the first items that fit; the first one is cut if need be."""
    taken: list[tuple[Any, Any]] = []
    used = 0
    for name, item in items:
        size = len(_json(item)) + 1 + (len(name) + 3 if named else 0)
        used += size
        if used > characters:
            if len(taken) < least:
                taken.append((name, _fit(item, max(characters - used + size, 0))))
            break
        taken.append((name, item))
    return taken
