"""Jupyter's part in starting kernels; apart from the rest, as it is loaded late.

`jupyter_client` takes 0.2 s to import, which neither the start of a server needs nor
V8 contexts do.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import zmq
import zmq.asyncio
from jupyter_client.asynchronous.client import AsyncKernelClient
from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

if TYPE_CHECKING:
    from collections.abc import Iterable

    from jupyter_client.kernelspec import KernelSpec

__all__ = ["find_kernelspec", "find_kernelspecs", "installed_kernels", "make_client"]

_NEVER_MILLISECONDS: Final = 2**31 - 1  # 24 days; the kernel is killed long before


def installed_kernels() -> set[str]:
    """Return the names of the kernelspecs that Jupyter finds here."""
    return set(KernelSpecManager().find_kernel_specs())


def find_kernelspec(name: str) -> KernelSpec:
    """Return an installed kernelspec; blocks."""
    return KernelSpecManager().get_kernel_spec(name)


def find_kernelspecs(names: Iterable[str]) -> dict[str, KernelSpec]:
    """Return those of some kernelspecs that are installed, by name; blocks."""
    found = {}
    for name in names:
        with suppress(NoSuchKernel):
            found[name] = find_kernelspec(name)
    return found


def make_client(
    connection: dict[str, Any], message_bytes_max: int
) -> AsyncKernelClient:
    """Make a client of a kernel that listens already.

    Args:
        connection: What a connection file says.
        message_bytes_max: Of one part of a message; the connection is closed when one
            is larger.
    """
    context = zmq.asyncio.Context()
    # What is connected once isn't connected again: code in the kernel could put a link
    # to any socket of the system in the place of its own. Not by -1: that drops the
    # connection with what is unread, and libzmq 4.3.5 ends its process (`!_more`) if
    # the first part of a message has been read.
    context.setsockopt(zmq.RECONNECT_IVL, _NEVER_MILLISECONDS)
    context.setsockopt(zmq.MAXMSGSIZE, message_bytes_max)
    client = AsyncKernelClient(context=context)
    info: Any = connection
    client.load_connection_info(info)
    return client
