"""How many contexts go where, so that servers are alike full."""

from __future__ import annotations

import random

import pytest

from isoserver.cluster.balance import Load, Shift, shifts


def loads(*pairs: tuple[int, int]) -> list[Load]:
    return [Load(str(at), live, room) for at, (live, room) in enumerate(pairs)]


@pytest.mark.parametrize(
    "pairs",
    [
        (),
        ((7, 10),),
        ((0, 10), (0, 10)),
        ((1, 10), (0, 10)),
        ((5, 10), (5, 10), (5, 10)),
        ((50, 100), (45, 100)),
        ((10, 100), (100, 1000)),
    ],
)
def test_servers_that_have_their_shares_keep_them(
    pairs: tuple[tuple[int, int], ...],
) -> None:
    assert shifts(loads(*pairs)) == []


def test_a_new_server_gets_what_is_its_share() -> None:
    assert shifts(loads((100, 1000), (0, 1000))) == [Shift("0", "1", 45)]
    assert shifts(loads((90, 100), (0, 200))) == [Shift("0", "1", 57)]


def test_any_servers_come_near_their_shares_and_few_contexts_move() -> None:
    for seed in range(300):
        chosen = random.Random(seed)  # noqa: S311 -- the same ones each time
        rooms = [chosen.randint(1, 200) for _ in range(chosen.randint(1, 8))]
        before = loads(*((chosen.randint(0, room), room) for room in rooms))
        after = {each.id: each.live for each in before}
        moved = 0
        for giver, receiver, number in shifts(before):
            assert number > 0
            after[giver] -= number
            after[receiver] += number
            moved += number
        part = sum(after.values()) / sum(rooms)
        over = 0.0
        for each in before:
            share = part * each.capacity
            assert after[each.id] >= 0
            assert abs(after[each.id] - share) <= max(1.0, share / 10)
            over += max(0.0, each.live - share)
        assert moved <= over + len(rooms)
