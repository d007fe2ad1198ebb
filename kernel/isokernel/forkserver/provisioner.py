"""The provisioner `isokernel-provisioner`, which gets Jupyter its kernels by a fork.

A process that manages kernels, such as a Jupyter server, has one fork server, which is
started in the background when its first kernel can answer. Kernels that are asked for
before, and all that can't be forked, are started as any other: the kernel is the same,
it only comes later. A kernel lives on when the fork server dies. ISOKERNEL_FORKS=off in
the environment of the process that manages the kernels does without.

What isn't forked takes 0.1 s until it listens, and a client that connects before is
refused, and waits for 0.1 to 0.2 s until it tries again. So a kernel gets sockets that
listen already.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Final

from jupyter_client.provisioning.local_provisioner import LocalProvisioner

from isokernel.errors import ForkServerError
from isokernel.forkserver import ForkServer
from isokernel.forkserver.client import is_inherited
from isokernel.forkserver.protocol import Launch
from isokernel.jupyter.channels import CHANNELS
from isokernel.jupyter.install import START
from isokernel.jupyter.process import INHERITED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jupyter_client.connect import KernelConnectionInfo

__all__ = ["IsokernelProvisioner", "KernelForkServer"]

_UNDERSTOOD: Final = frozenset(
    {"cwd", "env", "extra_arguments", "independent", "kernel_id", "stderr", "stdout"}
)
_DESCRIPTORS: Final = frozenset({"close_fds", "pass_fds"})
_UNKNOWN_STATUS: Final = 1
_FIRST_KERNEL_SECONDS: Final = 2.0
_BACKLOG: Final = 100
_STEP_SECONDS: Final = 0.01


class ForkedProcess:
    """A forked kernel, with what `LocalProvisioner` asks of `subprocess.Popen`.

    Attributes:
        pid: The process.
        returncode: Its exit code, minus the number of the signal, or None.
    """

    stdin = stdout = stderr = None

    def __init__(self, server: KernelForkServer, pid: int) -> None:
        """Watch a process that `server` has started."""
        self._server = server
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Return the exit code, or None while the process runs."""
        if self.returncode is None:
            self.returncode = self._server.exit_status(self.pid)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the exit code.

        Raises:
            subprocess.TimeoutExpired: The process still runs.
        """
        end = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if end is not None and time.monotonic() >= end:
                raise subprocess.TimeoutExpired([f"kernel {self.pid}"], timeout or 0.0)
            time.sleep(_STEP_SECONDS)
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal; one to a process that has ended is lost."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask the process to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the process."""
        self.send_signal(signal.SIGKILL)


class KernelForkServer:
    """The fork server of this process, and the kernels that it has started.

    Attributes:
        problem: Why kernels can't be forked; None if they can.
    """

    def __init__(self) -> None:
        """Start nothing yet."""
        self._server: ForkServer | None = None
        self._thread: threading.Thread | None = None
        self._statuses: dict[int, int] = {}
        self._owner = 0
        self.problem: str | None = None

    def prepare(self, kernel: int | None = None) -> threading.Thread | None:
        """Start the fork server in the background, if there is none.

        Args:
            kernel: A descriptor, closed here, that is at its end when a kernel can
                answer. The fork server takes a core for 0.2 s to start, and waits for
                that before it does.

        Returns:
            The thread that does it; None when nothing has to be done, or can be.
        """
        with contextlib.ExitStack() as unused:
            if kernel is not None:
                unused.callback(os.close, kernel)
            if self._starting:
                return self._thread
            if self.problem is not None or (self._server and self._server.alive):
                return None
            self._thread = threading.Thread(
                target=self._start,
                args=(kernel,),
                name="isokernel-forkserver",
                daemon=True,
            )
            unused.pop_all()
            self._thread.start()
            return self._thread

    @property
    def _starting(self) -> bool:
        if self._owner != os.getpid():  # this process was forked itself
            self._server, self._thread, self._owner = None, None, os.getpid()
        return self._thread is not None and self._thread.is_alive()

    def _start(self, kernel: int | None) -> None:
        if kernel is not None:
            select.select([kernel], [], [], _FIRST_KERNEL_SECONDS)
            os.close(kernel)
        try:
            server = self._server or ForkServer(subreaper=False, kernels=True)
            server.start()
        except (ForkServerError, OSError) as error:
            self.problem = str(error)
        else:
            self._server = server
            atexit.register(self.close)

    def launch(self, request: Launch, descriptors: list[int]) -> ForkedProcess | None:
        """Fork a kernel; None if that can't be done at once."""
        if self._starting or self._server is None or not self._server.alive:
            return None
        try:
            pid = self._server.request(request, descriptors)
        except ForkServerError as error:
            self.problem = str(error)
            return None
        return ForkedProcess(self, pid)

    def exit_status(self, pid: int) -> int | None:
        """Return the exit code of a kernel, once, when it has exited."""
        if self._server is not None:
            for exited in self._server.poll_exits():
                status = exited.status
                self._statuses[exited.pid] = (
                    _UNKNOWN_STATUS if status is None else status
                )
        return self._statuses.pop(pid, None)

    def close(self) -> None:
        """End the fork server; kernels go on."""
        if self._thread is not None:
            self._thread.join()
        if self._server is not None:
            self._server.close(kill=False)
        self._server = self._thread = self.problem = None
        atexit.unregister(self.close)


