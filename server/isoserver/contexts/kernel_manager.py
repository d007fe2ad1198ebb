"""Jupyter's part in starting kernels; apart from `kernels`, as it is loaded late.

`jupyter_client` takes 0.2 s to import, which neither the start of a server needs nor
V8 contexts do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager

from isokernel.sandbox.launch import command

if TYPE_CHECKING:
    from isokernel.sandbox.launch import LaunchSettings

__all__ = ["KernelManager", "installed_kernels"]


class KernelManager(AsyncKernelManager):
    """Jupyter's, which starts the kernel by a program that confines itself first."""

    def __init__(self, *, sandbox: LaunchSettings | None, **options: Any) -> None:
        super().__init__(**options)
        self._sandbox = sandbox

    def format_kernel_cmd(self, extra_arguments: list[str] | None = None) -> list[str]:
        """Return the command that starts the kernel; called by `start_kernel`."""
        program: list[str] = super().format_kernel_cmd(extra_arguments)
        return program if self._sandbox is None else command(self._sandbox, program)


def installed_kernels() -> set[str]:
    """Return the names of the kernelspecs that Jupyter finds here."""
    return set(KernelSpecManager().find_kernel_specs())
