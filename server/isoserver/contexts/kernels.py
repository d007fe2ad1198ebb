"""The process of a context in a Jupyter kernel: ipykernel, or any installed kernelspec.

`contexts/launcher` starts it, mostly in a container, or has started it ahead
(`spares`); its client speaks with it on Unix sockets that only the kernel and the
server see (`started_kernel`).
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from typing import TYPE_CHECKING, Any, Final

import msgspec
import zmq

from isokernel.files.folder import FolderLimits
from isokernel.protocol.messages import well_formed
from isokernel.sandbox.container import HOME
from isoserver.contexts.jobs import Execution, Job
from isoserver.contexts.launcher import KernelOrder
from isoserver.contexts.messages import Message
from isoserver.contexts.process import ContextProcess
from isoserver.contexts.python_code import (
    LEND,
    PYTHON_OPTIONS,
    TAKE_BACK,
    VALUE_JSON,
)
from isoserver.contexts.started_kernel import StartedKernel
from isoserver.errors import (
    ContextStartError,
    FieldProblem,
    InvalidRequestError,
)
from isoserver.files.shared import SharedFolder

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from isokernel.forkserver import MemoryFile
    from isoserver.contexts.context import Identity
    from isoserver.contexts.languages import Language
    from isoserver.contexts.launcher import Launcher
    from isoserver.contexts.process import ProcessListener
    from isoserver.contexts.spares import Spare, Spares
    from isoserver.files.service import Files
    from isoserver.settings.server import ServerSettings

__all__ = ["KernelProcess", "kernel_order"]

_KEEP_SECONDS: Final = 0.5
_KEEP_SHARE: Final = 20
"""Files are copied after executions, at most so often and one part of the time."""
_ENDS_SECONDS: Final = 1.0
"""How long after its connections a kernel's process may end."""
_NUMBER: Final = re.compile(r"[0-9]{1,18}", re.ASCII)
_MALFORMED: Final = (
    *(ValueError, TypeError, LookupError, AttributeError),
    RecursionError,  # nested too deeply
)
"""What reading a message that is none raises, in jupyter_client and here."""
_EARLY_SECONDS: Final = 0.1
"""How long a kernel may prepare a cell, in which it can take an interrupt for its own.

IPython goes on with the cell then, after two of a hundred interrupts that came as soon
as the cell had begun; so such an interrupt is sent again.
"""
_INTERRUPTED: Final = {
    "status": "error",
    "ename": "KeyboardInterrupt",
    "evalue": "",
    "traceback": ["KeyboardInterrupt"],
}
_ANSI: Final = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")

_VALUE: Final = "value"
_TOLD_MAX: Final = 5
_NO_SPACE: Final = ("No space left on device", "File too large")
"""What the system says where a file system, or a file, is as large as it may be."""
_SPACE: Final = (
    "  files may take {size} bytes in each of /home, /tmp and /dev/shm: "
    "python_files_bytes_max"
)


