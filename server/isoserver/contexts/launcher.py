"""Where the kernels of other languages are started: each in a container of its own.

    KernelProcess ──► Launcher.launch ──► Container     (isokernel/sandbox)
    (kernels.py)                     └──► BareProgram   (programs.py) where an
                                                        operator allows it

Whether containers can be made is tried once, when the server starts. Where they can't,
kernels don't start at all, unless `insecure_kernels` says that they may without.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
import shutil
import site
import sys
import sysconfig
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from isokernel.errors import ContainerError
from isokernel.sandbox.cgroups import Cgroups
from isokernel.sandbox.container import (
    HOME,
    SOCKETS,
    Container,
    ContainerSettings,
    counts_processes,
    find_bwrap,
)
from isokernel.timeouts import timeout
from isoserver.contexts.process import look
from isoserver.contexts.programs import OPEN_FILES_MAX, BareProgram
from isoserver.errors import ContextStartError, FolderError
from isoserver.storage.folders import SocketFolder

if TYPE_CHECKING:
    from collections.abc import (
        AsyncIterator,
        Callable,
        Hashable,
        Iterable,
        Sequence,
    )

    from jupyter_client.kernelspec import KernelSpec

    from isoserver.contexts.programs import Program
    from isoserver.settings.server import ServerSettings

__all__ = ["KernelOrder", "Launched", "Launcher", "load_kernelspecs"]

_MEMORY_MIN: Final = 128 << 20
"""Of one that is asked for less, which would not start."""
_SPACE_MORE: Final = 1 << 30
_STARTS_MAX: Final = 4
"""Kernels that are started at a time; what they wait for is the system's work."""
_TURN_SECONDS: Final = 5.0
"""How long a kernel that starts keeps others from it: several times what it needs. One
that has files of a user's could take for ever."""
_WATCH_SECONDS: Final = 1.0
_WATCH_SHARE: Final = 20
"""The watch takes at most one part in so many of a processor."""
_CONNECTION_FILE: Final = "/run/connection.json"
_INSTALLED: Final = "/tmp/.packages"  # noqa: S108 -- a container's own
"""Where `%pip` puts what it installs."""
_IP: Final = f"{SOCKETS}/kernel"
"""How the paths of sockets begin: the channel's number follows, after a hyphen."""
_PORTS: Final = {
    f"{channel}_port": number
    for number, channel in enumerate(("shell", "iopub", "stdin", "control", "hb"), 1)
}
_KEPT_VARIABLES: Final = ("PATH", "LANG", "LC_ALL", "TZ", "VIRTUAL_ENV", "PYTHONPATH")
_PLACEHOLDER: Final = re.compile(r"\{([A-Za-z0-9_]+)\}")
_VARIABLE: Final = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
_PYTHONS: Final = ("python", "python3", "python{}.{}".format(*sys.version_info))


Fill: TypeAlias = "Callable[[int, int | None], None]"
Connection: TypeAlias = "dict[str, str | int]"
"""What a connection file says."""


class KernelOrder(NamedTuple):
    """What kernel is wanted; what two have in common that could be exchanged.

    Attributes:
        kernelspec: The name of an installed kernelspec.
        cwd: Its working folder, inside of its own files.
        options: Further arguments.
        memory_bytes_max: Of its memory; None for what the settings say.
    """

    kernelspec: str
    cwd: str
    options: tuple[str, ...] = ()
    memory_bytes_max: int | None = None


class Launched(NamedTuple):
    """A kernel that has been started, and how to reach it.

    Attributes:
        program: The process.
        connection: What its connection file says, but for `ip`.
        interrupted_by_message: Whether the kernelspec wants a message, not a signal.
    """

    program: Program
    connection: Connection
    interrupted_by_message: bool


