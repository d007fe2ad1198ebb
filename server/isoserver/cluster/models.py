"""What is told of the servers of a cluster."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from isoserver.cluster.kinds import CONTEXT, RUN
from isoserver.http.models import AnswerModel, RequestModel

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from isoserver.cluster.balance import Shift
    from isoserver.cluster.tables import Key, Owned, ServerRow

__all__ = [
    "ClusterServerModel",
    "ClusterServersModel",
    "MoveRequest",
    "MovedContextModel",
    "RebalancedModel",
    "moved_answer",
    "servers_answer",
]


class ClusterServerModel(AnswerModel):
    """A server."""

    id: str = Field(description="Its id, a new one at every start.")
    url: str = Field(description="Where the others reach it.")
    state: Literal["starting", "serving", "draining", "lost"] = Field(
        description="`starting`: it takes nothing yet. `draining`: it takes nothing "
        "new, and gives away what it has. `lost`: its lease is over, and others are "
        "taking over."
    )
    here: bool = Field(description="Whether it is the one that answers.")
    capacity: int = Field(description="Live contexts that it may have.")
    load: int = Field(description="Live contexts that it had when it was seen last.")
    contexts: int = Field(description="Contexts that it owns, also those asleep.")
    runs: int = Field(description="Executions and tasks that it owns.")
    age_seconds: float = Field(description="Since it has started.")
    seen_seconds: float = Field(description="Since it has renewed its lease.")


class ClusterServersModel(AnswerModel):
    """All servers, the one that has started first first."""

    items: list[ClusterServerModel]


class MoveRequest(RequestModel):
    """Where a context is to go."""

    server: str | None = Field(
        default=None,
        max_length=2048,
        description="The server, by its id or its URL. Without one, the emptiest of "
        "those that take contexts.",
    )


class MovedContextModel(AnswerModel):
    """Where a context is."""

    id: str = Field(description="The context's id.")
    server: str = Field(description="The id of the server that has it.")
    url: str = Field(description="Where the others reach that.")


class RebalancedContextModel(AnswerModel):
    """A context that was moved."""

    workspace: str
    id: str
    from_: str = Field(alias="from", description="The id of the server that had it.")
    to: str = Field(description="That of the server that has it.")


class RebalancedModel(AnswerModel):
    """What was moved at one request."""

    items: list[RebalancedContextModel]
    left: int = Field(description="Contexts that would have to move beside these.")


def moved_answer(
    wanted: Sequence[Shift], moved: Sequence[Sequence[Key]]
) -> dict[str, Any]:
    """Return what was moved, of what was to be, as plain data."""
    items = [
        {"workspace": key[0], "id": key[1], "from": shift.giver, "to": shift.receiver}
        for shift, keys in zip(wanted, moved, strict=True)
        for key in keys
    ]
    left = sum(shift.number for shift in wanted) - len(items)
    return {"items": items, "left": left}


def servers_answer(
    rows: Iterable[ServerRow], owned: Iterable[Owned], here: str
) -> dict[str, Any]:
    """Return the servers as plain data."""
    counts = Counter({(one.server, one.kind): one.number for one in owned})
    return {
        "items": [
            {
                "id": row.id,
                "url": row.url,
                "state": _state(row),
                "here": row.id == here,
                "capacity": row.capacity,
                "load": row.load,
                "contexts": counts[row.id, CONTEXT],
                "runs": counts[row.id, RUN],
                "age_seconds": round(row.age_seconds, 3),
                "seen_seconds": round(row.seen_seconds, 3),
            }
            for row in rows
        ]
    }


def _state(row: ServerRow) -> str:
    if row.fenced or row.expired:
        return "lost"
    if row.draining:
        return "draining"
    return "serving" if row.takes else "starting"
