"""Tables of heaps. Times are seconds since 1970."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
)

from isoserver.storage.database import METADATA

__all__ = ["ENTRIES", "HEAPS", "TAGS"]

HEAPS: Final = Table(
    "heaps",
    METADATA,
    # A row says that a workspace owns a heap; several may own the same one.
    Column("workspace", String, primary_key=True),
    Column("key", String(64), primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("compressed_size", BigInteger, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("last_used", Double, nullable=False),
    Column("parent", String(64)),
    Column("session", String),
    Column("execution_id", String),
    Column("engine", Text, nullable=False),
    Column("language", String, nullable=False),
    Column("execution_count", Integer, nullable=False),
    # Made for a context that fell asleep: of no use once that has another one.
    Column("automatic", Boolean, nullable=False),
    Index("heaps_by_key", "key"),
    Index("heaps_by_use", "last_used"),
)

TAGS: Final = Table(
    "heap_tags",
    METADATA,
    Column("workspace", String, primary_key=True),
    Column("key", String(64), primary_key=True),
    Column("name", String, primary_key=True),
    Column("value", Text, nullable=False),
    ForeignKeyConstraint(
        ["workspace", "key"], ["heaps.workspace", "heaps.key"], ondelete="CASCADE"
    ),
    Index("heap_tags_by_pair", "workspace", "name", "value"),
)

ENTRIES: Final = Table(
    "session_entries",
    METADATA,
    # The history of a session outlives its heaps.
    Column("workspace", String, primary_key=True),
    Column("session", String, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("input_heap", String(64)),
    Column("output_heap", String(64), nullable=False),
    Column("code", LargeBinary, nullable=False),  # not every database takes NUL
    Column("created_at", Double, nullable=False),
    Index("session_entries_by_heap", "workspace", "output_heap"),
)
