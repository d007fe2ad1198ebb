"""What a server and its fork server say to each other.

Requests and replies are packets of MessagePack on a socket pair that keeps packets
whole; descriptors travel with a request. Exits go the other way through a pipe, as
records of a fixed size.
"""

from __future__ import annotations

import struct
from typing import Final

import msgspec

from isokernel.sandbox import SandboxSettings  # noqa: TC001 -- read at run time
from isokernel.settings import ContextSettings  # noqa: TC001 -- as above

__all__ = [
    "DESCRIPTORS_MAX",
    "EXIT",
    "PACKET_MAX",
    "Launch",
    "Ready",
    "Refused",
    "Reply",
    "Request",
    "Spawn",
    "Started",
    "TypeCheck",
]

PACKET_MAX: Final = 1 << 17
DESCRIPTORS_MAX: Final = 8

EXIT: Final = struct.Struct("=qi")
"""Process id, and its exit code or minus the number of the signal."""


class Spawn(msgspec.Struct, tag=True):
    """Start a context. With `work`, `control`, and the file of a heap if there is one.

    Attributes:
        settings: The context's.
        sandbox: How its process is confined; None for not at all.
        checked: The heap is known to be what was saved.
    """

    settings: ContextSettings
    sandbox: SandboxSettings | None = None
    checked: bool = False


class Launch(msgspec.Struct, tag=True):
    """Start a Jupyter kernel. With the files of its standard output and error.

    Attributes:
        arguments: Its command line, without the interpreter's part.
        environment: All of it.
        folder: Where it runs.
        manager: The process with whose end it ends; 0 if it may outlive it.
    """

    arguments: list[str]
    environment: dict[str, str]
    folder: str
    manager: int


class TypeCheck(msgspec.Struct, tag=True):
    """Check types once. With the socket of whoever asks.

    Attributes:
        seconds: After which the process ends, whatever it is at.
        memory_bytes_max: The limit of its V8 heap, and of its buffers.
        sandbox: How its process is confined; None for not at all.
    """

    seconds: float
    memory_bytes_max: int
    sandbox: SandboxSettings | None = None


class Ready(msgspec.Struct, tag=True):
    """The fork server has loaded everything.

    Attributes:
        missing: What of the sandbox can't be had here, a sentence each.
    """

    missing: list[str] = []


class Started(msgspec.Struct, tag=True):
    """A process was forked."""

    pid: int


class Refused(msgspec.Struct, tag=True):
    """A request could not be served."""

    reason: str


Request = Spawn | Launch | TypeCheck
Reply = Ready | Started | Refused
