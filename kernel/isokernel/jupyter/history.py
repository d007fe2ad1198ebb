"""Cells of this and of earlier sessions, in one SQLite file for all kernels of a user.

A cell is written some time after its reply, when the kernel has nothing else to do
(opening the file costs about 10 ms, a write 0.1 ms). A file that can't be used costs a
warning and the earlier sessions, never the kernel: history then lives in memory.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from isokernel.errors import HistoryError, MessageError
from isokernel.jupyter.process import log_warning
from isokernel.protocol.messages import well_formed

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

__all__ = ["History", "Row"]

Row: TypeAlias = "tuple[int, int, str | tuple[str, str | None]]"
"""Session, line, and the input or (input, output), as history_reply has it."""

_IN_MEMORY = ":memory:"
_OUTPUT_CHARACTERS_MAX = 16 * 1024
_LOCK_SECONDS = 2.0
_WRITE_DELAY_SECONDS = 0.1
_RETRY_DELAY_SECONDS = 5.0
_PENDING_MAX = 10_000
_SCHEMA = """
    CREATE TABLE IF NOT EXISTS sessions (
        session INTEGER PRIMARY KEY AUTOINCREMENT,
        language TEXT NOT NULL,
        started REAL NOT NULL
    );
    CREATE TABLE IF NOT EXISTS cells (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        session INTEGER NOT NULL,
        line INTEGER NOT NULL,
        source TEXT NOT NULL,
        output TEXT
    );
    CREATE INDEX IF NOT EXISTS cells_by_line ON cells (session, line);
