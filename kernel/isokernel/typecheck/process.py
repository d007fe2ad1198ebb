"""The process that type checks are forked from: TypeScript loaded and warm.

Each check has a process of its own, confined as contexts are: what one piece of code
does to the checker, hangs or fills its memory, touches no other. It ends by itself.
"""

from __future__ import annotations

import codecs
import contextlib
import gc
import os
import signal
import socket
import traceback
from typing import TYPE_CHECKING, Any, Final, NoReturn

from isokernel.errors import FrameError, TypeCheckerError
from isokernel.forkserver.births import Spares
from isokernel.forkserver.process import Zygote
from isokernel.forkserver.protocol import Check
from isokernel.protocol.frames import Decoder, encode
from isokernel.sandbox import confine, seccomp
from isokernel.typecheck.checker import TypeChecker

if TYPE_CHECKING:
    from collections.abc import Sequence

    from isokernel.forkserver.protocol import Request

__all__ = ["REQUEST_MAX", "main"]

REQUEST_MAX: Final = 64 << 20
"""Bytes of code and declarations together."""
_CHUNK: Final = 1 << 16
_STANDARD: Final = (0, 1, 2)


class CheckZygote(Zygote):
    """Forks a process for each check."""

    def _prepare(self, spares: int) -> Spares:
        seccomp.prepare()
        for codec in ("ascii", "utf-8", "utf-16", "utf-16-le"):
            codecs.lookup(codec)
        self._checker = TypeChecker()
        self._checker.warm()
        encode("check_reply", {"status": "ok"})
        gc.collect()
        gc.freeze()
        del spares  # a check takes longer than what they would save: none is made,
        return Spares(None, 0, self._leave)  # type: ignore[arg-type]  # nor forked

    def _become(self, request: Request, descriptors: Sequence[int]) -> NoReturn:
        try:
            if isinstance(request, Check):
                _serve(self._checker, request, descriptors[0])
        except BaseException:  # noqa: BLE001 -- it must not go on as a fork server
            traceback.print_exc()
        finally:
            os._exit(1)


def _serve(checker: TypeChecker, request: Check, descriptor: int) -> NoReturn:
    """Check what comes on a socket, answer, end."""
    os.setsid()
    # Nothing of the check's own can put this off: the default is to end the process.
    signal.setitimer(signal.ITIMER_REAL, request.seconds)
    _close_others(descriptor)
    if request.sandbox is not None:
        confine(request.sandbox, request.memory_max)
    checker.limit(request.memory_max)
    with socket.socket(fileno=descriptor) as sock:
        sock.settimeout(None)
        sock.sendall(encode("check_reply", _answer(checker, _receive(sock))))
    os._exit(0)


def _receive(sock: socket.socket) -> dict[str, Any]:
    decoder = Decoder(REQUEST_MAX)
    while data := sock.recv(_CHUNK):
        for frame in decoder.feed(data):
            return frame.content
    message = "whoever asked is gone"
    raise FrameError(message)


def _answer(checker: TypeChecker, content: dict[str, Any]) -> dict[str, Any]:
    try:
        found = checker.check(
            content["code"], content["declarations"], content["names"]
        )
    except TypeCheckerError as error:
        return {"status": "error", "evalue": str(error)}
    return {"status": "ok", "diagnostics": [one._asdict() for one in found]}


def _close_others(descriptor: int) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for standard in _STANDARD:
        os.dup2(null, standard)
    os.closerange(len(_STANDARD), descriptor)
    os.closerange(descriptor + 1, os.sysconf("SC_OPEN_MAX"))


def main(requests: int, exits: int, spares: int, _kernels: int) -> None:
    """Be the fork server of the process that holds the descriptors' other ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(ConnectionError):  # the server has ended
        CheckZygote(socket.socket(fileno=requests), exits, spares).run()
