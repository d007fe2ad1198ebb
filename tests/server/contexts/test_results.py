"""Results as JSON: what is checked and cut takes less time than making values of it."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, Final

import pytest

from isoserver.contexts.results import cut_json, read_result
from isoserver.runs.answers import PREVIEW_MAX_CHARACTERS, _preview

if TYPE_CHECKING:
    from collections.abc import Callable

LARGE: Final = {
    "flat": f"[{','.join(['[1]'] * 500_000)}]",
    "deep": f"[{','.join(['[' * 99 + ']' * 99] * 10_000)}]",
    "object": json.dumps({f"k{n}": {"a": [n]} for n in range(100_000)}),
}


def _seconds(run: Callable[[], Any]) -> float:
    """The least processor time of some runs: a busy machine adds to each."""

    def once() -> float:
        began = time.thread_time()
        run()
        return time.thread_time() - began

    return min(once() for _ in range(5))


@pytest.mark.parametrize("text", LARGE.values(), ids=LARGE)
def test_no_values_are_made_of_a_large_result(text: str) -> None:
    """The server's other clients wait meanwhile."""
    made = _seconds(lambda: json.loads(text))
    assert _seconds(lambda: read_result({"result_json": text})) < made
    assert _seconds(lambda: cut_json(text, 100_000)) < made
    assert _seconds(lambda: _preview(text)) < made
    assert read_result({"result_json": text}).text == text
    assert len(json.dumps(json.loads(cut_json(text, 1000)))) < 2000
    assert len(_preview(text)) < PREVIEW_MAX_CHARACTERS + 100


@pytest.mark.parametrize(
    ("text", "is_kept"),
    [
        *(("[" * 110 + "]" * 110, True), ("[" * 111 + "]" * 111, False)),
        *(('{"a":' * 111 + "1" + "}" * 111, False), ('["' + "[" * 200 + '"]', True)),
        *(('["\\\\\\"' + "[" * 200 + '"]', True), (f"[{'[],' * 200}[]]", True)),
        *(("[1,,2]", False), ("[1e309]", False), ("[1e308]", True), ("[1", False)),
        *(("9" * 400, True), ('"\\ud800"', False), ("", False), ('{"a":1,}', False)),
    ],
)
def test_what_every_reader_reads_is_json(text: str, is_kept: bool) -> None:  # noqa: FBT001
    found = read_result({"result_json": text})
    assert (found.text == text) == is_kept
    assert is_kept or found.note == "the value isn't JSON"


@pytest.mark.parametrize(
    ("value", "characters", "cut"),
    [
        ([1, 2, 3], 100, [1, 2, 3]),
        (list(range(99)), 100, [*range(18), "… 76 more items …", 94, 95, 96, 97, 98]),
        ("x" * 300, 100, "x" * 44 + "… 242 characters …" + "x" * 14),
    ],
)
def test_head_and_tail_are_kept(value: Any, characters: int, cut: Any) -> None:
    assert json.loads(cut_json(json.dumps(value), characters)) == cut