class Launcher:
    """Starts kernels. Used from the event loop, but where it says so.

    Attributes:
        missing_walls: What this machine can't enforce, a sentence each.
    """

    def __init__(
        self, settings: ServerSettings, folder: Path, hidden: Iterable[Path]
    ) -> None:
        """Start nothing.

        Args:
            settings: The server's settings.
            folder: Where kernels without a container have their files.
            hidden: What no kernel may read, wherever it is.
        """
        self.missing_walls: list[str] = []
        self._settings = settings
        self._folder = folder
        self._hidden = [str(path) for path in hidden]
        self._bwrap: str | None = None
        self._problem = ""
        self._cgroups: Cgroups | None = None
        self._sockets: SocketFolder | None = None
        self._preparing = threading.Lock()
        self._prepared = False
        # The system ends a container with the thread that started it, so those of
        # this pool stay; asyncio's own may go.
        self._threads = ThreadPoolExecutor(_STARTS_MAX, "kernels")
        self._turns = asyncio.Semaphore(len(os.sched_getaffinity(0)))
        self._watched: dict[Container, int | None] = {}  # with the memory of each
        self._watch: asyncio.Task[None] | None = None

    def prepare(self) -> None:
        """Find out what this machine can do, once; blocks for some 30 ms.

        For any thread: a server does it after its start, or its first kernel.
        """
        with self._preparing:
            if not self._prepared:
                self._prepare()
                self._prepared = True

    def _prepare(self) -> None:
        settings = self._settings
        if not settings.sandbox:
            return
        try:
            program = settings.container_program
            self._bwrap = find_bwrap(program, self._readable(), self._hidden)
        except ContainerError as error:
            self._problem = str(error)
            self.missing_walls.append(self._refusal())
            return
        self._cgroups = Cgroups()
        if "memory" not in self._cgroups.controllers:
            self.missing_walls.append(
                "No cgroup bounds the memory of Python contexts: it is looked at every "
                "second, and those that have too much are ended."
            )
        if "pids" not in self._cgroups.controllers and not counts_processes():
            self.missing_walls.append("Processes of Python contexts aren't bounded.")

    def _refusal(self) -> str:
        if self._settings.insecure_kernels:
            return f"Python contexts have no container: {self._problem}."
        return (
            "Python contexts don't start here, as no container can be made: "
            f"{self._problem} (--insecure-kernels starts them without)."
        )

    def close(self) -> None:
        """Free what it has; no kernel is left."""
        if self._watch is not None:
            self._watch.cancel()
        self._threads.shutdown(wait=False)
        if self._cgroups is not None:
            self._cgroups.close()
        if self._sockets is not None:
            self._sockets.close()

    # -- starting ----------------------------------------------------------------------

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Have one kernel start, until it answers, on each processor.

        All at once would all answer at the end: fifty took longer than a start may.

        Raises:
            ContextStartError: There were too many before it.
        """
        seconds = self._settings.context_start_timeout_seconds
        try:
            async with timeout(seconds):
                await self._turns.acquire()
        except asyncio.TimeoutError as error:
            message = f"others were starting for {seconds:g} s"
            raise ContextStartError(message) from error
        over = asyncio.get_running_loop().call_later(_TURN_SECONDS, self._turns.release)
        try:
            yield
        finally:
            if over.when() > asyncio.get_running_loop().time():
                over.cancel()
                self._turns.release()

    async def launch(self, order: KernelOrder, fill: Fill) -> Launched:
        """Start a kernel.

        Args:
            order: Which.
            fill: Puts files into its working folder before it begins: given the
                folder's descriptor, which it takes over, and their owner.

        Raises:
            ContextStartError: It can't be started.
        """
        memory = order.memory_bytes_max or self._settings.python_memory_bytes_max
        loop = asyncio.get_running_loop()
        start = loop.run_in_executor(self._threads, self._start, order, fill, memory)
        try:
            launched = await asyncio.shield(start)
        except asyncio.CancelledError:
            start.add_done_callback(self._discard)
            raise
        except (OSError, FolderError, ContainerError) as error:
            message = f"it can't be started: {error}"
            raise ContextStartError(message) from error
        program = launched.program
        if isinstance(program, Container):
            self._watched[program] = memory
            if self._watch is None:
                self._watch = asyncio.ensure_future(self._watch_containers())
        return launched

    def _discard(self, start: asyncio.Future[Launched]) -> None:
        """End what has started after nobody waited for it any more."""
        if not start.cancelled() and start.exception() is None:
            with suppress(RuntimeError):  # the server ends
                self._threads.submit(start.result().program.end)

    def installed(self, order: KernelOrder) -> Hashable:
        """Return what a kernel that was ordered now would begin with; blocks.

        It is another one when the kernelspec has changed, or when a package was
        installed or removed where Python looks for them.
        """
        spec = load_kernelspecs().find_kernelspec(order.kernelspec)
        changes = []
        for path in [spec.resource_dir, *sys.path[1:], *_python_path()]:
            with suppress(OSError):
                changes.append((path, os.stat(path).st_mtime_ns))  # noqa: PTH116
        return spec.to_json(), tuple(changes)

    def _start(self, order: KernelOrder, fill: Fill, memory: int | None) -> Launched:
        self.prepare()
        spec = load_kernelspecs().find_kernelspec(order.kernelspec)
        connection: Connection = {
            **_PORTS,
            "transport": "ipc",
            "key": secrets.token_hex(16),
            "signature_scheme": "hmac-sha256",
            "kernel_name": order.kernelspec,
        }
        start: Callable[..., Program]
        if self._bwrap is not None:
            start = partial(self._start_contained, memory=memory)
        elif self._settings.sandbox and not self._settings.insecure_kernels:
            raise ContextStartError(self._refusal())
        else:
            start = self._start_bare
        program = start(spec, connection, order, fill)
        return Launched(program, connection, spec.interrupt_mode == "message")

    def _start_contained(
        self,
        spec: KernelSpec,
        connection: Connection,
        order: KernelOrder,
        fill: Fill,
        *,
        memory: int | None,
    ) -> Program:
        settings = self._settings
        most = settings.python_memory_bytes_max
        space = memory
        if memory is not None and memory != most:
            # What is loaded takes addresses, not memory.
            memory = max(memory, _MEMORY_MIN)
            space = memory + _SPACE_MORE
            space = space if most is None else min(space, most)
        is_python = spec.language.lower() == "python"
        assert self._bwrap is not None  # noqa: S101 -- its caller has looked
        command = _command(spec, _CONNECTION_FILE, order.options)
        program = Container(
            ContainerSettings(
                self._bwrap,
                [*self._readable(), *_read_by(spec, command[0])],
                hidden=self._hidden,
                files={_CONNECTION_FILE: json.dumps({**connection, "ip": _IP})},
                folder=order.cwd,
                # Python looks only at folders that are there when it begins.
                made=_packages() if settings.python_wheels else "",
                files_bytes_max=settings.python_files_bytes_max,
                memory_bytes_max=memory,
                # Others may reserve far more than they use, as V8 and Java do.
                address_space_bytes_max=space if is_python else None,
                processes_max=settings.python_processes_max,
                descriptors_max=OPEN_FILES_MAX,
                niceness=settings.context_niceness,
            ),
            command,
            {**_environment(spec, HOME), **self._pip()},
            self._cgroups,
        )
        try:
            program.set_up(fill)
        except FolderError:
            program.end()
            raise
        return program

    def _start_bare(
        self,
        spec: KernelSpec,
        connection: Connection,
        order: KernelOrder,
        fill: Fill,
    ) -> Program:
        with self._preparing:
            self._sockets = self._sockets or SocketFolder()
        program = BareProgram(self._folder, self._sockets.path, order.cwd)
        try:
            file = program.folder / "connection.json"
            file.touch(0o600)
            ip = f"{program.sockets()}/kernel"
            file.write_text(json.dumps({**connection, "ip": ip}))
            fill(os.open(program.cwd, os.O_PATH | os.O_DIRECTORY), None)
            command = _command(spec, str(file), order.options)
            environment = _environment(spec, str(program.home))
            # No container ends it with the server: a Python kernel ends itself by this.
            environment["JPY_PARENT_PID"] = str(os.getpid())
            program.start(command, environment)
        except BaseException:
            program.end()
            raise
        return program

    def _readable(self) -> list[str]:
        named = [str(path) for path in self._settings.python_readable]
        wheels = self._settings.python_wheels
        named += [] if wheels is None else [os.path.abspath(wheels)]  # noqa: PTH100
        return list(dict.fromkeys([*_of_python(), *named]))

    def _pip(self) -> dict[str, str]:
        """Return the variables of `%pip` in a container, which has no network.

        What it installs isn't among the user's files.
        """
        found = {"PIP_NO_INDEX": "1"}  # there is nothing to wait for
        wheels = self._settings.python_wheels
        if wheels is not None:
            found |= {
                "PIP_FIND_LINKS": os.path.abspath(wheels),  # noqa: PTH100
                "PIP_PREFIX": _INSTALLED,
                "PYTHONPATH": os.pathsep.join([_packages(), *_python_path()]),
            }
        return found

    # -- what the system doesn't bound -------------------------------------------------

    async def _watch_containers(self) -> None:
        while True:
            programs = list(self._watched.items())
            # In one thread for all: each has a look of some microseconds as a rule.
            ended, took = await look(
                lambda: [one for one, limit in programs if not one.end_excess(limit)]  # noqa: B023
            )
            for one in ended:
                self._watched.pop(one, None)
            await asyncio.sleep(max(_WATCH_SECONDS, took * _WATCH_SHARE))


def load_kernelspecs() -> Any:
    """Return the module `kernelspecs`; the first call takes 0.2 s."""
    return import_module("isoserver.contexts.kernelspecs")


def _command(
    spec: KernelSpec, connection_file: str, options: Sequence[str]
) -> list[str]:
    """Return the command of a kernelspec, as jupyter_client makes it."""
    values = {
        "connection_file": connection_file,
        "prefix": sys.prefix,
        "resource_dir": spec.resource_dir,
    }

    def fill(found: re.Match[str]) -> str:
        return values.get(found[1], found[0])

    program, *arguments = [*spec.argv, *options]
    if program in _PYTHONS:
        program = sys.executable
    return [_PLACEHOLDER.sub(fill, part) for part in (program, *arguments)]


def _of_python() -> list[str]:
    """Return where this Python and its packages are.

    The first folder that modules are looked for in is where the server was started, or
    that of its script: it may be any.
    """
    places = [sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix]
    return [*places, *(path for path in sys.path[1:] if os.path.isabs(path))]  # noqa: PTH117


def _python_path() -> list[str]:
    """Return the folders of packages that a variable or the user's home names."""
    named = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    own = site.getusersitepackages() if site.ENABLE_USER_SITE else ""
    return [path for path in (*named, own) if os.path.isabs(path)]  # noqa: PTH117


