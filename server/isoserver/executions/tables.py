"""The tables of executions.

Text that users wrote is stored as UTF-8 bytes: PostgreSQL's text has no NUL, and
JavaScript's may.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Dialect,
    Double,
    Index,
    LargeBinary,
    String,
    Table,
    Text,
)
from sqlalchemy.types import TypeDecorator

from isoserver.storage.database import METADATA

__all__ = ["EXECUTIONS", "OUTPUT"]

ID_LENGTH: Final = 36


class Utf8(TypeDecorator[str]):
    """Text in a column of bytes."""

    impl = LargeBinary
    cache_ok = True

    def process_bind_param(self, value: Any, _dialect: Dialect) -> bytes | None:
        """Encode; halves of surrogate pairs become question marks."""
        return None if value is None else value.encode("utf-8", "replace")

    def process_result_value(self, value: Any, _dialect: Dialect) -> str | None:
        """Decode."""
        return None if value is None else bytes(value).decode("utf-8")


EXECUTIONS: Final = Table(
    "executions",
    METADATA,
    Column("id", String(ID_LENGTH), primary_key=True),
    Column("workspace", String(255), nullable=False),
    Column("submitted_at", Double, nullable=False),
    Column("started_at", Double, nullable=False),
    Column("completed_at", Double),
    Column("status", String(16), nullable=False),
    Column("code", Utf8, nullable=False),
    Column("language", String(64), nullable=False),
    Column("session", String(255)),
    Column("input_heap", String(64)),
    Column("seconds", Double, nullable=False),
    Column("heap_memory_max", BigInteger),
    Column("tags", Text, nullable=False),
    Column("result", Utf8),
    Column("error", Utf8),
    Column("heap", String(64)),
    Column("heap_error", Utf8),
    Column("output_bytes", BigInteger, nullable=False),
    Column("output_newlines", BigInteger, nullable=False),
    Column("output_open", Boolean, nullable=False),
    # What it takes in the database, for the bound on all of them.
    Column("size", BigInteger, nullable=False),
    Index("executions_newest", "workspace", "submitted_at"),
    Index("executions_newest_of_status", "workspace", "status", "submitted_at"),
    Index("executions_ended", "status", "completed_at"),
)
"""One row for each execution. Times are seconds since 1970."""

OUTPUT: Final = Table(
    "execution_output",
    METADATA,
    Column("workspace", String(255), nullable=False),
    Column("execution_id", String(ID_LENGTH), primary_key=True),
    Column("start_byte", BigInteger, primary_key=True, autoincrement=False),
    # How many newlines stand before the chunk.
    Column("start_line", BigInteger, nullable=False),
    Column("data", LargeBinary, nullable=False),
    Index("execution_output_lines", "execution_id", "start_line", "start_byte"),
)
"""Output in chunks of nearly one size, so that a page is a look-up and a short read.
A chunk never begins or ends within a character."""
