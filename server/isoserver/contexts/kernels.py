"""A context in a Jupyter kernel: Python by ipykernel, or any installed kernelspec."""

from __future__ import annotations

import asyncio
import json
import os
import re
import resource
import shutil
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import msgspec

from isoserver.contexts.context import DIED, Context, State
from isoserver.contexts.jobs import TIMEOUT, Execution, Job, Message, Request, failure
from isoserver.contexts.launching import (
    OPEN_FILES,
    UNHEARD,
    Manager,
    environment,
    make_folder,
    python_walls,
    relative,
)
from isoserver.contexts.memory import resident
from isoserver.errors import ContextStartError, FieldProblem, InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from jupyter_client.manager import AsyncKernelManager

    from isoserver.contexts.context import Identity, Observer
    from isoserver.settings.server import ServerSettings

__all__ = ["KernelContext"]

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


class KernelContext(Context):
    """A context in a kernel of its own, with one client for it."""

    def __init__(
        self,
        identity: Identity,
        settings: ServerSettings,
        observer: Observer,
        folder: Path,
        sockets: Path,
    ) -> None:
        """Make a context that isn't started.

        Args:
            identity: What it is; the working folder is made inside of one of the
                context's own.
            settings: Settings of the server.
            observer: Who counts.
            folder: Where contexts have their folders.
            sockets: Where they have those for their sockets; its path is short.
        """
        super().__init__(identity, settings, observer)
        self._parents = folder, sockets
        self._folders: list[Path] = []
        self._manager: AsyncKernelManager | None = None
        self._client: Any = None
        self._begun = 0
        self._unheard = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._pidfd = -1
        self._ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    # -- the process -------------------------------------------------------------------

    async def _launch(self) -> None:
        folder, sockets, cwd = await asyncio.to_thread(self._make_folders)
        # What other kernels need, nobody knows.
        confined = self.language.name == "python" and self.settings.sandbox
        manager = Manager(
            walls=python_walls(self.settings, folder, sockets) if confined else None,
            kernel_name=self.language.kernelspec,
            transport="ipc",
            ip=str(sockets / "kernel"),
            connection_file=str(folder / "connection.json"),
        )
        self._manager = manager
        options = _PYTHON_OPTIONS if self.language.name == "python" else ()
        deadline = self.settings.context_start_timeout_seconds
        try:
            await asyncio.wait_for(
                manager.start_kernel(
                    cwd=str(cwd),
                    env=environment(folder),
                    extra_arguments=list(options),
                    **(UNHEARD if confined else {}),
                ),
                deadline,
            )
            self._watch(manager)
            await self._connect(manager, deadline)
        except BaseException as error:
            await self._kill()
            if not isinstance(error, Exception):
                raise
            message = f"the kernel {self.language.name} did not start: {error}"
            raise ContextStartError(message) from error

    def _make_folders(self) -> tuple[Path, Path, Path]:
        """Make the context's folder, that for its sockets, and the working folder.

        Raises:
            ContextStartError: They can't be made.
        """
        try:
            for parent in self._parents:
                self._folders.append(make_folder(parent))
            folder, sockets = self._folders
            (folder / "home").mkdir()
            cwd = folder / "files" / relative(self.cwd)
            cwd.mkdir(parents=True)
        except OSError as error:
            for made in self._folders:
                shutil.rmtree(made, ignore_errors=True)
            self._folders.clear()
            message = f"its folder can't be made: {error}"
            raise ContextStartError(message) from error
        return folder, sockets, cwd

    def _watch(self, manager: AsyncKernelManager) -> None:
        """Notice the end of the process; bound what it may take."""
        provisioner: Any = manager.provisioner
        self.pid = provisioner.pid
        self._ended = asyncio.get_running_loop().create_future()
        with suppress(OSError):
            resource.prlimit(self.pid, resource.RLIMIT_CORE, (0, 0))
            files = (OPEN_FILES, OPEN_FILES)
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
        self.died(reason)

    def _forget_process(self) -> None:
        self.pid = 0
        if self._pidfd >= 0:
            asyncio.get_running_loop().remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1

    async def _kill(self) -> None:
        self._forget_process()
        for task in [
            task for task in self._tasks if task is not asyncio.current_task()
        ]:
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

    # -- jobs --------------------------------------------------------------------------

    def _content(self, request: Request) -> dict[str, Any]:
        if request.env and self.language.name != "python":
            problem = f"{self.language.name} has no environment variables for one run"
            raise InvalidRequestError(FieldProblem("env_vars", problem))
        return {
            "code": request.code,
            "silent": False,
            "store_history": True,
            "user_expressions": {},
            "allow_stdin": False,
            "stop_on_error": False,
        }

    def _send(self, job: Job) -> None:
        env = job.request.env if isinstance(job, Execution) else None
        if env:
            literal = repr(json.dumps(env))
            self._send_silent(_LEND.format(literal=literal))
        self._send_message(job.kind, job.content, str(job.id))
        if env:  # the kernel takes requests in order, so this is before the next job
            self._send_silent(_TAKE_BACK)

    def _send_silent(self, code: str) -> None:
        content = {
            "code": code,
            "silent": True,
            "store_history": False,
            "user_expressions": {},
            "allow_stdin": False,
            "stop_on_error": False,
        }
        self._send_message("execute_request", content, "0")

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
        """Take messages from one channel until the context ends."""
        while True:
            message = await get()
            self.received(_parent(message), _read(message))

    def received(self, parent: int, message: Message) -> None:
        """Take a message; a cell that shows that it has begun can be interrupted."""
        if message.kind != "status":
            self._begun = parent
        super().received(parent, message)
        if self._unheard and self._begun == self._unheard:
            self._unheard = 0
            self._interrupt()

    def _interrupt(self) -> None:
        current = self._current
        if isinstance(current, Execution) and self._begun != current.id:
            # A kernel that has not begun the cell yet would take no notice.
            self._unheard = current.id
            return
        if self._manager is not None and self.pid:
            self._keep(asyncio.ensure_future(self._interrupt_kernel(self._manager)))

    async def _interrupt_kernel(self, manager: AsyncKernelManager) -> None:
        with suppress(OSError, RuntimeError):  # it ended meanwhile
            await manager.interrupt_kernel()

    def _give_up(self) -> None:
        """Restart, because code can ignore an interrupt; the answer says so."""
        job = self._current
        if job is None:
            return
        what = (
            f"the execution took longer than {job.seconds:g} s and ignored an interrupt"
            if job.overdue
            else "the kernel did not finish its answer"
        )
        reason = f"{what}: the context was restarted, its state is lost"
        if isinstance(job, Execution):
            self._current = None
            job.count = self.execution_count + 1
            job.fail(failure(TIMEOUT if job.overdue else DIED, reason))
            self._record(job)
        restart = asyncio.ensure_future(self._restart_quietly(reason))
        _RESTARTS.add(restart)
        restart.add_done_callback(_RESTARTS.discard)

    async def _restart_quietly(self, reason: str) -> None:
        with suppress(ContextStartError):  # the context is dead, and says why
            await self.restart(reason)

    async def memory(self) -> dict[str, int] | None:
        """Read the resident memory of the process."""
        if not self.pid or self.state is State.DEAD:
            return None
        return {"rss": resident(self.pid).all}


_RESTARTS: Final[set[asyncio.Task[None]]] = set()
"""Restarts on their way: the loop itself keeps tasks only weakly."""


def _parent(message: dict[str, Any]) -> int:
    """Give the number of the request that a message belongs to; 0 if to none."""
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