def _packages() -> str:
    """Return the folder of packages where `%pip` installs, in a container."""
    bases = {"base": _INSTALLED, "platbase": _INSTALLED}
    scheme = sysconfig.get_preferred_scheme("prefix")
    return sysconfig.get_path("purelib", scheme, bases)


def _read_by(spec: KernelSpec, program: str) -> list[str]:
    """Return what a kernel of another language reads, as far as that can be told."""
    places = [spec.resource_dir]
    found = shutil.which(program)
    if found is None:
        return places
    prefix = Path(found).parent.parent
    if any((prefix / name).exists() for name in ("pyvenv.cfg", "conda-meta")):
        return [*places, str(prefix)]
    return [*places, found, os.path.realpath(found)]


def _environment(spec: KernelSpec, home: str) -> dict[str, str]:
    """Return a kernel's variables: none of the server's own, which may be secrets."""
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    if path := _python_path():
        kept["PYTHONPATH"] = os.pathsep.join(path)

    def fill(found: re.Match[str]) -> str:
        return kept.get(found[1] or found[2], found[0])

    aside = "/tmp" if home == HOME else home  # noqa: S108 -- its own
    asked: dict[str, Any] = spec.env
    return {
        **kept,
        **{name: _VARIABLE.sub(fill, str(text)) for name, text in asked.items()},
        "HOME": home,
        "TMPDIR": aside,
        # Not among the user's files.
        "IPYTHONDIR": f"{aside}/.ipython",
        "MPLCONFIGDIR": f"{aside}/.matplotlib",
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    }
