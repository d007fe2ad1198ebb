"""The log: lines of one kind are bounded, those of requests are all written."""

from __future__ import annotations

import io
import json
import logging
import sys

import anyio
import pytest

from isoserver.settings.logs import make_log, route_foreign

if sys.version_info < (3, 11):
    from exceptiongroup import ExceptionGroup


def _written(file: io.StringIO) -> list[str]:
    return [json.loads(line)["event"] for line in file.getvalue().splitlines()]


def test_repetitions_are_dropped() -> None:
    file = io.StringIO()
    log = make_log("info", file)
    for number in range(1000):
        log.warning("accepting paused", connections=number)
        log.info("request", status=200)
    log.warning("another")
    written = _written(file)
    assert written.count("accepting paused") == 20
    assert written.count("request") == 1000
    assert written.count("another") == 1


def test_kinds_of_libraries_are_their_loggers() -> None:
    file = io.StringIO()
    log = make_log("info", file)
    for number in range(100):
        log.log(logging.WARNING, str(number), logger="asyncio")
    assert len(_written(file)) == 20


@pytest.fixture
def routed(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What is in the log, which has what libraries log, too."""
    monkeypatch.setattr(logging.root, "handlers", [])
    monkeypatch.setattr(logging.root, "level", logging.WARNING)
    file = io.StringIO()
    route_foreign(make_log("info", file))
    return file


def test_what_libraries_log_has_the_cause(routed: io.StringIO) -> None:
    logger = logging.getLogger("a library")
    error = OSError(28, "No space left on device")
    logger.error("it was not saved", exc_info=error)
    logger.warning("nor was this")
    first, second = map(json.loads, routed.getvalue().splitlines())
    assert first["event"] == "it was not saved"
    assert first["exception"].endswith("No space left on device")
    assert "exception" not in second


def test_a_closed_stream_is_no_defect(routed: io.StringIO) -> None:
    logger = logging.getLogger("a library")
    closed = ExceptionGroup("1 of them", [anyio.ClosedResourceError()])
    logger.error("a request failed", exc_info=closed)
    mixed = ExceptionGroup("2 of them", [anyio.ClosedResourceError(), ValueError("no")])
    logger.error("a request failed", exc_info=mixed)
    first, second = map(json.loads, routed.getvalue().splitlines())
    assert (first["level"], first["reason"]) == ("info", "closed")
    assert "exception" not in first
    assert second["level"] == "error"
    assert "ValueError: no" in second["exception"]
