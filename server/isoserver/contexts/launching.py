"""How a kernel's process is started: its folder, its variables, its walls."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final

from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager

from isokernel.sandbox.launch import LaunchSettings, command

if TYPE_CHECKING:
    from isoserver.settings.server import ServerSettings

__all__ = [
    "OPEN_FILES",
    "UNHEARD",
    "Manager",
    "environment",
    "installed",
    "make_folder",
    "python_walls",
    "relative",
]

OPEN_FILES: Final = 1024
_KEPT_VARIABLES: Final = ("PATH", "LANG", "LC_ALL", "TZ", "VIRTUAL_ENV", "PYTHONPATH")
UNHEARD: Final[dict[str, Any]] = {
    "stdout": subprocess.DEVNULL,
    "stderr": subprocess.DEVNULL,
}
"""What a kernel prints past its own channels is not for the server's log."""


class Manager(AsyncKernelManager):
    """Jupyter's, which starts the kernel by a program that confines itself first."""

    def __init__(self, *, walls: LaunchSettings | None, **options: Any) -> None:
        super().__init__(**options)
        self._walls = walls

    def format_kernel_cmd(self, extra_arguments: list[str] | None = None) -> list[str]:
        """Give the command that starts the kernel."""
        program: list[str] = super().format_kernel_cmd(extra_arguments)
        return program if self._walls is None else command(self._walls, program)


def python_walls(
    settings: ServerSettings, folder: Path, sockets: Path
) -> LaunchSettings:
    """Give the walls of a Python context.

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
        memory_max=settings.python_memory_bytes_max,
        descriptors_max=OPEN_FILES,
        niceness=settings.context_niceness,
    )


def make_folder(parent: Path) -> Path:
    """Make a folder of a context's own."""
    return Path(tempfile.mkdtemp(prefix="kernel-", dir=parent))


def installed() -> set[str]:
    """Give the names of the kernelspecs that Jupyter finds here."""
    return set(KernelSpecManager().find_kernel_specs())


def relative(cwd: str) -> PurePosixPath:
    """Make of any path one that stays inside of the folder that it is put under."""
    parts = [part for part in PurePosixPath(cwd).parts if part not in {"/", "..", "."}]
    return PurePosixPath(*[part.replace("\0", "") for part in parts])


def environment(folder: Path) -> dict[str, str]:
    """Give a kernel its variables: none of the server's own, which may be secrets."""
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
