"""Jupyter's part in starting kernels; apart from the rest, as it is loaded late.

`jupyter_client` takes 0.2 s to import, which neither the start of a server needs nor
V8 contexts do.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import zmq
import zmq.asyncio
from jupyter_client.asynchronous.client import AsyncKernelClient
from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

if TYPE_CHECKING:
    from collections.abc import Iterable

    from jupyter_client.kernelspec import KernelSpec

__all__ = [
    "InstalledKernelspec",
    "Logo",
    "find_kernelspec",
    "installed_kernels",
    "installed_kernelspecs",
    "make_client",
]

_LOGO_TYPES: Final = {".png": "image/png", ".svg": "image/svg+xml"}
_LOGO_BYTES_MAX: Final = 1024**2
_NEVER_MILLISECONDS: Final = 2**31 - 1  # 24 days; the kernel is killed long before


def installed_kernels() -> set[str]:
    """Return the names of the kernelspecs that Jupyter finds here."""
    return set(KernelSpecManager().find_kernel_specs())


def find_kernelspec(name: str) -> KernelSpec:
    """Return an installed kernelspec; blocks."""
    return KernelSpecManager().get_kernel_spec(name)


class Logo(NamedTuple):
    """A picture that launchers show for a kernel.

    Attributes:
        file: Where it is.
        media_type: What it is.
    """

    file: Path
    media_type: str


class InstalledKernelspec(NamedTuple):
    """What people see of a kernelspec that is installed here.

    Attributes:
        title: The name that it shows.
        language: What its kernel runs, in its own words.
        logos: Its pictures, by the name of the file.
    """

    title: str
    language: str
    logos: dict[str, Logo]


def installed_kernelspecs(names: Iterable[str]) -> dict[str, InstalledKernelspec]:
    """Return those of some kernelspecs that are installed, by name; blocks."""
    found = {}
    for name in names:
        with suppress(NoSuchKernel):
            spec = find_kernelspec(name)
            found[name] = InstalledKernelspec(
                str(spec.display_name), str(spec.language), _logos(spec)
            )
    return found


def _logos(spec: KernelSpec) -> dict[str, Logo]:
    if not spec.resource_dir:
        return {}
    return {
        file.name: Logo(file, _LOGO_TYPES[file.suffix])
        for file in sorted(Path(spec.resource_dir).glob("logo-*"))
        if file.suffix in _LOGO_TYPES and file.stat().st_size <= _LOGO_BYTES_MAX
    }


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
