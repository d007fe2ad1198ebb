"""The value of an execution as JSON: read from a reply, and cut to a budget."""

from __future__ import annotations

import itertools
import json
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

    from isoserver.contexts.jobs import Execution

__all__ = ["Result", "cut_json", "cut_text", "fit", "read_result", "result_of"]

_DEPTH_MAX: Final = 110
"""Levels; contexts bound their results to 100, and readers of JSON give up at 200."""
_MARK: Final = 40
"""Characters that say what is left out, about."""
_TRIES: Final = 8
_LEVELS_AT_ONCE: Final = 8
_STRINGS: Final = re.compile(r'"(?:[^"\\]+|\\.)*"', re.DOTALL)
_ALIKE: Final = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
_OPENING: Final = ord("[")
_LARGE_NUMBERS: Final = re.compile("[eE][+]?[0-9]{3}"), re.compile("[0-9]{300}")
_decode: Final = msgspec.json.decode
_RAW: Final = msgspec.json.Decoder(msgspec.Raw)
_LIST: Final = msgspec.json.Decoder(list[msgspec.Raw])
_OBJECT: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


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


def result_of(execution: Execution, reply: dict[str, Any]) -> Result:
    """Return the value of an execution; of a kernel's also what is no JSON."""
    result = read_result(reply)
    if execution.language.engine == "v8" or result.text is not None:
        return result
    shown = [
        str(item["data"].get("text/plain", ""))
        for item in execution.outputs.displays()
        if item["output_type"] == "execute_result"
    ]
    if not shown:
        return result
    return Result(shown=shown[-1], note="the value isn't JSON")


def _is_json(text: str) -> bool:
    """Whether every reader can read a text as JSON."""
    if text.count("[") + text.count("{") > _DEPTH_MAX and _depth(text) > _DEPTH_MAX:
        return False
    try:
        if any(large.search(text) for large in _LARGE_NUMBERS):
            _decode(text)
        else:  # which makes no values: that takes seconds
            _RAW.decode(text)
    except (ValueError, RecursionError):
        return False
    return True


def _depth(text: str) -> int:
    """Return how deep JSON text is nested.

    The innermost levels, which most brackets are of, are taken away at once.
    """
    bare = _STRINGS.sub("", text) if '"' in text else text
    brackets = bare.encode().translate(_ALIKE, _NO_BRACKETS)
    for depth in range(_LEVELS_AT_ONCE):
        if not brackets:
            return depth
        brackets = brackets.replace(b"[]", b"")
    steps = (1 if bracket == _OPENING else -1 for bracket in brackets)
    return _LEVELS_AT_ONCE + max(itertools.accumulate(steps), default=0)


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
    value = _open(text)
    room = characters
    for _ in range(_TRIES):
        cut = _json(_fit(value, room))
        if len(cut) <= characters:
            return cut
        room = room * characters // (len(cut) + _MARK)  # what is escaped takes more
    return _json(f"… {len(text)} characters …")


def fit(value: Any, characters: int) -> Any:
    """Return plain data, cut to so many characters of JSON."""
    return _decode(cut_json(_json(value), characters))


def _open(text: str) -> Any:
    """Decode one level of JSON: what is in it may be much, and nobody's concern."""
    first = text.lstrip()[:1]
    if first == "[":
        return _LIST.decode(text)
    return _OBJECT.decode(text) if first == "{" else _decode(text)


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _fit(value: Any, characters: int) -> Any:
    """Cut a value that `_open` gave."""
    if isinstance(value, str):
        return cut_text(value, max(characters - 2, 0))
    if not isinstance(value, (list, dict)):
        return value
    is_list = isinstance(value, list)
    what = "items" if is_list else "properties"
    if characters <= 2 * _MARK:
        return f"… {len(value)} {what} …"
    room = characters - _MARK
    # Neither is gone through to its end, as there may be millions.
    items = enumerate(value) if isinstance(value, list) else value.items()
    head = _take(items, room - room // 4, named=not is_list, least=1)
    left = len(value) - len(head)
    if isinstance(value, list):
        back: Iterable[tuple[Any, Any]] = ((None, item) for item in reversed(value))
    else:
        back = reversed(value.items())
    last = itertools.islice(back, left)
    tail = _take(last, room // 4, named=not is_list, least=0)[::-1]
    gone = left - len(tail)
    if is_list:
        middle = [f"… {gone} more {what} …"] if gone else []
        return [item for _, item in head] + middle + [item for _, item in tail]
    found = {cut_text(str(name), room): item for name, item in head}
    if gone:
        found["…"] = f"{gone} more {what}"
    return found | dict(tail)


def _take(
    items: Iterable[tuple[Any, Any]], characters: int, *, named: bool, least: int
) -> list[tuple[Any, Any]]:
    """Return the first items that fit; the first one is cut if need be."""
    taken: list[tuple[Any, Any]] = []
    used = 0
    for name, item in items:
        text = bytes(item).decode()
        size = len(text) + 1 + (len(name) + 3 if named else 0)
        used += size
        if used > characters:
            if len(taken) < least:
                cut = _fit(_open(text), max(characters - used + size, 0))
                taken.append((name, cut))
            break
        taken.append((name, item))
    return taken