"""


class _Cell(NamedTuple):
    line: int
    source: str
    output: str | None


class History:
    """The history of one kernel. Of the V8 thread."""

    def __init__(self, path: str | None, language: str, *, rows_max: int) -> None:
        """Begin a session, whose file isn't opened yet.

        Args:
            path: The file; it and its folder are made when they are needed. None keeps
                history in memory.
            language: Whose cells these are.
            rows_max: The oldest cells above this number are deleted.
        """
        self._path = path
        self._language = language
        self._rows_max = rows_max
        self._connection: sqlite3.Connection | None = None
        self._session = 0
        self._pending: list[_Cell] = []
        self._write_at: float | None = None

    def add(self, line: int, source: str, output: str | None) -> None:
        """Keep a cell; `write` or `close` writes it."""
        if output is not None:
            output = _storable(output[:_OUTPUT_CHARACTERS_MAX])
        self._pending.append(_Cell(line, _storable(source), output))
        del self._pending[:-_PENDING_MAX]
        self._write_at = time.monotonic() + _WRITE_DELAY_SECONDS

    def wait_time(self) -> float | None:
        """Return the seconds until `write` should be called, None for never."""
        if self._write_at is None:
            return None
        return max(0.0, self._write_at - time.monotonic())

    def write(self) -> None:
        """Write what has been added. Never raises."""
        self._write_at = None
        if not self._pending:
            return
        try:
            self._store()
        except HistoryError as error:
            # Most likely another kernel has the file locked; the cells stay in memory.
            self._write_at = time.monotonic() + _RETRY_DELAY_SECONDS
            log_warning(str(error))

    def answer(self, request: dict[str, Any]) -> list[Row]:
        """Serve a history_request.

        Raises:
            MessageError: The request is malformed.
            HistoryError: The file can't be read now.
        """
        self._store()
        access = request.get("hist_access_type", "tail")
        output = bool(request.get("output", False))
        if access == "range":
            cells = self._range(
                _integer(request, "session", 0),
                _integer(request, "start", 0),
                _integer(request, "stop", None),
            )
        elif access == "tail":
            cells = self._tail(_integer(request, "n", 10))
        elif access == "search":
            pattern = request.get("pattern", "*")
            if not isinstance(pattern, str):
                message = "the pattern isn't a string"
                raise MessageError(message)
            unique = bool(request.get("unique", False))
            cells = self._search(pattern, _integer(request, "n", None), unique=unique)
        else:
            message = f"unknown hist_access_type {access!r}"
            raise MessageError(message)
        return [
            (session, line, (source, result) if output else source)
            for session, line, source, result in cells
        ]

    def close(self) -> None:
        """Write what is left, delete the oldest cells, close the file. Never raises."""
        self.write()
        if self._connection is None:
            return
        try:
            self._execute(
                "DELETE FROM cells WHERE id <= (SELECT MAX(id) FROM cells) - ?",
                (self._rows_max,),
            )
            self._connection.commit()
        except HistoryError as error:
            log_warning(str(error))
        self._connection.close()
        self._connection = None

    def _range(self, session: int, start: int, stop: int | None) -> list[Any]:
        if session <= 0:
            # 0 is this session, -1 the one before it.
            session += self._session
        where = "session = ? AND line >= ?"
        values: list[Any] = [session, start]
        if stop is not None:
            where += " AND line < ?"
            values.append(stop)
        return self._execute(
            "SELECT session, line, source, output FROM cells "  # noqa: S608 - constant
            f"WHERE {where} ORDER BY id",
            values,
        )

    def _tail(self, count: int) -> list[Any]:
        rows = self._execute(
            "SELECT session, line, source, output FROM cells ORDER BY id DESC LIMIT ?",
            (max(count, 0),),
        )
        return rows[::-1]

    def _search(self, pattern: str, count: int | None, *, unique: bool) -> list[Any]:
        group = "GROUP BY source HAVING id = MAX(id)" if unique else ""
        rows = self._execute(
            "SELECT session, line, source, output FROM cells "  # noqa: S608 - constant
            f"WHERE source GLOB ? {group} ORDER BY id DESC LIMIT ?",
            (_storable(pattern), -1 if count is None else max(count, 0)),
        )
        return rows[::-1]

    def _store(self) -> None:
        """Write the pending cells in one transaction, opening the file if need be."""
        connection = self._open()
        if not self._pending:
            return
        import sqlite3  # noqa: PLC0415 - see _open

        rows = [(self._session, *cell) for cell in self._pending]
        try:
            with connection:
                connection.executemany(
                    "INSERT INTO cells (session, line, source, output) "
                    "VALUES (?, ?, ?, ?)",
                    rows,
                )
        except sqlite3.Error as error:
            raise self._problem(error) from error
        self._pending.clear()

    def _open(self) -> sqlite3.Connection:
        if self._connection is not None:
            return self._connection
        import sqlite3  # noqa: PLC0415 - 4 ms that the first reply needn't wait for

        try:
            self._connection = self._begin(str(self._prepare() or _IN_MEMORY))
        except (OSError, sqlite3.Error) as error:
            log_warning(f"{self._problem(error)}; it is kept in memory only")
            self._path = None
            self._connection = self._begin(_IN_MEMORY)
        return self._connection

    def _prepare(self) -> str | None:
        """Make the file where it is missing, readable by its owner alone."""
        if self._path is not None:
            from pathlib import Path  # noqa: PLC0415 - 4 ms that a start can do without

            Path(self._path).parent.mkdir(parents=True, exist_ok=True)
            Path(self._path).touch(mode=0o600)
        return self._path

    def _begin(self, path: str) -> sqlite3.Connection:
        """Open a file and start a session in it."""
        import sqlite3  # noqa: PLC0415 - see _open

        connection = sqlite3.connect(path, timeout=_LOCK_SECONDS)
        try:
            # Write-ahead logging lets several kernels read and write at once; NORMAL
            # means that a power failure may cost the last cells, not the file.
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.executescript(_SCHEMA)
            with connection:
                cursor = connection.execute(
                    "INSERT INTO sessions (language, started) VALUES (?, ?)",
                    (self._language, time.time()),
                )
        except sqlite3.Error:
            connection.close()
            raise
        self._session = cursor.lastrowid or 0
        return connection

    def _execute(self, query: str, values: Sequence[Any]) -> list[Any]:
        import sqlite3  # noqa: PLC0415 - see _open

        try:
            return self._open().execute(query, values).fetchall()
        except (sqlite3.Error, OverflowError) as error:
            raise self._problem(error) from error

    def _problem(self, error: Exception) -> HistoryError:
        return HistoryError(f"the history {self._path or ''} can't be used: {error}")


def _integer(request: dict[str, Any], field: str, default: Any) -> Any:
    value = request.get(field)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int):
        message = f"{field} isn't an integer"
        raise MessageError(message)
    return value


def _storable(text: str) -> str:
    """Replace halves of surrogate pairs, which SQLite can't store."""
    return well_formed(text)
