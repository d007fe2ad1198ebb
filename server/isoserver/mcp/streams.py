"""stdin and stdout of `isokernel mcp`: taken before anything could write to them."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from isoserver.mcp.handshake import Opening, Output

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from isoserver.settings.server import ServerSettings

__all__ = ["StandardStreams"]

_UNREAD_LINES_MAX: Final = 16
"""How many messages are read ahead; the client's others wait in its pipe."""


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
