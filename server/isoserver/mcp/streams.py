"""The streams of `isokernel mcp`: taken before anything could write to them."""

from __future__ import annotations

import os
import threading
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from isoserver.mcp.handshake import Opening, Output

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator

    from isoserver.settings.server import ServerSettings

__all__ = ["LentErrors", "StandardStreams"]

_UNREAD_LINES_MAX: Final = 16
"""How many messages are read ahead; the client's others wait in its pipe."""

_PIECE: Final = 1 << 16
_COPY_SECONDS: Final = 1.0


class LentErrors:
    """stderr of the first client, lent to a server that may outlive that client.

    The server and its processes write to a pipe, which a thread copies. So the client's
    own stderr can be let go, and whoever reads it sees its end. What is written after
    that is dropped. The descriptors 0 and 1 are let go at once.
    """

    def __init__(self) -> None:
        """Put the pipe in the place of stderr, and copy."""
        self._client = os.dup(2)
        self._pipe, end = os.pipe()
        os.dup2(end, 2)
        os.close(end)
        empty = os.open(os.devnull, os.O_RDWR)
        os.dup2(empty, 0)
        os.close(empty)
        os.dup2(2, 1)
        self._copier = threading.Thread(target=self._copy, name="stderr", daemon=True)
        self._copier.start()

    def _copy(self) -> None:
        while data := os.read(self._pipe, _PIECE):
            with suppress(OSError):
                os.write(self._client, data)

    def give_back(self) -> None:
        """Let the client's stderr go."""
        _forget(self._client)

    def close(self) -> None:
        """Wait until what was written is copied, and write to the client's again."""
        for number in (1, 2):
            os.dup2(self._client, number)
        self._copier.join(_COPY_SECONDS)


def _forget(number: int) -> None:
    """Make a descriptor one of nothing, also while others use it."""
    empty = os.open(os.devnull, os.O_RDWR)
    os.dup2(empty, number, inheritable=False)
    os.close(empty)


class StandardStreams:
    """The client's end: messages that come on stdin, and stdout for the answers.

    A thread reads, so that the first message is answered while the server is imported
    and started. Afterwards the descriptor 0 is empty and 1 is stderr, for this process
    and whatever it starts.
    """

    def __init__(self, settings: ServerSettings) -> None:
        """Move the descriptors 0 and 1 out of reach; `start` reads.

        Args:
            settings: The server's.
        """
        self._opening = Opening(settings)
        self._lines: deque[bytes] = deque()  # the last one is empty: the end
        self._room = threading.Semaphore(_UNREAD_LINES_MAX)
        self._listener: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None
        self._input, self._output = os.dup(0), os.dup(1)
        empty = os.open(os.devnull, os.O_RDONLY)
        os.dup2(empty, 0)
        os.close(empty)
        os.dup2(2, 1)

    def start(self) -> None:
        """Begin to read, in a thread of its own, and answer the first message."""
        threading.Thread(target=self._read, name="stdin", daemon=True).start()

    def _read(self) -> None:
        with (
            suppress(OSError),
            open(self._input, "rb", closefd=False) as file,
        ):
            for line in file:
                rest = memoryview((self._opening.answer(line) or "").encode())
                while rest:
                    rest = rest[os.write(self._output, rest) :]
                self._put(line)
        self._put(b"")

    def _put(self, line: bytes) -> None:
        self._room.acquire()
        self._lines.append(line)
        if self._listener is not None:
            loop, there = self._listener
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(there.set)

    async def lines(self) -> AsyncIterator[str]:
        """Yield the messages, until the client closes stdin."""
        import asyncio  # noqa: PLC0415 - not before the first answer

        there = asyncio.Event()
        self._listener = asyncio.get_running_loop(), there
        while True:
            while self._lines:
                line = self._lines.popleft()
                self._room.release()
                if not line:
                    return
                yield line.decode("utf-8", "replace")
            there.clear()
            if not self._lines:
                await there.wait()

    def output(self) -> Output:
        """Return where the SDK writes to."""
        import anyio  # noqa: PLC0415 - with the SDK

        file = open(self._output, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        return Output(anyio.wrap_file(file), self._opening)
