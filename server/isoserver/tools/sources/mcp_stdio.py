"""An MCP server as a child process, over its standard input and output.

The SDK has a transport for that, which keeps a line in memory whatever its length,
copying it with each piece that arrives: 50 MB stall the server for a minute. This one
drops what is longer than the bound, and answers the request itself in its place.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, TypeVar

import anyio
from mcp.client.stdio import get_default_environment
from mcp.shared.message import SessionMessage
from mcp.types import ErrorData, JSONRPCError, jsonrpc_message_adapter

from isokernel.timeouts import timeout

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from anyio.streams.memory import MemoryObjectSendStream

__all__ = ["TOO_LARGE", "Lines", "Pipes"]

_T = TypeVar("_T")

TOO_LARGE: Final = -32055
"""The JSON-RPC code that an answer over the bound is given."""

_PATIENCE: Final = 15.0
"""Seconds that a start or an end may go on for when nobody wants it any more."""
_PIECE: Final = 64 * 1024
_ENDS: Final = 512
"""Bytes of a dropped line that are kept from either end, to find its id there."""
_STDERR_MAX: Final = 4096
_GRACE_SECONDS: Final = 2.0
_HEAD_ID: Final = re.compile(
    rb'^\s*\{\s*(?:"jsonrpc"\s*:\s*"2\.0"\s*,\s*)?"id"\s*:\s*(\d+)\s*,'
)
_TAIL_ID: Final = re.compile(
    rb'"id"\s*:\s*(\d+)\s*(?:,\s*"jsonrpc"\s*:\s*"2\.0"\s*)?\}\s*$'
)


class Lines:
    """Cuts bytes into lines of a bounded length."""

    def __init__(self, limit: int) -> None:
        """Begin with an empty line.

        Args:
            limit: Bytes of a line.
        """
        self._limit = limit
        self._parts: list[bytes] = []
        self._size = 0
        self._head: bytes | None = None
        self._tail = b""

    def feed(self, piece: bytes) -> list[bytes | int | None]:
        """Add bytes that have arrived.

        Returns:
            The lines that it completes. For one over the bound, the id of the request
            that it answers instead, or None if that can't be told.
        """
        *ended, rest = piece.split(b"\n")
        made: list[bytes | int | None] = []
        for part in ended:
            self._keep(part)
            made.append(self._end())
        self._keep(rest)
        return made

    def _keep(self, part: bytes) -> None:
        if self._head is not None:
            self._tail = (self._tail + part)[-_ENDS:]
            return
        self._parts.append(part)
        self._size += len(part)
        if self._size > self._limit:
            whole = b"".join(self._parts)
            self._head, self._tail = whole[:_ENDS], whole[-_ENDS:]
            self._parts = []

    def _end(self) -> bytes | int | None:
        if self._head is None:
            line = b"".join(self._parts)
            self._parts, self._size = [], 0
            return line
        found = _HEAD_ID.search(self._head) or _TAIL_ID.search(self._tail)
        self._head, self._tail, self._size = None, b"", 0
        return int(found.group(1)) if found else None


class Pipes:
    """A process that speaks MCP over its pipes.

    Attributes:
        complaint: The end of what it wrote to its standard error.
    """

    def __init__(
        self,
        command: list[str],
        env: dict[str, str],
        cwd: str | None,
        limit: int,
        ended: Callable[[], None],
    ) -> None:
        """Keep what is needed; `open` starts the process.

        Args:
            command: The program and its arguments.
            env: Variables besides the few that the SDK passes on.
            cwd: Its working folder.
            limit: Bytes of one message.
            ended: Called when it has closed its output, or can't be understood.
        """
        self._command = command
        self._env = env
        self._cwd = cwd
        self._limit = limit
        self._ended = ended
        self.complaint = ""

    @asynccontextmanager
    async def open(self) -> AsyncIterator[tuple[Any, Any]]:
        """Start it, and give the streams that the SDK's client takes; end it after.

        Raises:
            OSError: It can't be started.
        """
        process = await self._start()
        received, inbox = anyio.create_memory_object_stream[Any](0)
        outbox, sent = anyio.create_memory_object_stream[Any](0)
        tasks = [
            asyncio.create_task(self._read(process, received)),
            asyncio.create_task(self._write(process, sent)),
            asyncio.create_task(self._listen(process)),
        ]
        try:
            yield inbox, outbox
        finally:
            try:
                # Also while being cancelled: the process must not be left behind.
                await _whole(asyncio.create_task(_finish(process, tasks)))
            finally:
                for stream in (received, inbox, outbox, sent):
                    stream.close()

    async def _start(self) -> asyncio.subprocess.Process:
        # Whole: asyncio may wait for ever when this is cancelled amid its pipes.
        starting = asyncio.create_task(
            asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=get_default_environment() | self._env,
                cwd=self._cwd,
                start_new_session=True,
            )
        )
        try:
            return await _whole(starting)
        except asyncio.CancelledError:
            if not starting.cancelled() and starting.exception() is None:
                await _whole(asyncio.create_task(_end(starting.result())))
            raise

    async def _read(
        self,
        process: asyncio.subprocess.Process,
        received: MemoryObjectSendStream[Any],
    ) -> None:
        stdout = process.stdout
        assert stdout is not None  # noqa: S101 - it was asked for
        lines = Lines(self._limit)
        try:
            while piece := await stdout.read(_PIECE):
                for line in lines.feed(piece):
                    message = _message(line)
                    if message is None:
                        return
                    await received.send(message)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            pass
        finally:
            received.close()
            self._ended()

    async def _write(self, process: asyncio.subprocess.Process, sent: Any) -> None:
        stdin = process.stdin
        assert stdin is not None  # noqa: S101 - it was asked for
        try:
            async for item in sent:
                text = item.message.model_dump_json(by_alias=True, exclude_unset=True)
                stdin.write(text.encode() + b"\n")
                await stdin.drain()
        except (OSError, anyio.ClosedResourceError):
            self._ended()

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        stderr = process.stderr
        assert stderr is not None  # noqa: S101 - it was asked for
        while piece := await stderr.read(_PIECE):
            text = self.complaint + piece.decode("utf-8", "replace")
            self.complaint = text[-_STDERR_MAX:]


def _message(line: bytes | int | None) -> Any:
    """Read a line; None if the session can't go on after it."""
    if line is None:
        return None
    if isinstance(line, int):
        error = ErrorData(code=TOO_LARGE, message="the answer is too large")
        return SessionMessage(JSONRPCError(jsonrpc="2.0", id=line, error=error))
    try:
        return SessionMessage(
            jsonrpc_message_adapter.validate_json(line, by_name=False)
        )
    except ValueError as error:
        # Servers print: that is passed on as the SDK does, and is no reason to stop.
        return error


