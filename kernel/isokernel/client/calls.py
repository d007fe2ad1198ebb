"""Every call of the API, as steps for an executor; each is described once, here."""

from __future__ import annotations

import math
import posixpath
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from isokernel.client.answers import (
    Completions,
    ContextInfo,
    ContextPackages,
    FileInfo,
    Folder,
    HeapInfo,
    Inspection,
    Languages,
    OutputPage,
    Run,
    RunStatus,
    RunSummary,
    SessionEntry,
)
from isokernel.client.errors import (
    BadRequestError,
    ConflictError,
    RangeNotSatisfiableError,
    WaitTimeoutError,
)
from isokernel.client.requests import Pause, Request, Steps, path_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

T = TypeVar("T")
Listed = TypeVar("Listed")
_SLOW_SECONDS: Final = 600.0
"""For what the server bounds itself: starts of contexts, heaps, notebooks."""
_CANCEL_SECONDS: Final = 10.0
_EVENTS: Final = {"Accept": "text/event-stream"}
_PAGE: Final = 1000
_PAGE_BYTES: Final = 1 << 20
_PAUSE_SECONDS_MIN: Final = 0.02
_PAUSE_SECONDS_MAX: Final = 0.5
_PAUSE_GROWTH: Final = 1.5
_WAIT_SECONDS: Final = 10.0
"""How long the server is asked to wait with an answer; proxies wait for 30 and more."""
_WAITING_SECONDS: Final = 60.0
"""How long that answer may take."""


def _ask(kind: type[T], request: Request) -> Steps[T]:
    """Send one request, and read its answer."""
    answer = yield request
    return answer.read(kind)


def _tell(request: Request) -> Steps[None]:
    """Send one request; its answer says nothing."""
    yield request


# -- the server ------------------------------------------------------------------------


class _Version(msgspec.Struct):
    version: str


def version() -> Steps[str]:
    """Return the server's version."""
    return (yield from _ask(_Version, Request("GET", "/api/version"))).version


def list_languages() -> Steps[Languages]:
    """Return what code can be in."""
    return _ask(Languages, Request("GET", "/languages"))


# -- contexts --------------------------------------------------------------------------


class _Contexts(msgspec.Struct):
    items: list[ContextInfo]


class _Checkpoint(msgspec.Struct):
    heap: str


def _context(context_id: str, *below: str) -> str:
    return path_of("contexts", context_id, *below)


def list_contexts() -> Steps[list[ContextInfo]]:
    """Return the contexts of the workspace."""
    return (yield from _ask(_Contexts, Request("GET", "/contexts"))).items


def create_context(  # noqa: PLR0913 - what can be said of it
    *,
    language: str | None,
    heap: str | None,
    cwd: str | None,
    packages: Sequence[str],
    capabilities: Mapping[str, Any] | None,
    durability: str | float | None,
) -> Steps[ContextInfo]:
    """Make a context."""
    body = {
        "language": language,
        "heap": heap,
        "cwd": cwd,
        "packages": list(packages) or None,
        "capabilities": capabilities,
        "durability": durability,
    }
    request = Request("POST", "/contexts", body=body, seconds=_SLOW_SECONDS)
    return _ask(ContextInfo, request)


def show_context(context_id: str) -> Steps[ContextInfo]:
    """Return how a context stands."""
    return _ask(ContextInfo, Request("GET", _context(context_id)))


def delete_context(context_id: str) -> Steps[None]:
    """Delete a context; one that isn't there is as good as deleted."""
    return _tell(Request("DELETE", _context(context_id)))


def interrupt_context(context_id: str) -> Steps[ContextInfo]:
    """Stop what runs in a context."""
    return _ask(ContextInfo, Request("POST", _context(context_id, "interrupt")))


def restart_context(context_id: str, *, from_checkpoint: bool) -> Steps[ContextInfo]:
    """Have a context begin anew, with nothing or from its checkpoint."""
    body = {"from": "checkpoint" if from_checkpoint else "nothing"}
    path = _context(context_id, "restart")
    return _ask(ContextInfo, Request("POST", path, body=body, seconds=_SLOW_SECONDS))


def fork_context(context_id: str) -> Steps[ContextInfo]:
    """Make a context with the state of another."""
    path = _context(context_id, "fork")
    return _ask(ContextInfo, Request("POST", path, seconds=_SLOW_SECONDS))


