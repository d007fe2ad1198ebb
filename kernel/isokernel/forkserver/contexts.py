"""The fork server of contexts, and of Jupyter kernels if it is asked for them."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Final, NoReturn

from isokernel.context import Context, compression
from isokernel.context.warmup import compile_all, warm
from isokernel.forkserver.process import Template, serve
from isokernel.forkserver.protocol import Launch, Request, Spawn
from isokernel.runtime import compiled, scripts
from isokernel.settings import ContextSettings
from isokernel.typescript.transpiler import transpiler
from isokernel.worker import main as worker
from isokernel.worker.control import open_rollup
from isokernel.worker.loop import Sockets

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["ContextTemplate", "main"]

_FIRST_DESCRIPTOR: Final = 3


class ContextTemplate(Template):
    """A warm, blank context.

    Attributes:
        base: The context that all others are forked from.
    """

    def __init__(self) -> None:
        """Load everything: a confined process can't."""
        scripts.preload()
        compression.preload()
        self.base = Context(ContextSettings(), lambda _event: None)
        # Finds the native functions that a saved heap refers to, for all forks.
        self.base.heaps.save()
        warm(self.base)
        transpiler().collect_garbage()
        self.base.prepare_fork()
        self._rollup: int | None = None  # a spare process has its own

    def practise(self) -> None:
        """Run a cell; the context stays blank."""
        worker.warm_up(self.base)

    def warm_up(self) -> None:
        """Run a cell; the context stays blank."""
        self._rollup = open_rollup()
        worker.warm_up(self.base)

    def lacks(self) -> bool:
        """Tell whether nobody has kept what V8 makes of this runtime."""
        return scripts.lacks_code()

    def prepare(self) -> None:
        """Keep it, for all processes of this user."""
        compile_all()

    def take(self) -> None:
        """Read what is kept now."""
        compiled.forget()
        compiled.read()

    def become(self, request: Request, descriptors: Sequence[int]) -> NoReturn:
        """Be a context or a kernel.

        Raises:
            TypeError: Something else was asked for.
        """
        if isinstance(request, Launch):
            self._become_kernel(request, descriptors)
        if not isinstance(request, Spawn):
            message = "this fork server makes contexts and kernels"
            raise TypeError(message)
        work, control, *snapshots = descriptors
        worker.serve(
            self.base,
            request.settings,
            Sockets(socket.socket(fileno=work), socket.socket(fileno=control)),
            snapshots[0] if snapshots else None,
            request.sandbox,
            checked=request.checked,
            rollup=self._rollup,
        )

    def _become_kernel(self, request: Launch, descriptors: Sequence[int]) -> NoReturn:
        """Be a Jupyter kernel, with the rights of one that is started plainly."""
        from isokernel.jupyter.launch import launch  # noqa: PLC0415 -- is loaded already

        for standard, descriptor in enumerate(descriptors, start=1):
            os.dup2(descriptor, standard)
        os.closerange(_FIRST_DESCRIPTOR, os.sysconf("SC_OPEN_MAX"))
        os.environ.clear()
        os.environ.update(request.environment)
        os.chdir(request.folder)
        os._exit(launch(request.arguments, base=self.base, manager=request.manager))


def _load_kernels() -> None:
    """Import what a Jupyter kernel needs; none of it starts a thread."""
    import isokernel.jupyter.kernel  # noqa: PLC0415
    import isokernel.jupyter.launch  # noqa: PLC0415
    import isokernel.jupyter.settings  # noqa: F401, PLC0415


def main(requests: int, exits: int, spares: int, kernels: int) -> None:
    """Be the fork server of contexts; see `process.serve`.

    Args:
        requests: A descriptor, on which requests come.
        exits: A descriptor, on which exits are reported.
        spares: How many processes are forked in advance.
        kernels: Whether kernels will be asked for.
    """
    if kernels:
        _load_kernels()
    serve(ContextTemplate, requests, exits, spares)
