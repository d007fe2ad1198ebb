"""Machine code of ours between V8 and Python."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

import pytest

from isokernel.v8 import linkage

if TYPE_CHECKING:
    from collections.abc import Callable


def test_a_function_is_called_where_another_refuses() -> None:
    """Machine code of ours, as V8 asks whether its heap may grow very often."""
    asked: list[tuple[str, int, int]] = []
    kind = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_size_t, ctypes.c_size_t)

    def note(name: str, answer: Callable[[int], bool]) -> Any:
        def called(heap: int, size: int) -> bool:
            asked.append((name, heap, size))
            return answer(size)

        return kind(called)

    first = note("first", lambda size: size < 10)
    second = note("second", lambda size: size < 20)
    places = [ctypes.cast(each, ctypes.c_void_p).value or 0 for each in (first, second)]
    place = linkage._after(*places)
    if place is None:
        pytest.skip("this processor or system has no such code")
    both = kind(place)
    assert [both(1 << 40, size) for size in (5, 15, 25)] == [True, True, False]
    assert asked == [
        ("first", 1 << 40, 5),
        ("first", 1 << 40, 15),
        ("second", 1 << 40, 15),
        ("first", 1 << 40, 25),
        ("second", 1 << 40, 25),
    ]


def test_a_callback_is_called_for_some_numbers_only() -> None:
    """Machine code of ours, as V8 reports much that is of no interest very often."""
    called: list[tuple[int, int]] = []
    kind = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int)
    callback = kind(lambda isolate, feature: called.append((isolate, feature)))
    address = ctypes.cast(callback, ctypes.c_void_p).value or 0
    place = linkage.only_for({0, 7, 255}, address)
    if place == address:
        pytest.skip("this processor or system has no such code")
    for number in (*range(260), -1):
        kind(place)(1 << 40, number)
    # What is beyond the table is left to the callback.
    numbers = [0, 7, 255, 256, 257, 258, 259, -1]
    assert called == [(1 << 40, number) for number in numbers]


@pytest.mark.parametrize("coded", [True, False])
def test_the_first_that_is_true_is_found(
    monkeypatch: pytest.MonkeyPatch, *, coded: bool
) -> None:
    """One call instead of forty, as each object that is printed is asked what it is."""
    if not coded:
        monkeypatch.setattr(linkage, "machine_code", lambda *_instructions: None)
    asked: list[int] = []
    kind = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_void_p)

    def predicate(number: int) -> Any:
        def holds(handle: int) -> bool:
            asked.append(number)
            return handle >> 40 == number

        return kind(holds)

    predicates = [predicate(number) for number in range(300)]
    find = linkage.first_true(predicates)
    for number in (1, 7, 299, 300):
        asked.clear()
        assert find((number << 40) + 5) == number
        assert asked == list(range(min(number + 1, 300)))
