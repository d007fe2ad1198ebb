"""Which rows of a table are over the bounds of age, number and size: the oldest."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import func, select

if TYPE_CHECKING:
    from sqlalchemy import Column

    from isoserver.storage.database import Database

__all__ = ["expired"]

_AT_ONCE: Final = 200
"""Rows that are told of at a time, so that one transaction can delete them."""


async def expired(  # noqa: PLR0913 - three columns, three bounds
    database: Database,
    identity: Column[str],
    ended_at: Column[float],
    size: Column[int],
    *,
    age: float,
    count: int,
    size_max: int,
) -> list[str]:
    """Give some rows that are over a bound, the oldest ones.

    Args:
        database: Where the table is.
        identity: Its column that names a row.
        ended_at: When what the row tells of ended, in seconds since 1970; rows without
            a time are counted, but never given.
        size: The row's bytes.
        age: Seconds since its end that a row is kept.
        count: How many rows are kept in all.
        size_max: Bytes that all of them may have.

    Raises:
        DatabaseError: It can't be read.
    """
    total = select(func.count(), func.coalesce(func.sum(size), 0))
    oldest: Any = (
        select(identity, ended_at, size)
        .where(ended_at.is_not(None))
        .order_by(ended_at)
        .limit(_AT_ONCE)
    )
    async with database.connect() as connection:
        number, taken = (await connection.execute(total)).one()
        rows = (await connection.execute(oldest)).all()
    limit = time.time() - age
    gone: list[str] = []
    for name, moment, weight in rows:
        if moment >= limit and number <= count and taken <= size_max:
            break
        gone.append(name)
        number -= 1
        taken -= weight
    return gone