class KernelProcess(ContextProcess):
    """A kernel with one client."""

    restarts_when_stuck = True
    says_idle = True

    def __init__(  # noqa: PLR0913, PLR0917 - the parts of a server that it needs
        self,
        identity: Identity,
        listener: ProcessListener,
        settings: ServerSettings,
        launcher: Launcher,
        spares: Spares,
        files: Files,
    ) -> None:
        """Make a process that isn't launched.

        Args:
            identity: The context's; its working folder is made inside a folder of its
                own.
            listener: The context.
            settings: The server's settings.
            launcher: What starts it.
            spares: Those that were started ahead; one of them is taken if it fits.
            files: Where the context's files are kept.
        """
        self._identity = identity
        self._listener = listener
        self._settings = settings
        self._launcher = launcher
        self._spares = spares
        self._folder = SharedFolder(
            files,
            (identity.workspace, identity.id),
            FolderLimits(
                bytes_max=settings.python_files_bytes_max,
                files_max=settings.files_max,
                file_bytes_max=settings.file_bytes_max,
                open_max=settings.files_open_max,
            ),
        )
        self._log_lost = files.report
        self._keeping = asyncio.Lock()
        self._told_lost: set[str] = set()
        self._changed = asyncio.Event()
        self._is_python = identity.language.name == "python"
        self._kernel: StartedKernel | None = None
        self._begun = 0  # the job whose messages came last
        self._begun_at = 0.0
        self._to_interrupt: Job | None = None  # once it has begun
        self._interrupted: Job | None = None  # the latest, until it is over
        self._ending: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self.pid = 0

    # -- its life ----------------------------------------------------------------------

    async def launch(self, heap: MemoryFile | None) -> None:
        """Start the kernel, or take a spare one; see `ContextProcess`."""
        del heap
        identity = self._identity
        order = kernel_order(
            identity.language, identity.cwd, identity.heap_memory_max_bytes
        )
        try:
            spare = await self._spare(order)
            if spare is None:
                async with self._launcher.turn():
                    launched = await self._launcher.launch(order, self._folder.fill)
                    kernel = self._own(StartedKernel(launched, self._exited))
                    await kernel.connect(self._settings.context_start_timeout_seconds)
            else:
                kernel = self._own(spare.kernel)
                await asyncio.to_thread(self._folder.fill, spare.folder, spare.owner)
        except BaseException as error:
            await self.close()
            if not isinstance(error, Exception):
                raise
            name = identity.language.name
            message = f"the kernel {name} did not start: {error}"
            raise ContextStartError(message) from error
        self._begin(kernel)
        self._spares.asked(order)

    async def _spare(self, order: KernelOrder) -> Spare | None:
        """Take a spare kernel, if there is one that nothing tells from a new one.

        What is in a context's folder may be what its kernel begins with, such as
        packages of a user's own. So a kernel that began without isn't for those.
        """
        if not self._spares.has(order):
            return None
        installed, is_empty = await asyncio.to_thread(
            lambda: (self._launcher.installed(order), self._folder.is_empty())
        )
        return self._spares.take(order, installed) if is_empty else None

    def _own(self, kernel: StartedKernel) -> StartedKernel:
        self._kernel, self.pid = kernel, kernel.pid
        kernel.on_end = self._exited
        return kernel

    def _begin(self, kernel: StartedKernel) -> None:
        """Deliver what it says, and keep what it writes."""
        self.information = kernel.information
        client = kernel.client
        self._keep(asyncio.ensure_future(self._keep_files()))
        self._keep(asyncio.ensure_future(self._pump(client.stdin_channel.get_msg)))
        for channel in (client.shell_channel, client.iopub_channel):
            self._keep(asyncio.ensure_future(self._pump(channel.get_msg)))
            watched = self._watch_connection(kernel, channel.socket)
            self._keep(asyncio.ensure_future(watched))

    async def _keep_files(self) -> None:
        """Copy what executions have changed to where it outlives the server."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            began = time.monotonic()
            await self._keep_now(self._folder.keep)
            took = time.monotonic() - began
            await asyncio.sleep(max(_KEEP_SECONDS, took * _KEEP_SHARE))

    async def _keep_now(self, keep: Callable[[], list[str]]) -> None:
        async with self._keeping:
            lost = await asyncio.shield(asyncio.to_thread(keep))
        new = [each for each in lost if each not in self._told_lost]
        if new:
            self._log_lost(self._identity.id, new)
            self._tell_lost(new)
        self._told_lost = set(lost)

    def _tell_lost(self, lost: list[str]) -> None:
        """Tell in the output of the latest cell what ends with the container."""
        shown = [f"isokernel: not kept: {each}" for each in lost[:_TOLD_MAX]]
        if len(lost) > _TOLD_MAX:
            shown.append(f"isokernel: nor {len(lost) - _TOLD_MAX} more files")
        text = "".join(f"{line}\n" for line in shown)
        content = {"name": "stderr", "text": text}
        self._listener.received(self._begun, Message("stream", content, {}))

    def _explain(self, message: Message) -> None:
        """Say in an error what setting there is too little of."""
        lines = message.content.get("traceback")
        said = str(message.content.get("evalue"))
        if any(text in said for text in _NO_SPACE) and isinstance(lines, list):
            size = self._settings.python_files_bytes_max
            lines.append(_SPACE.format(size=size))

    async def _watch_connection(self, kernel: StartedKernel, channel: Any) -> None:
        """End a kernel whose connection is closed, as it is not made again.

        ZeroMQ closes it when a message is too large.
        """
        monitor = channel.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        await monitor.recv_multipart()
        # A kernel that ends closes it as well, and has a reason of its own.
        await asyncio.wait([kernel.ended], timeout=_ENDS_SECONDS)
        if not kernel.ended.done():
            kernel.cut_off = True
            kernel.kill()

    def _keep(self, task: asyncio.Task[Any]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _exited(self, reason: str) -> None:
        kernel = self._kernel
        self.pid = 0
        if kernel is not None:
            self._ending = asyncio.ensure_future(self._end(kernel))
        self._listener.ended(reason)

    async def close(self) -> None:
        """End the kernel and all that it has; see `ContextProcess`."""
        self.pid = 0
        for task in self._tasks:
            task.cancel()
        kernel, self._kernel = self._kernel, None
        if kernel is not None:
            kernel.disconnect()
            self._ending = asyncio.ensure_future(self._end(kernel))
        if self._ending is not None:
            await asyncio.shield(self._ending)
        await self._keep_now(self._folder.close)

    async def _end(self, kernel: StartedKernel) -> None:
        await kernel.end()
        await self._keep_now(self._folder.close)

    def kill(self) -> None:
        """Send SIGKILL; its end is noticed as any other."""
        if self._kernel is not None:
            self._kernel.kill()

    # -- jobs --------------------------------------------------------------------------

    def content(self, execution: Execution) -> dict[str, Any]:
        """Return an execute request's content; see `ContextProcess`."""
        if execution.env and not self._is_python:
            name = self._identity.language.name
            problem = f"{name} has no environment variables for one run"
            raise InvalidRequestError(FieldProblem("env_vars", problem))
        asked = execution.options
        content = _execute_request(execution.code, silent=execution.silent)
        for name in ("store_history", "user_expressions", "allow_stdin"):
            content[name] = asked.get(name, content[name])
        if self._is_python and execution.options.get("value_json"):
            content["user_expressions"] = {_VALUE: VALUE_JSON}
        return content

    def send(self, job: Job) -> None:
        """Send a request; see `ContextProcess`."""
        if self._kernel is None:
            return
        env = job.env if isinstance(job, Execution) else None
        if env:
            _send_silent(self._kernel, LEND.format(literal=repr(json.dumps(env))))
        self._kernel.send(job.kind, job.content, str(job.id))
        if env:  # the kernel takes requests in order, so this is before the next job
            _send_silent(self._kernel, TAKE_BACK)

    def tell(
        self,
        kind: str,
        content: dict[str, Any],
        buffers: tuple[bytes, ...] = (),
        *,
        metadata: Mapping[str, Any] | None = None,
        number: int = 0,
    ) -> None:
        """Send what has no reply: messages of comms, and what a user was asked for."""
        if self._kernel is None:
            return
        if kind.startswith("comm_"):
            self._kernel.send(kind, content, str(number), buffers, metadata)
        elif kind == "input_reply":
            self._kernel.send_on("stdin", kind, content)

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
            self._explain(message)
            if message.kind != "status" and self._begun != parent:
                self._begun, self._begun_at = parent, time.monotonic()
            self._listener.received(parent, message)
            if message.content.get("execution_state") == "idle":
                self._changed.set()
            job = self._to_interrupt
            if job is not None and self._begun == job.id:
                self._to_interrupt = None
                if not job.done.done():
                    self.interrupt(job)
            job = self._interrupted
            if job is not None and parent in {0, job.id}:
                self._follow(job, message)

    def _follow(self, job: Job, message: Message) -> None:
        """Give an interrupted job the reply that its kernel may have dropped.

        A kernel that is interrupted between a request and the user's code, as
        ipykernel, is idle again without a reply. It answers in order, so that what it
        is asked then is answered after any reply that is under way.
        """
        if job.over or job.done.done():
            self._interrupted = None
        elif message.kind == "status" and job.idle:
            if self._kernel is not None:
                self._kernel.send("kernel_info_request", {}, "0")
        elif message.kind == "kernel_info_reply":
            self._interrupted = None
            self._listener.received(job.id, Message("execute_reply", _INTERRUPTED, {}))

    def interrupt(self, job: Job) -> None:
        """Interrupt the kernel, as soon as it has begun the job."""
        if isinstance(job, Execution) and self._begun != job.id:
            # A kernel that has not begun the cell yet would take no notice.
            self._to_interrupt = job
            return
        if isinstance(job, Execution):
            self._interrupted = job
            if time.monotonic() < self._begun_at + _EARLY_SECONDS:
                loop = asyncio.get_running_loop()
                loop.call_later(_EARLY_SECONDS, self._interrupt_again, job)
        self._interrupt()

    def _interrupt_again(self, job: Job) -> None:
        if job is self._interrupted and not (job.idle or job.done.done()):
            self._interrupt()

    def _interrupt(self) -> None:
        if self._kernel is not None:
            self._kernel.interrupt()

    def own_bytes(self) -> int:
        """Return the memory of all its processes; see `ContextProcess`."""
        kernel = self._kernel
        return 0 if kernel is None else kernel.memory_bytes()

    async def memory(self) -> dict[str, int] | None:
        """Return the memory of all its processes."""
        kernel = self._kernel
        if kernel is None or not kernel.pid:
            return None
        return {"rss": await asyncio.to_thread(kernel.memory_bytes)}


def kernel_order(
    language: Language, cwd: str = HOME, memory_bytes_max: int | None = None
) -> KernelOrder:
    """Say what kernel a context of a language wants.

    Args:
        language: One that a kernel runs.
        cwd: The working folder.
        memory_bytes_max: See `KernelOrder`.
    """
    options = PYTHON_OPTIONS if language.name == "python" else ()
    return KernelOrder(language.kernelspec, cwd, options, memory_bytes_max)


def _send_silent(kernel: StartedKernel, code: str) -> None:
    kernel.send("execute_request", _execute_request(code, silent=True), "0")


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
        content, metadata = json.loads(well_formed(text))
    asked = content.get("user_expressions")
    value = asked.pop(_VALUE, None) if isinstance(asked, dict) else None
    if isinstance(value, dict) and value.get("status") == "ok":
        content["result_json"] = str(value["data"]["text/plain"])
    lines = content.get("traceback")
    if isinstance(lines, list):
        text = "\n".join(_ANSI.sub("", str(line)) for line in lines)
        content["traceback"] = text.split("\n")
    return Message(str(message["msg_type"]), content, metadata)
