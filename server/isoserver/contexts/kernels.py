"""The process of a context in a Jupyter kernel: ipykernel, or any installed kernelspec.

Each has a folder of its own, a client of its own on `ipc` sockets, and for Python a
sandbox. Other kernels aren't confined, since nobody knows what they need.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from importlib import import_module
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final

import msgspec

from isokernel.sandbox.launch import LaunchSettings
from isoserver.contexts.jobs import Execution, Job
from isoserver.contexts.messages import Message
from isoserver.contexts.process import ContextProcess, resident
from isoserver.errors import (
    ContextStartError,
    FieldProblem,
    InvalidRequestError,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from jupyter_client.manager import AsyncKernelManager

    from isoserver.contexts.context import Identity
    from isoserver.contexts.process import ProcessListener
    from isoserver.settings.server import ServerSettings

__all__ = ["KernelProcess", "load_jupyter", "python_sandbox"]

_OPEN_FILES: Final = 1024
_KEPT_VARIABLES: Final = ("PATH", "LANG", "LC_ALL", "TZ", "VIRTUAL_ENV", "PYTHONPATH")
_SILENT: Final[dict[str, Any]] = {
    "stdout": subprocess.DEVNULL,
    "stderr": subprocess.DEVNULL,
}
"""What a kernel prints past its own channels is not for the server's log."""
# Plain tracebacks as one text; what a terminal would colour stays uncoloured.
_PYTHON_OPTIONS: Final = (
    "--InteractiveShell.xmode=Plain",
    "--InteractiveShell.colors=NoColor",
    "--HistoryManager.enabled=False",
    # Jedi takes seconds when first asked, in each new process; the names are there.
    "--IPCompleter.use_jedi=False",
    "--InlineBackend.figure_formats={'png','svg'}",
)
_NUMBER: Final = re.compile(r"[0-9]{1,18}", re.ASCII)
_MALFORMED: Final = (ValueError, TypeError, LookupError, AttributeError)
"""What reading a message that is none raises, in jupyter_client and here."""
_ANSI: Final = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")

# One expression each, so that no name is left behind; the values are JSON in a literal.
_LEND: Final = """(lambda os, new: (
    setattr(os, "_isokernel_lent", {{name: os.environ.get(name) for name in new}}),
    os.environ.update(new),
))(__import__("os"), __import__("json").loads({literal}))"""
_TAKE_BACK: Final = """(lambda os: [
    os.environ.pop(name, None)
    if value is None
    else os.environ.__setitem__(name, value)
    for name, value in os.__dict__.pop("_isokernel_lent", {}).items()
])(__import__("os"))"""