FORK_SERVER: Final = KernelForkServer()


class IsokernelProvisioner(LocalProvisioner):
    """Starts a kernel by a fork where it can, and as `LocalProvisioner` does elsewhere.

    jupyter_client makes one for each kernel, by the kernelspec's metadata.
    """

    async def launch_kernel(
        self, cmd: list[str], **kwargs: Any
    ) -> KernelConnectionInfo:
        """Start the kernel; jupyter_client calls it after `pre_launch`."""
        known = FORK_SERVER.problem
        request = _request(cmd, kwargs)
        process = None if request is None else FORK_SERVER.launch(*request)
        if process is None:
            if FORK_SERVER.problem is not None and known is None:
                self.log.warning(
                    "isokernel's kernels start without their fork server: %s",
                    FORK_SERVER.problem,
                )
            return await self._start(cmd, kwargs, forkable=request is not None)
        self.process = process  # type: ignore[assignment]
        # It leads a session of its own, if perhaps not yet.
        self.pid = self.pgid = process.pid
        self.cwd = kwargs.get("cwd") or os.getcwd()  # noqa: PTH109 -- as its caller's
        return self.connection_info

    async def _start(
        self, cmd: list[str], options: dict[str, Any], *, forkable: bool
    ) -> KernelConnectionInfo:
        """Start the kernel as a process of its own, and then the fork server."""
        reader = None
        with contextlib.ExitStack() as opened:
            if _is_ours(cmd) and not _DESCRIPTORS.intersection(options):
                inherited = _listening(self.connection_info, opened)
                if inherited and forkable:
                    reader, writer = os.pipe()
                    opened.callback(os.close, writer)
                    inherited.append(writer)
                numbers = ",".join(str(each) for each in inherited)
                cmd = [*cmd, INHERITED, numbers]
                options = {**options, "pass_fds": inherited}
            try:
                return await super().launch_kernel(cmd, **options)
            finally:
                if forkable:
                    FORK_SERVER.prepare(reader)


def _listening(
    connection: Mapping[str, Any], opened: contextlib.ExitStack
) -> list[int]:
    """Listen where a kernel is going to; nowhere if that isn't possible everywhere.

    The kernel itself can say better what is the matter then.
    """
    made: list[int] = []
    if connection.get("transport", "tcp") != "tcp":
        return made
    for name in CHANNELS:
        listener = opened.enter_context(socket.socket())
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        os.set_blocking(listener.fileno(), False)  # as ZMQ's own are
        try:
            listener.bind((connection["ip"], connection[f"{name}_port"]))
            listener.listen(_BACKLOG)
        except (OSError, KeyError, TypeError):
            opened.close()
            return []
        made.append(listener.fileno())
    return made


def _request(
    cmd: list[str], options: dict[str, Any]
) -> tuple[Launch, list[int]] | None:
    """Return what forks the kernel that a command would start, if it is the same."""
    environment = options.get("env") or dict(os.environ)
    outputs = [_descriptor(options.get(name), name) for name in ("stdout", "stderr")]
    if (
        os.environ.get("ISOKERNEL_FORKS") == "off"
        or not _is_ours(cmd)
        or not _UNDERSTOOD.issuperset(options)
        or None in outputs
        or _settled(environment) != _settled(os.environ)
    ):
        return None
    independent = bool(options.get("independent"))
    if not independent:
        environment = {**environment, "JPY_PARENT_PID": str(os.getpid())}
    request = Launch(
        arguments=cmd[3:],
        environment=environment,
        folder=os.path.abspath(options.get("cwd") or "."),  # noqa: PTH100 -- as it is
        manager=0 if independent else os.getpid(),
    )
    return request, [output for output in outputs if output is not None]


def _is_ours(cmd: list[str]) -> bool:
    """Return whether it is the command of our kernelspecs, with this interpreter."""
    same = os.path.realpath(cmd[0]) == os.path.realpath(sys.executable)
    return same and cmd[1:3] == ["-c", START]


def _descriptor(output: Any, name: str) -> int | None:
    """Return the descriptor of an output; None if it takes a `subprocess.Popen`."""
    if output is None:
        return {"stdout": 1, "stderr": 2}[name]
    if isinstance(output, int):
        return output if output >= 0 else None
    try:
        return int(output.fileno())
    except (AttributeError, OSError, ValueError):
        return None


def _settled(environment: Any) -> dict[str, str]:
    """What of an environment is settled once Python and V8 have started in it."""
    return {
        name: value
        for name, value in environment.items()
        if is_inherited(name) or name.startswith("PYTHON")
    }
