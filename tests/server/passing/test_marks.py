"""What one server signs for another: who asks, for one request, once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isoserver.errors import PeerMarkError, PeerUnreachableError
from isoserver.passing.marks import Marks
from isoserver.principal import Principal

SECRET = "x" * 32
RED = Principal("red", "somebody: \u2713", admin=False)
URL = "/contexts/a%20b?x=1"


def _pair() -> tuple[Marks, Marks]:
    return Marks(SECRET, "one"), Marks(SECRET, "two")


def test_the_principal_arrives_as_it_was() -> None:
    one, two = _pair()
    assert two.read(one.make("two", "GET", URL, RED), "GET", URL) == RED
    assert one.read(two.make("one", "PUT", "/", RED), "PUT", "/") == RED


def test_a_mark_counts_once() -> None:
    one, two = _pair()
    mark = one.make("two", "POST", "/execute", RED)
    assert two.read(mark, "POST", "/execute") == RED
    with pytest.raises(PeerMarkError):
        two.read(mark, "POST", "/execute")


@pytest.mark.parametrize(
    ("method", "url"), [("POST", URL), ("GET", "/contexts/a%20b"), ("GET", "/")]
)
def test_a_mark_is_for_one_request(method: str, url: str) -> None:
    one, two = _pair()
    mark = one.make("two", "GET", URL, RED)
    with pytest.raises(PeerMarkError):
        two.read(mark, method, url)
    assert two.read(mark, "GET", URL) == RED  # it wasn't used up


def test_a_mark_is_for_one_server() -> None:
    one, two = _pair()
    for receiver in ("three", "one", ""):
        with pytest.raises(PeerUnreachableError):  # who else is at this address
            two.read(one.make(receiver, "GET", URL, RED), "GET", URL)


def test_another_secret_is_another_cluster() -> None:
    _, two = _pair()
    other = Marks(SECRET + "!", "one")
    with pytest.raises(PeerMarkError):
        two.read(other.make("two", "GET", URL, RED), "GET", URL)


@given(st.text(max_size=200))
def test_no_text_is_a_mark(text: str) -> None:
    _, two = _pair()
    with pytest.raises(PeerMarkError):
        two.read(text, "GET", URL)


@given(st.data())
def test_a_mark_that_was_changed_is_none(data: st.DataObject) -> None:
    one, two = _pair()
    mark = one.make("two", "GET", URL, RED)
    place = data.draw(st.integers(0, len(mark) - 1))
    letter = data.draw(st.characters(codec="ascii"))
    changed = mark[:place] + letter + mark[place + 1 :]
    if changed.lower() == mark.lower() and place > mark.index("."):
        return  # the same number, written with another letter
    if changed == mark:
        return
    with pytest.raises(PeerMarkError):
        two.read(changed, "GET", URL)


@given(st.permutations(range(40)))
def test_marks_may_come_in_any_order(order: list[int]) -> None:
    one, two = _pair()
    marks = [one.make("two", "GET", URL, RED) for _ in order]
    for number in order:
        assert two.read(marks[number], "GET", URL) == RED
    for mark in marks:
        with pytest.raises(PeerMarkError):
            two.read(mark, "GET", URL)


def test_one_that_is_far_behind_is_refused() -> None:
    one, two = _pair()
    early = [one.make("two", "GET", URL, RED) for _ in range(2)]
    for _ in range(4095):
        mark = one.make("two", "GET", URL, RED)
    assert two.read(mark, "GET", URL) == RED
    assert two.read(early[1], "GET", URL) == RED  # the last one that is known
    with pytest.raises(PeerMarkError):
        two.read(early[0], "GET", URL)


def test_what_is_made_for_one_server_takes_no_numbers_of_another() -> None:
    one, two = _pair()
    first = one.make("two", "GET", URL, RED)
    for _ in range(10_000):
        one.make("three", "GET", URL, RED)
    assert two.read(one.make("two", "GET", URL, RED), "GET", URL) == RED
    assert two.read(first, "GET", URL) == RED
