"""The table of tasks. Times are seconds since 1970."""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Column, Double, Index, String, Table

from isoserver.executions.tables import Utf8
from isoserver.storage.database import METADATA

__all__ = ["TASKS"]

_ID_LENGTH: Final = 64

TASKS: Final = Table(
    "tasks",
    METADATA,
    Column("id", String(_ID_LENGTH), primary_key=True),
    Column("workspace", String(255), nullable=False),
    Column("session", String(255)),
    Column("status", String(24), nullable=False),
    Column("created_at", Double, nullable=False),
    Column("started_at", Double),
    Column("ended_at", Double),
    # The rest of the order and how it ended, as JSON: nobody searches in it.
    Column("order", Utf8, nullable=False),
    Column("ending", Utf8),
    Column("size", BigInteger, nullable=False),
    Index("tasks_newest", "workspace", "created_at"),
    Index("tasks_newest_of_status", "workspace", "status", "created_at"),
    Index("tasks_ended", "ended_at"),
)
"""One row for each task; `queued` until it has ended, whatever it is at meanwhile."""