class KernelProcess(ContextProcess):
    """A kernel with one client."""

    restarts_when_stuck = True

    def __init__(
        self,
        identity: Identity,
        listener: ProcessListener,
        settings: ServerSettings,
        folder: Path,
        sockets: Path,
    ) -> None:
        """Make a process that isn't launched.

        Args:
            identity: The context's; its working folder is made inside a folder of its
                own.
            listener: The context.
            settings: The server's settings.
            folder: Where contexts have their folders.
            sockets: Where they have those for their sockets; its path is short.
        """
        self._identity = identity
        self._listener = listener
        self._settings = settings
        self._is_python = identity.language.name == "python"
        self._parents = folder, sockets
        self._folders: list[Path] = []
        self._manager: AsyncKernelManager | None = None
        self._client: Any = None
        self._begun = 0  # the job whose messages came last
        self._to_interrupt: Job | None = None  # once it has begun
        self._tasks: set[asyncio.Task[None]] = set()
        self.pid = 0
        self._pidfd = -1
        self._ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    # -- its life ----------------------------------------------------------------------

    async def launch(self, heap: bytes | None) -> None:
        """Start the kernel; see `ContextProcess`."""
        del heap
        folder, sockets, cwd = await asyncio.to_thread(self._make_folders)
        confined = self._is_python and self._settings.sandbox
        sandbox = python_sandbox(self._settings, folder, sockets) if confined else None
        jupyter = await load_jupyter()
        manager = jupyter.KernelManager(
            sandbox=sandbox,
            kernel_name=self._identity.language.kernelspec,
            transport="ipc",
            ip=str(sockets / "kernel"),
            connection_file=str(folder / "connection.json"),
        )
        self._manager = manager
        options = _PYTHON_OPTIONS if self._is_python else ()
        deadline = self._settings.context_start_timeout_seconds
        try:
            await asyncio.wait_for(
                manager.start_kernel(
                    cwd=str(cwd),
                    env=_environment(folder),
                    extra_arguments=list(options),
                    **(_SILENT if confined else {}),
                ),
                deadline,
            )
            self._watch(manager)
            await self._connect(manager, deadline)
        except BaseException as error:
            await self.close()
            if not isinstance(error, Exception):
                raise
            name = self._identity.language.name
            message = f"the kernel {name} did not start: {error}"
            raise ContextStartError(message) from error

    def _make_folders(self) -> tuple[Path, Path, Path]:
        """Make the context's folder, that for its sockets, and the working folder.

        Raises:
            ContextStartError: They can't be made.
        """
        try:
            for parent in self._parents:
                made = tempfile.mkdtemp(prefix="kernel-", dir=parent)
                self._folders.append(Path(made))
            folder, sockets = self._folders
            (folder / "home").mkdir()
            cwd = folder / "files" / _relative(self._identity.cwd)
            cwd.mkdir(parents=True)
        except OSError as error:
            for each in self._folders:
                shutil.rmtree(each, ignore_errors=True)
            self._folders.clear()
            message = f"its folder can't be made: {error}"
            raise ContextStartError(message) from error
        return folder, sockets, cwd

    def _watch(self, manager: AsyncKernelManager) -> None:
        """Notice the end of the process; limit what it may take."""
        provisioner: Any = manager.provisioner
        self.pid = provisioner.pid
        self._ended = asyncio.get_running_loop().create_future()
        with suppress(OSError):
            resource.prlimit(self.pid, resource.RLIMIT_CORE, (0, 0))
            files = (_OPEN_FILES, _OPEN_FILES)
            resource.prlimit(self.pid, resource.RLIMIT_NOFILE, files)
        self._pidfd = os.pidfd_open(self.pid)
        asyncio.get_running_loop().add_reader(self._pidfd, self._exited)

    async def _connect(self, manager: AsyncKernelManager, deadline: float) -> None:
        """Open the channels and wait until both of them carry messages."""
        client = manager.client()
        self._client = client
        client.start_channels(hb=False, stdin=False)
        ready = asyncio.ensure_future(self._first_words(client))
        self._keep(ready)
        waits: list[asyncio.Future[Any]] = [ready, self._ended]
        await asyncio.wait(waits, timeout=deadline, return_when="FIRST_COMPLETED")
        if self._ended.done():
            raise ContextStartError(self._ended.result())
        if not ready.done():
            message = f"it did not answer within {deadline:g} s"
            raise ContextStartError(message)
        for channel in (client.shell_channel, client.iopub_channel):
            self._keep(asyncio.ensure_future(self._pump(channel.get_msg)))

    async def _first_words(self, client: Any) -> None:
        """Ask until an answer has come on shell and its idle on iopub."""
        heard = False
        while not heard:
            self._send_message("kernel_info_request", {}, "0")
            shell = asyncio.ensure_future(client.get_shell_msg(timeout=1))
            iopub = asyncio.ensure_future(client.get_iopub_msg(timeout=1))
            answers = await asyncio.gather(shell, iopub, return_exceptions=True)
            heard = all(isinstance(answer, dict) for answer in answers)

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _exited(self) -> None:
        code = None
        provisioner: Any = self._manager.provisioner if self._manager else None
        if provisioner is not None and provisioner.process is not None:
            code = provisioner.process.poll()
        self._forget_process()
        reason = _reason(code)
        if not self._ended.done():
            self._ended.set_result(reason)
        self._listener.ended(reason)

    def _forget_process(self) -> None:
        self.pid = 0
        if self._pidfd >= 0:
            asyncio.get_running_loop().remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1

    async def close(self) -> None:
        """Shut the kernel down and delete its folders; see `ContextProcess`."""
        self._forget_process()
        for task in self._tasks:
            task.cancel()
        client, self._client = self._client, None
        manager, self._manager = self._manager, None
        if client is not None:
            client.stop_channels()
        if manager is not None:
            with suppress(Exception):  # it may be gone, or never have been there
                await manager.shutdown_kernel(now=True)
            with suppress(Exception):
                manager.cleanup_connection_file()
                manager.context.destroy(linger=0)
        folders, self._folders = self._folders, []
        for folder in folders:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    def kill(self) -> None:
        """Send SIGKILL; its end is noticed as any other."""
        if self.pid:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    # -- jobs --------------------------------------------------------------------------

    def content(self, execution: Execution) -> dict[str, Any]:
        """Return an execute request's content; see `ContextProcess`."""
        if execution.env and not self._is_python:
            name = self._identity.language.name
            problem = f"{name} has no environment variables for one run"
            raise InvalidRequestError(FieldProblem("env_vars", problem))
        return _execute_request(execution.code, silent=False)

    def send(self, job: Job) -> None:
        """Send a request; see `ContextProcess`."""
        env = job.env if isinstance(job, Execution) else None
        if env:
            self._send_silent(_LEND.format(literal=repr(json.dumps(env))))
        self._send_message(job.kind, job.content, str(job.id))
        if env:  # the kernel takes requests in order, so this is before the next job
            self._send_silent(_TAKE_BACK)

    def _send_silent(self, code: str) -> None:
        self._send_message("execute_request", _execute_request(code, silent=True), "0")

    def _send_message(self, kind: str, content: dict[str, Any], number: str) -> None:
        if self._client is None:
            return
        session = self._client.session
        message = session.msg(kind, content)
        message["header"]["msg_id"] = message["msg_id"] = number
        # Not by the channel's own `send`: that goes around asyncio's socket, which then
        # may miss that a reply has come meanwhile, and wait for it for ever.
        frames = session.serialize(message)
        self._client.shell_channel.socket.send_multipart(frames)

    async def _pump(self, get: Callable[[], Awaitable[dict[str, Any]]]) -> None:
        """Deliver messages from one channel until the process is closed.

        Those that are no messages of Jupyter are dropped.
        """
        while True:
            try:
                envelope = await get()
                parent, message = _parent(envelope), _read(envelope)
            except _MALFORMED:
                continue  # user code in the kernel can send what it likes
            if message.kind != "status":
                self._begun = parent
            self._listener.received(parent, message)
            job = self._to_interrupt
            if job is not None and self._begun == job.id:
                self._to_interrupt = None
                if not job.done.done():
                    self.interrupt(job)

    def interrupt(self, job: Job) -> None:
        """Interrupt the kernel, as soon as it has begun the job."""
        if isinstance(job, Execution) and self._begun != job.id:
            # A kernel that has not begun the cell yet would take no notice.
            self._to_interrupt = job
        elif self._manager is not None and self.pid:
            self._keep(asyncio.ensure_future(self._interrupt_kernel(self._manager)))

    async def _interrupt_kernel(self, manager: AsyncKernelManager) -> None:
        with suppress(OSError, RuntimeError):  # it ended meanwhile
            await manager.interrupt_kernel()

    async def memory(self) -> dict[str, int] | None:
        """Read the resident memory of the process."""
        return {"rss": resident(self.pid).all_bytes} if self.pid else None


