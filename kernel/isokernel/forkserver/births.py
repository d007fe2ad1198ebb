"""What happens in a process that was just forked, until it is what was asked for."""

from __future__ import annotations

import codecs
import gc
import os
import socket
import traceback
from typing import TYPE_CHECKING, Final, NoReturn

import msgspec

from isokernel.context.context import Context
from isokernel.forkserver.protocol import (
    DESCRIPTORS_MAX,
    PACKET_MAX,
    Launch,
    Request,
    Spawn,
)
from isokernel.runtime import scripts
from isokernel.sandbox import seccomp
from isokernel.settings import ContextSettings
from isokernel.v8 import pages
from isokernel.worker.loop import Sockets
from isokernel.worker.main import serve, warm_up

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Spares", "base_context", "become", "load_kernels"]

_FIRST_DESCRIPTOR: Final = 3
_CODECS: Final = ("ascii", "latin-1", "utf-8", "utf-16", "utf-16-le")
"""Python imports a codec at its first use; a confined process could not."""


def base_context() -> Context:
    """Make the context that all others are forked from."""
    scripts.preload()
    seccomp.prepare()
    for codec in _CODECS:
        codecs.lookup(codec)
    context = Context(ContextSettings(), lambda _event: None)
    # Finds the native functions that a saved heap refers to, for all that are forked.
    context.save()
    context.warm()
    context.rest()
    gc.collect()
    pages.trim()
    gc.freeze()
    return context


def load_kernels() -> None:
    """Import what a Jupyter kernel needs; none of it starts a thread."""
    import isokernel.jupyter.kernel  # noqa: PLC0415
    import isokernel.jupyter.launch  # noqa: PLC0415
    import isokernel.jupyter.settings  # noqa: F401, PLC0415


def become(base: Context, request: Request, descriptors: Sequence[int]) -> NoReturn:
    """Be what was asked for, in a process that is nothing else yet; ends it."""
    try:
        os.setsid()
        if isinstance(request, Launch):
            _be_kernel(base, request, descriptors)
        if not isinstance(request, Spawn):
            message = "this fork server makes contexts and kernels"
            raise TypeError(message)  # noqa: TRY301 -- one end for all
        work, control, *snapshots = descriptors
        serve(
            base,
            request.settings,
            Sockets(socket.socket(fileno=work), socket.socket(fileno=control)),
            snapshots[0] if snapshots else None,
            request.sandbox,
            checked=request.checked,
        )
    except BaseException:  # noqa: BLE001 -- it must not go on as a fork server
        traceback.print_exc()
    finally:
        os._exit(1)


def _be_kernel(base: Context, request: Launch, descriptors: Sequence[int]) -> NoReturn:
    """Be a Jupyter kernel, with the rights that one has which is started plainly."""
    from isokernel.jupyter.launch import launch  # noqa: PLC0415 -- is loaded already

    for standard, descriptor in enumerate(descriptors, start=1):
        os.dup2(descriptor, standard)
    os.closerange(_FIRST_DESCRIPTOR, os.sysconf("SC_OPEN_MAX"))
    os.environ.clear()
    os.environ.update(request.environment)
    os.chdir(request.folder)
    os._exit(launch(request.arguments, base=base, manager=request.manager))


class Spares:
    """Processes that are forked, warm, and wait for what they shall become.

    A process that was just forked gets each page of the fork server's at its first
    touch, some 900 up to its first result; a spare one has got them.
    """

    def __init__(self, base: Context, wanted: int, leave: Callable[[], None]) -> None:
        """Have none yet.

        Args:
            base: The context that is forked.
            wanted: How many to have.
            leave: Called in each first, to give up what is the fork server's.
        """
        self._base = base
        self._wanted = wanted
        self._leave = leave
        self._waiting: dict[int, socket.socket] = {}

    @property
    def lacking(self) -> bool:
        """Whether there are fewer than there should be."""
        return len(self._waiting) < self._wanted

    def fork(self) -> None:
        """Make one more; when the system allows none, do without."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            pid = os.fork()
        except OSError:
            self._wanted = 0
            ours.close()
            theirs.close()
            return
        if pid == 0:
            ours.close()
            self._leave()
            self._wait(theirs)
        theirs.close()
        self._waiting[pid] = ours

    def take(self, packet: bytes, descriptors: Sequence[int]) -> int | None:
        """Have one become what is asked for; None if there is none."""
        while self._waiting:
            pid = next(iter(self._waiting))  # the oldest, the likeliest to be ready
            ours = self._waiting.pop(pid)
            with ours:
                try:
                    socket.send_fds(ours, [packet], descriptors)
                except OSError:
                    continue  # it is dead
                return pid
        return None

    def forget(self, pid: int) -> bool:
        """A process has ended; whether it was a spare one."""
        ours = self._waiting.pop(pid, None)
        if ours is not None:
            ours.close()
        return ours is not None

    def close(self) -> None:
        """Give up the sockets; the processes end."""
        for ours in self._waiting.values():
            ours.close()
        self._waiting.clear()

    def _wait(self, theirs: socket.socket) -> NoReturn:
        try:
            warm_up(self._base)
            packet, descriptors, _, _ = socket.recv_fds(
                theirs, PACKET_MAX, DESCRIPTORS_MAX
            )
            if packet:
                theirs.close()
                request = msgspec.msgpack.decode(packet, type=Request)
                become(self._base, request, descriptors)
        except BaseException:  # noqa: BLE001 -- it must not go on as a fork server
            traceback.print_exc()
        finally:
            os._exit(0)
