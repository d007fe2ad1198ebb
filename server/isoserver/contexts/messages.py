"""Messages from a context, which are validated before anything believes them.

Code can take over the process it runs in, and Python code can send any message at will.
A valid message can be kept, counted, stored and sent as JSON.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Message", "is_valid"]

_COUNT_MAX: Final = (1 << 31) - 1
"""The largest number that a database's INTEGER column takes."""
_SCALARS: Final = frozenset({str, int, float, bool, type(None)})
_TEXT: Final = frozenset({str})
_RESULTS: Final = ("result_json", "result_text", "result_note", "result_whole")
_STREAMS: Final = frozenset({"stdout", "stderr"})


class Message(NamedTuple):
    """A message from a context, without its envelope.

    Attributes:
        kind: Its type, as Jupyter's protocol names it.
        buffers: Binary attachments.
    """

    kind: str
    content: dict[str, Any]
    metadata: dict[str, Any]
    buffers: tuple[bytes, ...] = ()


def is_valid(message: Message) -> bool:
    """Whether a message is as the protocol says, and its content plain data."""
    kind, content = message.kind, message.content
    if kind == "stream":  # most are
        name = content.get("name")
        known = type(name) is str and name in _STREAMS
        return known and type(content.get("text")) is str
    if not _is_plain(content) or (message.metadata and not _is_plain(message.metadata)):
        return False
    if kind.endswith("_reply"):
        return _is_reply(content)
    check = _FORMS.get(kind)
    return check is None or check(content)


def _is_plain(data: Any) -> bool:
    """Whether data could have come from JSON."""
    waiting = [data]
    while waiting:
        value = waiting.pop()
        kind = type(value)
        if kind is list:
            parts = value
        elif kind is dict:
            if not _TEXT.issuperset(map(type, value)):
                return False
            parts = value.values()
        elif kind in _SCALARS:
            continue
        else:
            return False
        if not _SCALARS.issuperset(map(type, parts)):  # most are: at once
            waiting += parts
    return True


def _is_reply(content: dict[str, Any]) -> bool:
    count = content.get("execution_count")
    if not (count is None or (type(count) is int and 0 <= count <= _COUNT_MAX)):
        return False
    for name in _RESULTS:
        if name in content and type(content[name]) is not str:
            return False
    lines = content.get("traceback")
    return lines is None or _are_texts(lines)


def _is_error(content: dict[str, Any]) -> bool:
    named = all(isinstance(content.get(name), str) for name in ("ename", "evalue"))
    return named and _are_texts(content.get("traceback"))


def _is_display(content: dict[str, Any]) -> bool:
    transient = content.get("transient") or {}
    return (
        isinstance(content.get("data"), dict)
        and isinstance(content.get("metadata") or {}, dict)
        and isinstance(transient, dict)
        and isinstance(transient.get("display_id") or "", str)
    )


def _is_question(content: dict[str, Any]) -> bool:
    return type(content.get("prompt")) is str


def _are_texts(lines: object) -> bool:
    return isinstance(lines, list) and all(isinstance(line, str) for line in lines)


_FORMS: Final[dict[str, Callable[[dict[str, Any]], bool]]] = {
    "error": _is_error,
    "display_data": _is_display,
    "execute_result": _is_display,
    "update_display_data": _is_display,
    "input_request": _is_question,
}
