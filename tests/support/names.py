"""A name server on loopback, whose names may change what they mean."""

from __future__ import annotations

import asyncio
import collections
import socket
import struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_HEADER = struct.Struct(">6H")
_ANSWER = struct.Struct(">HHHIH4s")


def in_turn(answers: list[list[str]]) -> Callable[[str, int], list[str]]:
    """Answer each name with one list after the other, then with the last."""
    return lambda _name, number: answers[min(number, len(answers) - 1)]


def _name(question: bytes) -> str:
    place, labels = _HEADER.size, []
    while size := question[place]:
        labels.append(question[place + 1 : place + 1 + size].decode())
        place += 1 + size
    return ".".join(labels)


class NameServer(asyncio.DatagramProtocol):
    """Answers questions for IPv4 addresses.

    Attributes:
        port: Where it listens on 127.0.0.1.
    """

    def __init__(self, answer: Callable[[str, int], list[str]]) -> None:
        """Know what to answer.

        Args:
            answer: The addresses of a name, of which there were so many questions.
        """
        self._answer = answer
        self._asked: collections.Counter[str] = collections.Counter()
        self.port = 0

    @property
    def asked(self) -> int:
        return self._asked.total()

    def forget(self) -> None:
        """Begin anew with each name."""
        self._asked.clear()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self.port = transport.get_extra_info("sockname")[1]

    def datagram_received(self, data: bytes, address: Any) -> None:
        name = _name(data)
        found = self._answer(name, self._asked[name])
        self._asked[name] += 1
        number = _HEADER.unpack_from(data)[0]
        head = _HEADER.pack(number, 0x8180, 1, len(found), 0, 0)
        question = data[_HEADER.size :]
        # A pointer to the name of the question; a lifetime of no seconds.
        records = [
            _ANSWER.pack(0xC00C, 1, 1, 0, 4, socket.inet_aton(one)) for one in found
        ]
        self._transport.sendto(head + question + b"".join(records), address)


class NameClient:
    """Looks up names at a name server, as the system's resolver would."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def resolve(self, host: str, port: int) -> list[str]:
        del port
        loop = asyncio.get_running_loop()
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setblocking(False)  # noqa: FBT003 - socket's own signature
        name = b"".join(
            bytes([len(label)]) + label.encode() for label in host.split(".")
        )
        question = _HEADER.pack(7, 0x0100, 1, 0, 0, 0) + name + b"\0\0\1\0\1"
        try:
            await loop.sock_connect(sock, ("127.0.0.1", self._port))
            await loop.sock_sendall(sock, question)
            data = await loop.sock_recv(sock, 4096)
        finally:
            sock.close()
        count = _HEADER.unpack_from(data)[3]
        place, found = len(question), []
        for _ in range(count):
            found.append(socket.inet_ntoa(_ANSWER.unpack_from(data, place)[5]))
            place += _ANSWER.size
        return found
