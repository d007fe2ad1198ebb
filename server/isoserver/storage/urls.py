"""URLs of databases, read without SQLAlchemy: files are locked before it is loaded."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from isoserver.errors import DatabaseError

__all__ = ["database_file", "is_sqlite", "url_of"]

_DRIVERS: Final = {
    "sqlite": "sqlite+aiosqlite",
    "postgresql": "postgresql+asyncpg",
    "postgres": "postgresql+asyncpg",
}
_FILE: Final = "isokernel.sqlite"
_URL: Final = re.compile(r"([\w+]+)(://.*)", re.DOTALL)


def url_of(given: str | None, folder: Path) -> str:
    """Return a database's URL with its driver; None is a file in `folder`.

    Raises:
        DatabaseError: It isn't the URL of a SQLite or PostgreSQL database.
    """
    if given is None:
        return f"sqlite+aiosqlite:///{folder / _FILE}"
    found = _URL.fullmatch(given)
    if found is None:
        message = "the database's URL can't be read: it has no scheme"
        raise DatabaseError(message)
    scheme, rest = found.groups()
    driver = _DRIVERS.get(scheme, scheme)
    if driver not in _DRIVERS.values():
        message = f"{scheme} is not supported: use sqlite or postgresql"
        raise DatabaseError(message)
    return driver + rest


def is_sqlite(url: str) -> bool:
    """Return whether a URL is that of a SQLite database."""
    return url.startswith("sqlite")


def database_file(url: str) -> Path | None:
    """Return the file of a SQLite database, None if it is in memory or no SQLite.

    Args:
        url: The database's, as `url_of` returns it.
    """
    if not is_sqlite(url):
        return None
    name = url.partition("://")[2].partition("?")[0].partition("/")[2]
    name = name.removeprefix("file:")
    return None if name in {"", ":memory:"} else Path(name)
