"""A front that costs little: frames are made beforehand, and looked at, not read."""

from __future__ import annotations

import asyncio
import base64
import os
import socket
import struct
from typing import Final
from urllib.parse import urlsplit
from uuid import uuid4

from isoserver.jupyter.frames import V1, FrontMessage, encode

__all__ = ["Front"]

_BINARY: Final = 2
_PING: Final = 9
_PONG: Final = 10
_UNMASKED: Final = bytes(4)
"""A mask that changes nothing."""
_SHORT: Final = 126
_LONG: Final = 127
_HEAD: Final = (
    "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
    "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Protocol: {protocol}\r\nSec-WebSocket-Key: {key}\r\n\r\n"
)
_IDLE: Final = b'"execution_state":"idle"'


class Front:
    """One websocket on a context."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def attach(cls, url: str, context: str, *, nagle: bool = False) -> Front:
        """Open a websocket on a context.

        Args:
            url: The server.
            context: Its context.
            nagle: Whether to wait with small pieces for acknowledgement, as the
                gateway's client in jupyter_server does.
        """
        parts = urlsplit(url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        option = socket.IPPROTO_TCP, socket.TCP_NODELAY
        writer.get_extra_info("socket").setsockopt(*option, not nagle)
        path = f"/jupyter/api/kernels/{context}/channels?session_id={uuid4().hex}"
        key = base64.b64encode(os.urandom(16)).decode()
        writer.write(_HEAD.format(path=path, protocol=V1, key=key).encode())
        head = await reader.readuntil(b"\r\n\r\n")
        assert b" 101 " in head, head
        return cls(reader, writer)

    def ask(self, kind: str, content: dict[str, object]) -> bytes:
        """Send a request; its id."""
        number = uuid4().hex
        header = {"msg_id": number, "msg_type": kind, "session": "bench"}
        header |= {"username": "", "date": "2026-01-01T00:00:00Z", "version": "5.3"}
        data = encode(FrontMessage("shell", header, {}, {}, content), v1=True)
        assert isinstance(data, bytes)
        self._send(_BINARY, data)
        return number.encode()

    async def answered(self, number: bytes) -> None:
        """Wait until the reply to a request, and that it is over, have come."""
        await self._hear(number, {b'_reply"', _IDLE})

    async def over(self, number: bytes) -> None:
        """Wait until a request of whomever is over."""
        await self._hear(number, {_IDLE})

    async def run(self, code: str) -> None:
        """Run a cell."""
        await self.answered(self.ask("execute_request", {"code": code}))

    async def close(self) -> None:
        """Break the connection."""
        self._writer.close()
        await self._writer.wait_closed()

    async def _hear(self, number: bytes, parts: set[bytes]) -> None:
        missing = set(parts)
        while missing:
            data = await self._message()
            if number in data:
                missing = {part for part in missing if part not in data}

    async def _message(self) -> bytes:
        while True:
            first, length = await self._reader.readexactly(2)
            if length == _SHORT:
                (length,) = struct.unpack(">H", await self._reader.readexactly(2))
            elif length == _LONG:
                (length,) = struct.unpack(">Q", await self._reader.readexactly(8))
            data = await self._reader.readexactly(length)
            if first & 15 == _PING:
                self._send(_PONG, data)
            else:
                assert first & 15 == _BINARY, data
                return data

    def _send(self, kind: int, data: bytes) -> None:
        size = len(data)
        head = bytes((128 | kind, 128 | min(size, _SHORT)))
        if size >= _SHORT:
            head += struct.pack(">H", size)
        self._writer.write(head + _UNMASKED + data)
