"""Jupyter's part in starting kernels; apart from the rest, as it is loaded late.

`jupyter_client` takes 0.2 s to import, which neither the start of a server needs nor
V8 contexts do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import zmq
import zmq.asyncio
from jupyter_client.asynchronous.client import AsyncKernelClient
from jupyter_client.kernelspec import KernelSpecManager

if TYPE_CHECKING:
    from jupyter_client.kernelspec import KernelSpec

__all__ = ["find_kernelspec", "installed_kernels", "make_client"]


def installed_kernels() -> set[str]:
    """Return the names of the kernelspecs that Jupyter finds here."""
    return set(KernelSpecManager().find_kernel_specs())


def find_kernelspec(name: str) -> KernelSpec:
    """Return an installed kernelspec; blocks."""
    return KernelSpecManager().get_kernel_spec(name)


def make_client(connection: dict[str, Any]) -> AsyncKernelClient:
    """Make a client of a kernel that listens already.

    Args:
        connection: What a connection file says.
    """
    context = zmq.asyncio.Context()
    # What is connected once isn't connected again: code in the kernel could put a link
    # to any socket of the system in the place of its own.
    context.setsockopt(zmq.RECONNECT_IVL, -1)
    client = AsyncKernelClient(context=context)
    info: Any = connection
    client.load_connection_info(info)
    return client
