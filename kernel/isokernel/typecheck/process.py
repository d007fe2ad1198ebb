"""The fork server of type checks: TypeScript loaded and warm.

It is a `forkserver.client.ForkServer` whose process runs this module instead of
`forkserver.contexts`. Each check has a process of its own, confined as contexts are:
what one piece of code does to the checker, hangs or fills its memory, touches no other.
The process ends by itself. None is forked in advance: a check takes longer than what
that would save.
"""

from __future__ import annotations

import os
import signal
import socket
from typing import TYPE_CHECKING, Any, Final, NoReturn

from isokernel.errors import FrameError, TypeCheckerError
from isokernel.forkserver.process import Template, serve
from isokernel.forkserver.protocol import TypeCheck
from isokernel.protocol.frames import Decoder, encode
from isokernel.sandbox import close_descriptors, confine
from isokernel.typecheck.checker import TypeChecker

if TYPE_CHECKING:
    from collections.abc import Sequence

    from isokernel.forkserver.protocol import Request

__all__ = ["CheckerTemplate", "main"]

_REQUEST_MAX_BYTES: Final = 64 << 20
"""Code and declarations together."""
_CHUNK: Final = 1 << 16


class CheckerTemplate(Template):
    """A warm type checker."""

    def __init__(self) -> None:
        """Load everything: a confined process can't."""
        self._checker = TypeChecker()
        self._checker.warm_up()
        encode("check_reply", {"status": "ok"})

    def warm_up(self) -> None:
        """Do nothing: no process is forked in advance."""

    def become(self, request: Request, descriptors: Sequence[int]) -> NoReturn:
        """Check what comes on a socket, answer, end.

        Raises:
            TypeError: Something else was asked for.
            FrameError: Whoever asked is gone.
        """
        if not isinstance(request, TypeCheck):
            message = "this fork server checks types"
            raise TypeError(message)
        # Nothing of the check's own can put this off: its default ends the process.
        signal.setitimer(signal.ITIMER_REAL, request.seconds)
        close_descriptors(keep=descriptors[:1])
        if request.sandbox is not None:
            confine(request.sandbox, request.memory_bytes_max)
        self._checker.limit(request.memory_bytes_max)
        with socket.socket(fileno=descriptors[0]) as sock:
            sock.settimeout(None)
            sock.sendall(encode("check_reply", self._answer(_receive(sock))))
        os._exit(0)

    def _answer(self, content: dict[str, Any]) -> dict[str, Any]:
        try:
            found = self._checker.check(
                content["code"], content["declarations"], content["names"]
            )
        except TypeCheckerError as error:
            return {"status": "error", "evalue": str(error)}
        return {"status": "ok", "diagnostics": [one._asdict() for one in found]}


def _receive(sock: socket.socket) -> dict[str, Any]:
    decoder = Decoder(_REQUEST_MAX_BYTES)
    while data := sock.recv(_CHUNK):
        for frame in decoder.feed(data):
            return frame.content
    message = "whoever asked is gone"
    raise FrameError(message)


def main(requests: int, exits: int, spares: int, _kernels: int) -> None:
    """Be the fork server of type checks; see `forkserver.process.serve`."""
    serve(CheckerTemplate, requests, exits, spares)
