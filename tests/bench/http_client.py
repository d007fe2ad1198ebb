"""A client that costs little: one connection, requests made of bytes beforehand."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any, Final
from urllib.parse import urlsplit

__all__ = ["Asker", "Connection", "request"]

_LENGTH: Final = b"content-length:"
_STATUS: Final = slice(9, 12)
_REFUSED: Final = 400
_PAUSE_SECONDS: Final = 0.001


def request(method: str, path: str, body: Any = None) -> bytes:
    """Make the bytes of a request."""
    data = b"" if body is None else json.dumps(body).encode()
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n"
    if data:
        head += f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n"
    return head.encode() + b"\r\n" + data


class Connection:
    """One connection that is kept.

    Attributes:
        head: That of the last answer.
    """

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._reader = reader
        self._writer = writer
        self.head = b""

    @classmethod
    async def open(cls, url: str) -> Connection:
        """Connect."""
        parts = urlsplit(url)
        return cls(*await asyncio.open_connection(parts.hostname, parts.port))

    async def send(self, data: bytes) -> tuple[int, bytes]:
        """Send a request; status and body of the answer."""
        self._writer.write(data)
        head = await self._reader.readuntil(b"\r\n\r\n")
        self.head = head
        start = head.lower().find(_LENGTH)
        length = 0
        if start >= 0:
            end = head.find(b"\r\n", start)
            length = int(head[start + len(_LENGTH) : end])
        body = await self._reader.readexactly(length) if length else b""
        return int(head[_STATUS]), body

    async def close(self) -> None:
        """Disconnect."""
        self._writer.close()
        await self._writer.wait_closed()


class Asker:
    """One connection, used by code that waits."""

    def __init__(self, url: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._connection = self._loop.run_until_complete(Connection.open(url))

    def close(self) -> None:
        """Disconnect."""
        self._loop.run_until_complete(self._connection.close())
        self._loop.close()

    def ask(self, data: bytes) -> Any:
        """Send a request; the answer, which isn't an error.

        Raises:
            RuntimeError: It is one.
        """
        work = self._connection.send(data)
        status, answer = self._loop.run_until_complete(work)
        if status >= _REFUSED:
            raise RuntimeError(answer)
        return json.loads(answer) if answer[:1] in b"[{" else answer.decode()

    def run(self, order: bytes) -> None:
        """Order a run, and ask until it has ended, as clients do.

        Raises:
            RuntimeError: It has failed.
        """
        look = request("GET", f"/api/executions/{self.ask(order)['execution_id']}")
        while True:
            status = self.ask(look)["status"]
            if status == "completed":
                return
            if status not in {"queued", "running"}:
                raise RuntimeError(status)
            time.sleep(_PAUSE_SECONDS)