def fork_context_often(context_id: str, count: int) -> Steps[list[ContextInfo]]:
    """Make several contexts with the state of another, all of one moment."""
    path, body = _context(context_id, "forks"), {"count": count}
    request = Request("POST", path, body=body, seconds=_SLOW_SECONDS)
    return (yield from _ask(_Contexts, request)).items


def save_context(context_id: str) -> Steps[str]:
    """Save a context, and return the key of its heap."""
    path = _context(context_id, "checkpoint")
    request = Request("POST", path, seconds=_SLOW_SECONDS)
    return (yield from _ask(_Checkpoint, request)).heap


def complete(context_id: str, code: str, cursor: int | None) -> Steps[Completions]:
    """Return what could stand at the cursor."""
    body = {"code": code, "cursor_pos": cursor}
    path = _context(context_id, "complete")
    return _ask(Completions, Request("POST", path, body=body))


def inspect(
    context_id: str, code: str, cursor: int | None, *, source: bool
) -> Steps[Inspection]:
    """Return what is known of the name at the cursor."""
    body = {"code": code, "cursor_pos": cursor, "detail_level": int(source)}
    path = _context(context_id, "inspect")
    return _ask(Inspection, Request("POST", path, body=body))


def list_packages(context_id: str) -> Steps[ContextPackages]:
    """Return what a context has loaded."""
    return _ask(ContextPackages, Request("GET", _context(context_id, "packages")))


def read_notebook(context_id: str) -> Steps[dict[str, Any]]:
    """Return what was run in a context, as a notebook."""
    path = _context(context_id, "notebook")
    return _ask(dict[str, Any], Request("GET", path, seconds=_SLOW_SECONDS))


def run_notebook(
    context_id: str, notebook: Mapping[str, Any], timeout: float | None
) -> Steps[dict[str, Any]]:
    """Run a notebook in a context, and return it with its outputs."""
    request = Request(
        "POST",
        _context(context_id, "notebook"),
        {"timeout_ms": _milliseconds(timeout)},
        body=notebook,
        seconds=_SLOW_SECONDS,
    )
    return _ask(dict[str, Any], request)


def execute(  # noqa: PLR0913 -- the fields of the request
    context_id: str,
    code: str,
    *,
    execution_id: str,
    language: str | None,
    timeout: float | None,
    result_characters_max: int | None,
    capabilities: Mapping[str, Any] | None,
) -> Request:
    """Return the request of a cell, whose answer is a stream.

    It has a name, so sending it again runs nothing twice.
    """
    return Request(
        "POST",
        "/execute/async",
        {"format": "jupyter"},
        body={
            "code": code,
            "context_id": context_id,
            "execution_id": execution_id,
            "language": language,
            "timeout_ms": _milliseconds(timeout),
            "result_characters_max": result_characters_max,
            "capabilities": capabilities,
        },
        headers=_EVENTS,
        repeatable=True,
    )


def follow_execution(context_id: str, execution_id: str, place: str = "") -> Request:
    """Return a request of the events of an execution, after a place.

    Args:
        context_id: Where it runs.
        execution_id: What it is called.
        place: The id of the last event that has come; all of them if empty.
    """
    headers = {**_EVENTS, "Last-Event-ID": place} if place else _EVENTS
    path = _context(context_id, "executions", execution_id, "events")
    return Request("GET", path, {"format": "jupyter"}, headers=headers)


def cancel_execution(context_id: str, execution_id: str) -> Steps[None]:
    """Cancel an execution, unless it is over."""
    path = _context(context_id, "executions", execution_id, "cancel")
    with suppress(ConflictError):  # it is over
        yield Request("POST", path, seconds=_CANCEL_SECONDS, repeatable=True)


def _milliseconds(seconds: float | None) -> int | None:
    return None if seconds is None else max(1, round(seconds * 1e3))


# -- files -----------------------------------------------------------------------------


def file_request(
    method: str,
    context_id: str,
    path: str,
    *,
    content: bytes | Path | None = None,
    headers: Mapping[str, str] | None = None,
    **query: Any,
) -> Request:
    """Return a request about one file.

    `..` is taken away here: in a URL it would be another path, such as the context's.

    Raises:
        ClientSettingsError: The path is none, or leads out of the folder.
    """
    parts = posixpath.normpath(path).strip("/").split("/")
    return Request(
        method,
        _context(context_id, "files", *parts),
        query,
        content=content,
        headers=headers or {},
    )


