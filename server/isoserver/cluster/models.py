"""What is told of the servers of a cluster."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from isoserver.cluster.kinds import CONTEXT, RUN
from isoserver.http.models import AnswerModel

if TYPE_CHECKING:
    from collections.abc import Iterable

    from isoserver.cluster.tables import Owned, ServerRow

__all__ = ["ClusterServerModel", "ClusterServersModel", "servers_answer"]


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
