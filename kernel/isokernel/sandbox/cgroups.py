"""Control groups: limits of all the processes of a container together.

A server has one group below its own, and each container one below that. In version 2
one folder is a group; in version 1 each controller has its own tree. Whether they can
be made depends on who may write there: root mostly can, others where the system has
given them a part of the tree (`Delegate=yes` of systemd).
"""

from __future__ import annotations

import itertools
import os
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

__all__ = ["Cgroup", "CgroupLimits", "Cgroups"]

_CONTROLLERS: Final = ("memory", "pids", "cpu")
_PREFIX: Final = "isokernel-"
_TCP_BYTES: Final = str(64 << 20)
"""Of a group's TCP connections, in version 1. All of the machine's share one limit, a
tenth of its memory, and the buffers of one connection may have tens of megabytes."""
_MOUNTS: Final = Path("/proc/self/mountinfo")
_OWN: Final = Path("/proc/self/cgroup")
_numbers = itertools.count(1)


class CgroupLimits(NamedTuple):
    """What the processes of one group may have together.

    Attributes:
        memory_bytes_max: Of memory, files in memory and the kernel's own for them.
        processes_max: Processes and threads.
        cpu_weight: Share of the processors when they don't suffice, 1 to 10000; a
            group that says nothing has 100.
    """

    memory_bytes_max: int | None = None
    processes_max: int | None = None
    cpu_weight: int | None = None


class Cgroups:
    """The group of a server, in which its containers have theirs. Blocks.

    Attributes:
        controllers: Those of memory, pids and cpu that work here.
    """

    def __init__(self, mounts: Path = _MOUNTS, own: Path = _OWN) -> None:
        """Make the server's group, for as many controllers as can be.

        Args:
            mounts: The file that lists mounts.
            own: The file that names the groups of this process.
        """
        name = f"{_PREFIX}{os.getpid()}-{next(_numbers)}"
        self._version_2: set[str] = set()
        self._folders: dict[str, Path] = {}
        for version_1, folder in _places(mounts, own):
            with suppress(OSError):
                _sweep(folder)
                if version_1:
                    (folder / name).mkdir(exist_ok=True)
                    found = version_1
                else:
                    found = _make_version_2(folder, name)
                    self._version_2.update(found)
                for controller in found:
                    self._folders.setdefault(controller, folder / name)
        self.controllers = frozenset(self._folders)

    def make(self, name: str, limits: CgroupLimits) -> Cgroup:
        """Make a group for a container.

        Args:
            name: Unique among the server's.
            limits: Those whose controller isn't there are left out.

        Raises:
            OSError: The system refused.
        """
        folders = {kind: folder / name for kind, folder in self._folders.items()}
        group = Cgroup(folders, self._version_2)
        try:
            group._create(limits)  # noqa: SLF001 -- its only maker
        except OSError:
            group.remove()
            raise
        return group

    def close(self) -> None:
        """Remove the server's group and what is left in it, if no process is."""
        for folder in set(self._folders.values()):
            _remove(folder)