def list_files(
    context_id: str, path: str, *, recursive: bool, limit: int | None
) -> Steps[list[FileInfo]]:
    """Return what is in a folder."""

    def page(offset: int, size: int) -> Steps[tuple[list[FileInfo], int | None]]:
        query = {"path": path, "recursive": recursive, "limit": size, "offset": offset}
        request = Request("GET", _context(context_id, "files"), query)
        found = yield from _ask(Folder, request)
        return found.files, found.next_offset

    return _pages(page, limit)


def read_file(context_id: str, path: str, start: int, end: int | None) -> Steps[bytes]:
    """Return the bytes of a file, or those of a part, as slices have them."""
    if end is not None and end <= start:
        return b""
    headers = {}
    if start or end is not None:
        last = "" if end is None else end - 1
        headers["Range"] = f"bytes={start}-{last}"
    try:
        answer = yield file_request("GET", context_id, path, headers=headers)
    except RangeNotSatisfiableError:
        return b""  # it ends before
    return answer.content


def write_file(
    context_id: str,
    path: str,
    content: bytes | Path,
    *,
    if_match: str | None,
    new: bool,
) -> Steps[FileInfo]:
    """Write a file, perhaps only in place of a state of it, or if there is none."""
    headers = {} if if_match is None else {"If-Match": if_match}
    if new:
        headers["If-None-Match"] = "*"
    request = file_request("PUT", context_id, path, content=content, headers=headers)
    return _ask(FileInfo, request)


def delete_file(context_id: str, path: str, *, recursive: bool) -> Steps[None]:
    """Delete a file, or a folder."""
    return _tell(file_request("DELETE", context_id, path, recursive=recursive))


def change_file(
    context_id: str,
    action: str,
    path: str,
    to: str | None = None,
    *,
    overwrite: bool = False,
) -> Steps[FileInfo]:
    """Move or copy a file, or make a folder."""
    body = {"action": action, "path": path, "to": to, "overwrite": overwrite}
    request = Request("POST", _context(context_id, "files"), body=body)
    return _ask(FileInfo, request)


# -- heaps -----------------------------------------------------------------------------


class _Heaps(msgspec.Struct):
    heaps: list[HeapInfo]
    next_offset: int | None = None


class _Sessions(msgspec.Struct):
    sessions: list[str]


class _Entries(msgspec.Struct):
    entries: list[SessionEntry]


def list_heaps(
    tags: Mapping[str, str] | None, limit: int | None
) -> Steps[list[HeapInfo]]:
    """Return heaps that have all these tags, newest first."""
    pairs = [f"{_escaped(name)}:{value}" for name, value in (tags or {}).items()]

    def page(offset: int, size: int) -> Steps[tuple[list[HeapInfo], int | None]]:
        query = {"tag": pairs or None, "limit": size, "offset": offset}
        found = yield from _ask(_Heaps, Request("GET", "/api/heaps", query))
        return found.heaps, found.next_offset

    return _pages(page, limit)


def _escaped(name: str) -> str:
    return name.replace("\\", "\\\\").replace(":", "\\:")


def get_heap(key: str) -> Steps[HeapInfo]:
    """Return what is known of a heap."""
    return _ask(HeapInfo, Request("GET", path_of("api", "heaps", key)))


def set_tags(key: str, tags: Mapping[str, str]) -> Steps[None]:
    """Replace the tags of a heap."""
    body = {"tags": dict(tags)}
    return _tell(Request("PUT", path_of("api", "heaps", key, "tags"), body=body))


def delete_heap(key: str) -> Steps[None]:
    """Delete a heap."""
    return _tell(Request("DELETE", path_of("api", "heaps", key)))


def list_sessions() -> Steps[list[str]]:
    """Return the names of sessions that have a history."""
    return (yield from _ask(_Sessions, Request("GET", "/api/sessions"))).sessions


def list_session(name: str) -> Steps[list[SessionEntry]]:
    """Return the steps of a session, oldest first."""
    path = path_of("api", "sessions", name, "snapshots")
    return (yield from _ask(_Entries, Request("GET", path))).entries


# -- runs ------------------------------------------------------------------------------


class _Accepted(msgspec.Struct):
    execution_id: str


