"""How many live contexts go from which server to which, so that all are alike full."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Load", "Shift", "shifts"]

_SLACK_PART: Final = 0.1
"""Of its share, that a server may have more or less."""


class Load(NamedTuple):
    """How full a server is.

    Attributes:
        id: The server's id.
        live: Live contexts that it has.
        capacity: Those that it may have.
    """

    id: str
    live: int
    capacity: int


class Shift(NamedTuple):
    """What one server is to give to another.

    Attributes:
        giver: The id of the one.
        receiver: That of the other.
        number: How many contexts.
    """

    giver: str
    receiver: str
    number: int


def shifts(loads: Iterable[Load]) -> list[Shift]:
    """Return what brings each server within a tenth of its share, or one context.

    A server's share is what it would have if all were full to the same part.
    """
    servers = list(loads)
    room = sum(each.capacity for each in servers)
    part = sum(each.live for each in servers) / max(1, room)
    over = {each.id: each.live - part * each.capacity for each in servers}
    slack = {each.id: max(1.0, _SLACK_PART * part * each.capacity) for each in servers}
    wanted: Counter[tuple[str, str]] = Counter()
    while any(abs(over[each]) > slack[each] for each in over):
        giver, receiver = (
            max(over, key=over.__getitem__),
            min(over, key=over.__getitem__),
        )
        over[giver] -= 1
        over[receiver] += 1
        wanted[giver, receiver] += 1
    return [Shift(*pair, number) for pair, number in wanted.items()]
