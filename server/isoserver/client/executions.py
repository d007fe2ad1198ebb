"""The client's commands for executions: run, follow, read, list, cancel."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Any

from isoserver.client.requests import ClientError, Connection, quote

if TYPE_CHECKING:
    import argparse

__all__ = ["cancel", "execute", "list_executions", "show_output", "show_status"]

FAILED = 1
_PAGE_BYTES = 1 << 20
_PAUSE_SECONDS_MIN = 0.02
_PAUSE_SECONDS_MAX = 0.5
_PAUSE_GROWTH = 1.5
_WAIT_MS = 10_000
"""How long the server waits with its answer, at most, for the end of an execution."""


def execute(server: Connection, given: argparse.Namespace) -> int:
    """Run code; the exit status is 1 if it was waited for and failed."""
    body: dict[str, Any] = {
        "code": _code(given),
        "execution_timeout_secs": given.timeout,
        "heap": given.heap,
        "heap_memory_max_mb": given.memory,
        "session": given.session,
        "language": given.language,
        "tags": dict(given.tag) or None,
    }
    sent = {name: value for name, value in body.items() if value is not None}
    one = server.ask("POST", "/api/exec", body=sent)["execution_id"]
    if not (given.wait or given.follow):
        _print(one)
        return 0
    try:
        info = _wait(server, one, follow=given.follow)
    except KeyboardInterrupt:
        sys.stderr.write(f"the execution goes on: {one}\n")
        raise
    if given.json:
        _print(json.dumps(info, indent=2))
    elif given.wait:
        if not given.follow:
            _read(server, one, 0)
        if info["status"] == "completed":
            _print(info["result"])
    return _end(info)


def show_status(server: Connection, given: argparse.Namespace) -> int:
    """Print the status and result of an execution as JSON."""
    info = server.get(f"/api/executions/{quote(given.id)}")
    _print(json.dumps(info, indent=2))
    return 0


def show_output(server: Connection, given: argparse.Namespace) -> int:
    """Print output: the page asked for, or all of it."""
    asked = {
        name: getattr(given, name)
        for name in ("line_offset", "line_limit", "byte_offset", "byte_limit")
    }
    if given.follow:
        return _end(_wait(server, given.id, follow=True))
    if all(value is None for value in asked.values()):
        _read(server, given.id, 0)
        return 0
    page = server.get(f"/api/executions/{quote(given.id)}/output", **asked)
    if given.json:
        _print(json.dumps(page, indent=2))
        return 0
    if page["data"] or page["end_line"]:
        sys.stdout.write(page["data"])
        sys.stdout.write("\n" if given.byte_offset is None else "")
    if page["has_more"]:
        by_byte = given.byte_offset is not None
        name = "byte" if by_byte else "line"
        place = page["next_byte_offset" if by_byte else "next_line_offset"]
        sys.stderr.write(f"there is more: --{name}-offset {place}\n")
    return 0


def cancel(server: Connection, given: argparse.Namespace) -> int:
    """Cancel an execution."""
    server.ask("POST", f"/api/executions/{quote(given.id)}/cancel")
    return 0


def list_executions(server: Connection, given: argparse.Namespace) -> int:
    """List executions, one on each line."""
    found = server.get("/api/executions", limit=given.limit, status=given.status)
    for one in found["executions"]:
        ended = one["completed_at"] or "-"
        _print(
            f"{one['execution_id']}  {one['status']:9}  {one['started_at']}  {ended}"
        )
    return 0


def _code(given: argparse.Namespace) -> str:
    if given.code is not None:
        return str(given.code)
    try:
        if given.file == "-":
            data = sys.stdin.buffer.read()
        else:
            with open(given.file, "rb") as file:  # noqa: PTH123 - as plain as it gets
                data = file.read()
        return data.decode()
    except OSError as error:
        message = f"{given.file}: {error.strerror} (code itself is given with -e)"
        raise ClientError(message) from error
    except UnicodeDecodeError as error:
        message = f"{given.file} is not UTF-8"
        raise ClientError(message) from error


def _read(server: Connection, one: str, place: int) -> tuple[int, str]:
    """Print all output from a byte on; return the next byte and the status."""
    while True:
        page = server.get(
            f"/api/executions/{quote(one)}/output",
            byte_offset=place,
            byte_limit=_PAGE_BYTES,
        )
        place = page["next_byte_offset"]
        sys.stdout.write(page["data"])
        sys.stdout.flush()
        if not page["has_more"]:
            return place, page["status"]


def _wait(server: Connection, one: str, *, follow: bool) -> dict[str, Any]:
    """Wait for the end of an execution, printing its output with `follow`."""
    place, pause = 0, _PAUSE_SECONDS_MIN
    while True:
        before = place
        if follow:
            place, status = _read(server, one, place)
        else:
            path = f"/api/executions/{quote(one)}"
            status = server.get(path, wait_ms=_WAIT_MS)["status"]
        if status != "running":
            found: dict[str, Any] = server.get(f"/api/executions/{quote(one)}")
            return found
        pause = min(pause * _PAUSE_GROWTH, _PAUSE_SECONDS_MAX)
        if place > before:
            pause = _PAUSE_SECONDS_MIN
        time.sleep(pause)


def _end(info: dict[str, Any]) -> int:
    """Print how an execution failed, if it did; return the exit status."""
    if info.get("heap_error"):
        sys.stderr.write(f"no heap: {info['heap_error']}\n")
    if info["status"] == "completed":
        return 0
    sys.stderr.write(f"{info['status']}: {info['error']}\n")
    return FAILED


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")