class _Runs(msgspec.Struct):
    executions: list[RunSummary]
    next_offset: int | None = None


def _run(run_id: str, *below: str) -> str:
    return path_of("api", "executions", run_id, *below)


def submit_run(  # noqa: PLR0913 -- the fields of the request
    code: str,
    *,
    language: str | None,
    session: str | None,
    heap: str | None,
    timeout: int | None,
    memory_mb: int | None,
    tags: Mapping[str, str] | None,
    result_characters_max: int | None,
    capabilities: Mapping[str, Any] | None,
    webhook: str | None,
) -> Steps[str]:
    """Have code run and kept, and return the id of the run."""
    body = {
        "code": code,
        "language": language,
        "session": session,
        "heap": heap,
        "execution_timeout_secs": timeout,
        "heap_memory_max_mb": memory_mb,
        "tags": tags,
        "result_characters_max": result_characters_max,
        "capabilities": capabilities,
        "webhook": None if webhook is None else {"url": webhook},
    }
    request = Request("POST", "/api/exec", body=body)
    return (yield from _ask(_Accepted, request)).execution_id


def get_run(run_id: str) -> Steps[Run]:
    """Return how a run stands."""
    return _ask(Run, Request("GET", _run(run_id)))


def list_runs(status: RunStatus | None, limit: int | None) -> Steps[list[RunSummary]]:
    """Return runs, newest first."""

    def page(offset: int, size: int) -> Steps[tuple[list[RunSummary], int | None]]:
        query = {"status": status, "limit": size, "offset": offset}
        found = yield from _ask(_Runs, Request("GET", "/api/executions", query))
        return found.executions, found.next_offset

    return _pages(page, limit)


def wait_run(run_id: str, timeout: float | None) -> Steps[Run]:
    """Return a run when it has ended.

    Raises:
        WaitTimeoutError: It hasn't in time.
    """
    end = math.inf if timeout is None else time.monotonic() + timeout
    while True:
        seconds = min(max(end - time.monotonic(), 0.0), _WAIT_SECONDS)
        query = {"wait_ms": math.floor(seconds * 1e3)}
        request = Request("GET", _run(run_id), query, seconds=_WAITING_SECONDS)
        found = yield from _ask(Run, request)
        if found.status != "running":
            return found
        if time.monotonic() >= end:
            message = f"the run {run_id} hasn't ended in {timeout:g} s; it goes on"
            raise WaitTimeoutError(message)


def run_output(run_id: str, **asked: int | None) -> Steps[OutputPage]:
    """Return a page of what a run has printed."""
    return _ask(OutputPage, Request("GET", _run(run_id, "output"), asked))


class Following:
    """Reads what a run prints, to its end.

    Attributes:
        ended: Whether all of it has been read.
    """

    def __init__(self, run_id: str) -> None:
        """Begin at its beginning.

        Args:
            run_id: The run.
        """
        self.ended = False
        self._id = run_id
        self._place = 0
        self._pause = 0.0

    def more(self) -> Steps[str]:
        """Wait for more, and return it; nothing at the end."""
        while True:
            page = yield from run_output(
                self._id, byte_offset=self._place, byte_limit=_PAGE_BYTES
            )
            self._place = page.next_byte_offset
            self.ended = page.status != "running" and not page.has_more
            if page.data or self.ended:
                self._pause = 0.0
                return page.data
            longer = min(self._pause * _PAUSE_GROWTH, _PAUSE_SECONDS_MAX)
            self._pause = max(longer, _PAUSE_SECONDS_MIN)
            yield Pause(self._pause)


def cancel_run(run_id: str) -> Steps[Run]:
    """Cancel a run unless it has ended, and return how it stands."""
    with suppress(BadRequestError):  # it has ended, or there is none: that is told now
        yield Request("POST", _run(run_id, "cancel"))
    return (yield from get_run(run_id))


def _pages(
    page: Callable[[int, int], Steps[tuple[list[Listed], int | None]]],
    limit: int | None,
) -> Steps[list[Listed]]:
    """Return what is listed, page by page, up to a limit."""
    found: list[Listed] = []
    offset: int | None = 0
    while offset is not None and (limit is None or len(found) < limit):
        size = _PAGE if limit is None else min(_PAGE, limit - len(found))
        more, offset = yield from page(offset, size)
        found += more
    return found
