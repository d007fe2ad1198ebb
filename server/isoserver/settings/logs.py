"""The server's log: one JSON object per line on stderr; never code, ids or keys."""

from __future__ import annotations

import logging
import sys
import time
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Final, TextIO

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

    from structlog.typing import EventDict, FilteringBoundLogger

__all__ = ["make_log", "only_closed", "route_foreign"]

_encoder: Final = msgspec.json.Encoder(enc_hook=str)
_WINDOW_SECONDS: Final = 10.0
_REPETITIONS_MAX: Final = 20
"""Lines of one kind in a window; a line a millisecond fills a disk in days."""
_KINDS_MAX: Final = 1000
_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}


def make_log(
    level: str,
    file: TextIO | None = None,
    note: Callable[[EventDict], None] | None = None,
) -> FilteringBoundLogger:
    """Make a server's logger.

    Args:
        level: The lowest level that is written.
        file: Where to write; stderr if None.
        note: Adds to each line, if given.
    """
    late: Any = _LateLog(level, file, note)
    log: FilteringBoundLogger = late
    return log


class _LateLog:
    """A logger that becomes structlog's when it is first used.

    structlog imports rich where that is installed, which takes 0.1 s of a start.
    """

    def __init__(
        self,
        level: str,
        file: TextIO | None,
        note: Callable[[EventDict], None] | None,
    ) -> None:
        self._made_of = level, file, note

    def __getattr__(self, name: str) -> Any:
        method = getattr(_make(*self._made_of), name)
        setattr(self, name, method)  # found at once the next time
        return method


def _make(
    level: str, file: TextIO | None, note: Callable[[EventDict], None] | None
) -> FilteringBoundLogger:
    import structlog  # noqa: PLC0415 - see above

    def add(_logger: Any, _method: str, event: EventDict) -> EventDict:
        assert note is not None  # noqa: S101 - else it isn't called
        note(event)
        return event

    log: FilteringBoundLogger = structlog.wrap_logger(
        structlog.WriteLogger(file or sys.stderr),  # a line is one write
        processors=[
            _Repetitions(structlog.DropEvent),
            *([] if note is None else [add]),
            structlog.processors.format_exc_info,
            _render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        cache_logger_on_first_use=True,
    )
    return log.bind()


class _Repetitions:
    """Drops lines logged too often; the next one of its kind says how many.

    Lines of requests are as many as requests, and are all written.
    """

    def __init__(self, drop: type[BaseException]) -> None:
        """Begin with nothing written.

        Args:
            drop: Raised for lines that aren't to be written.
        """
        self._drop = drop
        self._windows: OrderedDict[str, _Window] = OrderedDict()

    def __call__(self, _logger: Any, _method: str, event: EventDict) -> EventDict:
        """Let a line pass, or raise what drops it."""
        if event["event"] == "request":
            return event
        kind, now = str(event.get("logger", event["event"])), time.monotonic()
        window = self._windows.get(kind)
        if window is None or now - window.since > _WINDOW_SECONDS:
            self._windows[kind] = _Window(now)
            self._windows.move_to_end(kind)
            if len(self._windows) > _KINDS_MAX:
                self._windows.popitem(last=False)
            if window is not None and window.dropped:
                event["dropped"] = window.dropped
            return event
        window.written += 1
        if window.written > _REPETITIONS_MAX:
            window.dropped += 1
            raise self._drop
        return event


@dataclass
class _Window:
    """How much of one kind was written in some seconds, and how much was dropped."""

    since: float
    written: int = 1
    dropped: int = 0


def _render(_logger: Any, method: str, event: EventDict) -> str:
    # Level and time are put here: with structlog's steps a line takes 6.6 µs, so 5.2.
    event["level"] = method
    moment = datetime.now(timezone.utc).replace(tzinfo=None)
    event["timestamp"] = f"{moment.isoformat()}Z"
    return _encoder.encode(event).decode()


class _Foreign(logging.Handler):
    """Writes what libraries log into the server's log."""

    def __init__(self, log: FilteringBoundLogger) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        error = record.exc_info[1] if record.exc_info else None
        if error is not None and only_closed(error):
            self._log.info(record.getMessage(), logger=record.name, reason="closed")
            return
        self._log.log(
            record.levelno,
            record.getMessage(),
            logger=record.name,
            exc_info=record.exc_info,
        )


def only_closed(error: BaseException) -> bool:
    """Tell whether an error of a library only says that a stream was closed.

    Amid an answer that is written, the end of a connection, or of the server, is one.
    """
    from anyio import BrokenResourceError, ClosedResourceError  # noqa: PLC0415 - if so

    parts = getattr(error, "exceptions", None)  # of a group
    if parts is not None:
        return all(map(only_closed, parts))
    return isinstance(error, (BrokenResourceError, ClosedResourceError))


def route_foreign(log: FilteringBoundLogger) -> None:
    """Send what libraries log to the server's log; for the process's own server."""
    logging.basicConfig(handlers=[_Foreign(log)], level=logging.WARNING, force=True)
