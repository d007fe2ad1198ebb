"""The tables of runs. Times are seconds since 1970.

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
)
from sqlalchemy.types import TypeDecorator

from isokernel.protocol.messages import well_formed
from isoserver.storage.database import METADATA

__all__ = ["OUTPUT", "RUNS"]

_ID_LENGTH: Final = 64


class Utf8(TypeDecorator[str]):
    """Text in a column of bytes."""

    impl = LargeBinary
    cache_ok = True

    def process_bind_param(self, value: Any, _dialect: Dialect) -> bytes | None:
        """Encode; halves of surrogate pairs become U+FFFD."""
        return None if value is None else well_formed(value).encode()

    def process_result_value(self, value: Any, _dialect: Dialect) -> str | None:
        """Decode."""
        return None if value is None else bytes(value).decode("utf-8")


RUNS: Final = Table(
    "runs",
    METADATA,
    Column("id", String(_ID_LENGTH), primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("workspace", String(255), nullable=False),
    Column("session", String(255)),
    # `queued` until it has ended, however it stands meanwhile.
    Column("status", String(24), nullable=False),
    Column("created_at", Double, nullable=False),
    Column("started_at", Double),
    Column("ended_at", Double),
    Column("seconds", Double, nullable=False),
    # What it takes in the database, for the limit on all of them.
    Column("size", BigInteger, nullable=False),
    Column("output_bytes", BigInteger, nullable=False),
    Column("output_newlines", BigInteger, nullable=False),
    Column("output_open", Boolean, nullable=False),
    # The rest of the order and how it ended, as JSON: nobody searches in it. What can
    # be long is last, as SQLite reads a row from its beginning.
    Column("details", Utf8, nullable=False),
    Column("code", Utf8, nullable=False),
    Column("ending", Utf8),
    Index("runs_newest", "workspace", "kind", "created_at"),
    Index("runs_newest_of_status", "workspace", "kind", "status", "created_at"),
    Index("runs_ended", "kind", "ended_at", "size"),
)
"""One row for each run."""

OUTPUT: Final = Table(
    "run_output",
    METADATA,
    Column("workspace", String(255), nullable=False),
    Column("run_id", String(_ID_LENGTH), primary_key=True),
    Column("start_byte", BigInteger, primary_key=True, autoincrement=False),
    # How many newlines stand before the chunk.
    Column("start_line", BigInteger, nullable=False),
    Column("data", LargeBinary, nullable=False),
    Index("run_output_lines", "run_id", "start_line", "start_byte"),
)
"""Output in chunks of nearly one size, so that a page is a look-up and a short read.
A chunk never begins or ends within a character."""