def _execute_request(code: str, *, silent: bool) -> dict[str, Any]:
    return {
        "code": code,
        "silent": silent,
        "store_history": not silent,
        "user_expressions": {},
        "allow_stdin": False,
        "stop_on_error": False,
    }


def _parent(message: dict[str, Any]) -> int:
    """Return the id of the job that a message belongs to; 0 if to none."""
    number = (message.get("parent_header") or {}).get("msg_id")
    return int(number) if isinstance(number, str) and _NUMBER.fullmatch(number) else 0


def _read(message: dict[str, Any]) -> Message:
    """Read a message, of which nothing but the envelope has been looked at."""
    content, metadata = (
        part if isinstance(part, dict) else {}
        for part in (message["content"], message["metadata"])
    )
    try:
        msgspec.json.encode((content, metadata))
    except UnicodeEncodeError:  # halves of characters, which JSON can have
        text = json.dumps((content, metadata), ensure_ascii=False)
        content, metadata = json.loads(text.encode("utf-8", "replace"))
    lines = content.get("traceback")
    if isinstance(lines, list):
        text = "\n".join(_ANSI.sub("", str(line)) for line in lines)
        content["traceback"] = text.split("\n")
    return Message(str(message["msg_type"]), content, metadata)


def _reason(code: int | None) -> str:
    if code is None:
        return "its process ended"
    if code < 0:
        return f"killed by signal {-code}"
    return f"exit {code}"


def python_sandbox(
    settings: ServerSettings, folder: Path, sockets: Path
) -> LaunchSettings:
    """Return what confines a Python context.

    Args:
        settings: Settings of the server.
        folder: The context's own folder.
        sockets: Where it makes its sockets.
    """
    places = (sys.prefix, sys.base_prefix, sys.exec_prefix, *sys.path)
    readable = [*places, *map(str, settings.python_readable)]
    return LaunchSettings(
        folder=str(folder),
        sockets=str(sockets),
        readable=[path for path in dict.fromkeys(readable) if path.startswith("/")],
        network=settings.python_network,
        memory_bytes_max=settings.python_memory_bytes_max,
        descriptors_max=_OPEN_FILES,
        niceness=settings.context_niceness,
    )


async def load_jupyter() -> Any:
    """Return the module `kernel_manager`, which the first call loads in a thread."""
    return await asyncio.to_thread(import_module, "isoserver.contexts.kernel_manager")


def _relative(cwd: str) -> PurePosixPath:
    """Make of any path one that stays inside of the folder that it is put under."""
    parts = [part for part in PurePosixPath(cwd).parts if part not in {"/", "..", "."}]
    return PurePosixPath(*[part.replace("\0", "") for part in parts])


def _environment(folder: Path) -> dict[str, str]:
    """Return a kernel's variables: none of the server's own, which may be secrets."""
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    home = str(folder / "home")
    return {
        **kept,
        "HOME": home,
        "IPYTHONDIR": f"{home}/.ipython",
        "JUPYTER_RUNTIME_DIR": str(folder),
        "MPLCONFIGDIR": f"{home}/.matplotlib",
        "TMPDIR": home,
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    }
