"""Whose turn it is."""

from __future__ import annotations

from collections import Counter

from isoserver.runs.queue import Turns


def test_turns_go_round() -> None:
    turns: Turns[str] = Turns(4, 3)
    for number in range(5):
        turns.enter("a", f"a{number}")
    got = [turns.next() for _ in range(5)]
    assert got == ["a0", "a1", "a2", None, None]  # its share
    turns.enter("b", "b0")
    turns.enter("b", "b1")
    assert [turns.next(), turns.next()] == ["b0", None]
    turns.leave("a")
    assert turns.next() == "b1"  # that has fewer
    assert turns.remove("a", "a3")
    assert not turns.remove("a", "a3")
    assert turns.waiting() == ["a4"]
    for workspace in "aabb":
        turns.leave(workspace)
    assert turns.next() == "a4"
    # Of those that have as few, none comes twice before another comes once.
    turns = Turns(1, 1)
    for number in range(9):
        for workspace in "abc":
            turns.enter(workspace, f"{workspace}{number}")
    seen = []
    while (one := turns.next()) is not None:
        seen.append(one)
        turns.leave(one[0])
    assert len(seen) == 27
    for place in range(0, 27, 3):
        assert set(Counter(one[0] for one in seen[: place + 3]).values()) == {
            place // 3 + 1
        }