class Cgroup:
    """The group of one container."""

    def __init__(self, folders: dict[str, Path], version_2: set[str]) -> None:
        """Describe a group; `Cgroups.make` makes it.

        Args:
            folders: By controller.
            version_2: The controllers that are of version 2.
        """
        self._folders = folders
        self._version_2 = version_2

    def _create(self, limits: CgroupLimits) -> None:
        for folder in set(self._folders.values()):
            folder.mkdir()
        if limits.memory_bytes_max is not None:
            bound = str(limits.memory_bytes_max)
            self._write("memory", "memory.max", "memory.limit_in_bytes", bound)
            with suppress(OSError):  # no swap here
                # With swap, which version 1 counts together with memory.
                one, both = "memory.swap.max", "memory.memsw.limit_in_bytes"
                self._write(
                    "memory", one, both, "0" if "memory" in self._version_2 else bound
                )
            if "memory" not in self._version_2:  # which counts it as any other memory
                with suppress(OSError):  # systems may be built without
                    tcp = "memory.kmem.tcp.limit_in_bytes"
                    self._write("memory", tcp, tcp, _TCP_BYTES)
        if limits.processes_max is not None:
            self._write("pids", "pids.max", "pids.max", str(limits.processes_max))
        if limits.cpu_weight is not None:
            weight = limits.cpu_weight
            if "cpu" not in self._version_2:  # where 1024 is what 100 is in version 2
                weight = max(2, weight * 1024 // 100)
            self._write("cpu", "cpu.weight", "cpu.shares", str(weight))

    def _write(
        self, controller: str, version_2: str, version_1: str, text: str
    ) -> None:
        folder = self._folders.get(controller)
        if folder is not None:
            name = version_2 if controller in self._version_2 else version_1
            (folder / name).write_text(text)

    def add(self, pid: int) -> None:
        """Put a process into the group; what it forks later is in it too.

        Raises:
            OSError: The system refused.
        """
        for folder in set(self._folders.values()):
            (folder / "cgroup.procs").write_text(str(pid))

    def memory_bytes(self) -> int | None:
        """Return how much memory the group has; None if that isn't counted."""
        name = ("memory.usage_in_bytes", "memory.current")["memory" in self._version_2]
        text = self._read("memory", name)
        return int(text) if text else None

    def ran_out_of_memory(self) -> bool:
        """Return whether a process was killed because the group had too much."""
        name = ("memory.oom_control", "memory.events")["memory" in self._version_2]
        lines = self._read("memory", name).splitlines()
        return any(
            line.startswith("oom_kill ") and line.split()[1] != "0" for line in lines
        )

    def _read(self, controller: str, name: str) -> str:
        folder = self._folders.get(controller)
        if folder is None:
            return ""
        try:
            return (folder / name).read_text()
        except OSError:
            return ""

    def remove(self) -> None:
        """Remove the group, whose processes have ended; else `Cgroups.close` does."""
        for folder in set(self._folders.values()):
            with suppress(OSError):
                folder.rmdir()


def _places(mounts: Path, own: Path) -> list[tuple[tuple[str, ...], Path]]:
    """Return the folders of this process's groups, each with its controllers.

    Those of version 2 have none: there is one tree for all.
    """
    groups: dict[str, str] = {}
    try:
        mount_lines = mounts.read_text().splitlines()
        for line in own.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            groups.update(dict.fromkeys(controllers.split(","), path))
    except OSError:
        return []
    places: list[tuple[tuple[str, ...], Path]] = []
    for line in mount_lines:
        fields = line.split()
        kind, options = fields[fields.index("-") + 1], fields[-1].split(",")
        wanted = tuple(name for name in _CONTROLLERS if name in options)
        if kind == "cgroup2" or (kind == "cgroup" and wanted):
            root, mounted = fields[3], fields[4]
            path = groups.get(wanted[0] if wanted else "", "/")
            inner = os.path.relpath(path, root) if path.startswith(root) else "."
            places.append((wanted, Path(mounted, inner)))
    return places


def _make_version_2(folder: Path, name: str) -> tuple[str, ...]:
    """Make the server's group in a tree of version 2, and return what works in it.

    A group with groups below it that have limits can't have processes itself. So this
    process goes into one of its own; if there are others beside it, nothing works.

    Raises:
        OSError: The system refused.
    """
    offered = (folder / "cgroup.controllers").read_text().split()
    wanted = tuple(name for name in _CONTROLLERS if name in offered)
    if not wanted:
        return ()
    change = " ".join(f"+{controller}" for controller in wanted)
    group, leaf = folder / name, folder / f"{name}-server"
    group.mkdir()
    try:
        _enable(folder, change, leaf)
        (group / "cgroup.subtree_control").write_text(change)
    except OSError:
        with suppress(OSError):
            (folder / "cgroup.procs").write_text(str(os.getpid()))
        for made in (group, leaf):
            _remove(made)
        raise
    return wanted


def _enable(folder: Path, change: str, leaf: Path) -> None:
    control = folder / "cgroup.subtree_control"
    try:
        control.write_text(change)
    except OSError:
        leaf.mkdir()
        (leaf / "cgroup.procs").write_text(str(os.getpid()))
        control.write_text(change)


def _sweep(folder: Path) -> None:
    """Remove the groups of servers that were killed."""
    for group in folder.glob(f"{_PREFIX}*"):
        number = group.name.removeprefix(_PREFIX).partition("-")[0]
        if number.isdigit() and not Path("/proc", number).exists():
            _remove(group)


def _remove(group: Path) -> None:
    with suppress(OSError):
        for inner in group.iterdir():
            if inner.is_dir():
                inner.rmdir()
        group.rmdir()
