"""Results that are too long for an answer: whole, as a file in the context's folder."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import msgspec

from isoserver.contexts.results import cut_json, read_result
from isoserver.errors import ServerError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from isoserver.contexts.jobs import Execution
    from isoserver.settings.server import ServerSettings

__all__ = ["has_much", "keep_whole", "whole_options"]

_FOLDER: Final = "results"
_PYTHON_MAX_CHARACTERS: Final = 10_000_000
_HEAP_SHARE: Final = 8
"""A context's own limit of memory, divided by this, bounds what is read once more."""


def whole_options(
    settings: ServerSettings,
    name: str = "",
    *,
    above: int = 0,
    heap_bytes_max: int | None = None,
) -> dict[str, Any]:
    """Return the options of an execution whose result may become a file.

    Args:
        settings: The server's settings.
        name: Of the file, without what tells its kind; the execution's number if empty.
        above: Characters above which a result that isn't cut becomes one, too; 0 for
            none.
        heap_bytes_max: What the code may have of memory, if not the server's default.
    """
    heap = heap_bytes_max or settings.v8_heap_bytes_max
    size = settings.result_file_characters_max
    size = size if heap is None else min(size, heap // _HEAP_SHARE)
    return {"whole_max": size, "whole_above": above, "whole_name": name}


def has_much(execution: Execution) -> bool:
    """Whether `keep_whole` has something to do with an execution's reply."""
    reply, options = execution.reply or {}, execution.options
    if reply.get("result_whole"):
        return True
    size = len(reply.get("result_json") or "")
    above = options.get("whole_above") or size
    return size > min(above, _limit(execution))


def _limit(execution: Execution) -> int:
    """Return where the server itself cuts a result; contexts of V8 have done that."""
    if execution.language.engine == "v8":
        return 1 << 62
    return execution.options.get("result_max") or _PYTHON_MAX_CHARACTERS


async def keep_whole(
    execution: Execution, store: Callable[[str, bytes], Awaitable[bool]]
) -> None:
    """Write a long result into a file, and note that in the execution's reply.

    Args:
        execution: It is over.
        store: Writes a file of the context, and returns whether it may be; raises a
            ServerError if it can't be.
    """
    reply, options = execution.reply or {}, execution.options
    whole = reply.pop("result_whole", None)
    result = await asyncio.to_thread(read_result, reply)
    notes = [result.note] if result.note else []
    if not whole and not result.cut:
        whole = result.text
    if result.text is not None and len(result.text) > _limit(execution):
        cut = await asyncio.to_thread(cut_json, result.text, _limit(execution))
        reply |= {"result_json": cut, "result_cut": True}
        notes.append(f"cut from {len(result.text)} characters")
    if whole and len(whole) <= options.get("whole_max", 0):
        name = options.get("whole_name") or str(execution.number)
        kind, data = await asyncio.to_thread(_content, whole)
        path = f"{_FOLDER}/{name}.{kind}"
        try:
            if await store(path, data):
                notes.append(f"{_size(len(data))}, whole in {path}")
        except ServerError as error:
            notes.append(f"{_size(len(data))}, not kept in a file: {error}")
    if notes:
        reply["result_note"] = "; ".join(notes)


def _content(text: str) -> tuple[str, bytes]:
    """Return what a file of a value has, and what its name ends with."""
    if text.startswith('"'):
        try:
            return "txt", msgspec.json.decode(text, type=str).encode()
        except ValueError:  # a context may send anything
            pass
    return "json", text.encode("utf-8", "replace")


def _size(number: int) -> str:
    for unit, size in (("MB", 1e6), ("kB", 1e3)):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return f"{number} bytes"