async def _whole(task: asyncio.Task[_T]) -> _T:
    """Wait for its end; being cancelled meanwhile is raised only then.

    A shield of anyio's keeps away what scopes cancel, but not `Task.cancel`. Whoever
    cancels doesn't wait for ever, though: after a while the task is cancelled as well.
    """
    cancelled: asyncio.CancelledError | None = None
    end: float | None = None
    with anyio.CancelScope(shield=True):
        while not task.done():
            try:
                left = None if end is None else end - time.monotonic()
                await asyncio.wait([task], timeout=left)
                if cancelled is not None:
                    task.cancel()
                    end = time.monotonic() + _PATIENCE
            except asyncio.CancelledError as error:  # noqa: PERF203 - it goes on
                # It counts from the first one on, however often that is said.
                end = time.monotonic() + _PATIENCE if end is None else end
                cancelled = error
    if cancelled is not None:
        raise cancelled
    return task.result()


async def _finish(
    process: asyncio.subprocess.Process, tasks: list[asyncio.Task[None]]
) -> None:
    try:
        await _end(process)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _end(process: asyncio.subprocess.Process) -> None:
    """End it: its input closes, then SIGTERM, then SIGKILL, to its whole group."""
    if process.stdin is not None:
        process.stdin.close()
    try:
        for number in (None, signal.SIGTERM, signal.SIGKILL):
            if number is not None:
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, number)
            with suppress(asyncio.TimeoutError, TimeoutError):
                async with timeout(_GRACE_SECONDS):
                    await _gone(process)
                break
    finally:
        # What it started in its group goes with it.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        # A grandchild may hold the pipes open: closed from here.
        transport: Any = getattr(process, "_transport", None)
        if transport is not None:
            transport.close()


async def _gone(process: asyncio.subprocess.Process) -> None:
    # Not `process.wait()`, which waits for the pipes as well.
    while process.returncode is None:  # noqa: ASYNC110 - there is no event of it
        await asyncio.sleep(0.01)
