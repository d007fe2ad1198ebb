"""`isokernel lab`: JupyterLab on the contexts of a server."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from isoserver.client.main import DEFAULT_URL
from isoserver.jupyter import JUPYTER_PATH

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["run"]

_URL: Final = "ISOKERNEL_URL"
_KEY: Final = "ISOKERNEL_API_KEY"
_HELP: Final = f"""\
usage: isokernel lab [URL] [options of jupyter lab]

Start JupyterLab with the contexts of a running server as its kernels: those that are
there, made by agents or by other people, and new ones.

  URL   the server's; default: ${_URL}, or {DEFAULT_URL}

An API key or token is read from ${_KEY}. Closing JupyterLab ends the contexts
that it has started, and no others.
"""


def run(arguments: Sequence[str]) -> int:
    """Become JupyterLab; returns only to say why that can't be."""
    if {"-h", "--help"} & set(arguments):
        sys.stdout.write(_HELP)
        return 0
    if find_spec("jupyterlab") is None:
        sys.stderr.write("isokernel: JupyterLab is not installed here: pip install ")
        sys.stderr.write("jupyterlab\n")
        return 1
    url, rest = os.environ.get(_URL) or DEFAULT_URL, list(arguments)
    if rest and not rest[0].startswith("-"):
        url = rest.pop(0)
    key = os.environ.get(_KEY)
    if key:
        os.environ["JUPYTER_GATEWAY_AUTH_TOKEN"] = key
    command = [
        *(sys.executable, "-m", "jupyterlab"),
        f"--gateway-url={url.rstrip('/')}{JUPYTER_PATH}",
        "--ServerApp.kernel_manager_class=isoserver.jupyter.lab.Contexts",
        *rest,
    ]
    return os.execv(sys.executable, command)  # noqa: S606 - our own arguments
