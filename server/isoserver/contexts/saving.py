"""One checkpoint on its way: a process that a context forked writes its heap."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from isoserver.errors import ForkError, HeapUnsavableError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from typing_extensions import Self

__all__ = ["Saved", "Saving"]

_OUTCOME_MAX: Final = 65_536


class Saved(NamedTuple):
    """A state that was saved.

    Attributes:
        snapshot: What `create` and `restart` take.
        execution_count: Number of the last execution in it.
    """

    snapshot: bytes
    execution_count: int


class Saving:
    """The file that a heap is written to, and the pipe that tells of the outcome.

    Attributes:
        descriptors: What the context is sent: the file, and the pipe's other end.
    """

    def __init__(self, seconds: float) -> None:
        """Prepare; to be used with `async with`.

        Args:
            seconds: How long the writing may take.
        """
        self._seconds = seconds
        self._process: int | None = None
        self._file = self._reader = self._writer = -1
        self.descriptors: tuple[int, int] = (-1, -1)

    async def __aenter__(self) -> Self:
        """Open the file and the pipe."""
        self._file = os.memfd_create("isokernel-heap")
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        self.descriptors = (self._file, self._writer)
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        """Close both; end the process if it still writes."""
        if error is not None and self._process is not None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._process, signal.SIGKILL)
        for descriptor in (self._process, self._file, self._reader, self._writer):
            if descriptor is not None and descriptor >= 0:
                os.close(descriptor)

    def begun(
        self, reply: dict[str, Any], hold: Callable[[object], int | None]
    ) -> None:
        """Take the context's reply.

        Args:
            reply: Its content.
            hold: Told which process writes, checks that and gives a descriptor of it.

        Raises:
            HeapUnsavableError: It could not be forked, or isn't the context's.
        """
        pid = reply.get("pid")
        if reply.get("status", "ok") != "ok" or not pid:
            text = str(reply.get("evalue") or "its process can't be forked")
            raise HeapUnsavableError(text)
        try:
            self._process = hold(pid)
        except ForkError as error:
            raise HeapUnsavableError(str(error)) from error

    async def result(self) -> bytes:
        """Wait until the heap is written, and read it.

        Raises:
            HeapUnsavableError: V8 could not save it, or not in time.
        """
        os.close(self._writer)
        self._writer = -1
        try:
            said = await asyncio.wait_for(self._outcome(), self._seconds)
        except asyncio.TimeoutError:
            message = f"it took longer than {self._seconds:g} s"
            raise HeapUnsavableError(message) from None
        if said.get("status") != "ok":
            reason = str(said.get("reason") or "the process that saved it died")
            raise HeapUnsavableError(reason, said.get("kind"), said.get("path"))
        return await asyncio.to_thread(_read, self._file)

    async def _outcome(self) -> dict[str, Any]:
        """Read the pipe to its end."""
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[None] = loop.create_future()
        chunks: list[bytes] = []

        def readable() -> None:
            try:
                chunk = os.read(self._reader, _OUTCOME_MAX)
            except BlockingIOError:
                return
            chunks.append(chunk)
            full = sum(map(len, chunks)) > _OUTCOME_MAX
            if (not chunk or full) and not ended.done():
                ended.set_result(None)

        loop.add_reader(self._reader, readable)
        try:
            await ended
        finally:
            loop.remove_reader(self._reader)
        return _parse(b"".join(chunks))


def _parse(data: bytes) -> dict[str, Any]:
    """Read the outcome; nothing if the process died before it was told."""
    try:
        said = msgspec.json.decode(data)
    except msgspec.DecodeError:
        return {}
    return said if isinstance(said, dict) else {}


def _read(file: int) -> bytes:
    return os.pread(file, os.fstat(file).st_size, 0)
