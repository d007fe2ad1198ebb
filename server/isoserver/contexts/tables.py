"""Tables of contexts: what is left of them without a process. Times as time.time()."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
)

from isoserver.storage.database import METADATA

__all__ = ["CELLS", "CONTEXTS"]

CONTEXTS: Final = Table(
    "contexts",
    METADATA,
    Column("workspace", String, primary_key=True),
    Column("id", String, primary_key=True),
    Column("language", String, nullable=False),
    Column("cwd", Text, nullable=False),
    Column("state", String, nullable=False),
    Column("reason", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("last_used", Double, nullable=False),
    Column("execution_count", Integer, nullable=False),
    Column("heap_memory_max", BigInteger),
    # The last checkpoint, what it was numbered with, and when it was made.
    Column("heap", String(64)),
    Column("heap_count", Integer, nullable=False),
    Column("heap_at", Double),
    Index("contexts_by_heap", "workspace", "heap"),
)

CELLS: Final = Table(
    "context_cells",
    METADATA,
    # What a context had run up to its last checkpoint, for its notebook.
    Column("workspace", String, primary_key=True),
    Column("context", String, primary_key=True),
    Column("number", BigInteger, primary_key=True),
    Column("size", Integer, nullable=False),
    Column("data", LargeBinary, nullable=False),
)
