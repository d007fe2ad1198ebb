"""`isokernel`: the command line stands above both packages.

What parses its own arguments is called at once: typer takes 0.1 s to import, which
agents that start `isokernel mcp` wait for.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from typing import TYPE_CHECKING, Final, NoReturn

from isokernel.errors import IsokernelError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import FrameType

__all__ = ["FORWARDED", "main"]


def main() -> None:
    """Run the command line; one of our errors is one line without a traceback."""
    name, *arguments = sys.argv[1:] or [""]
    try:
        if name in FORWARDED:
            sys.exit(FORWARDED[name](arguments))
        from isoserver.cli.commands import application  # noqa: PLC0415 - see above

        application()
    except IsokernelError as error:
        sys.stderr.write(f"isokernel: {error}\n")
        sys.exit(1)


def _serve(arguments: Sequence[str]) -> int:
    _prepare()
    from isoserver.cli.serve import serve  # noqa: PLC0415 - the server

    return serve(arguments)


def _mcp(arguments: Sequence[str]) -> int:
    _prepare()
    from isoserver.cli.serve import serve_mcp  # noqa: PLC0415 - the server

    return serve_mcp(arguments)


def _client(arguments: Sequence[str]) -> int:
    from isoserver.client.main import run  # noqa: PLC0415 - the client

    return run(list(arguments))


def _heaps(arguments: Sequence[str]) -> int:
    from isoserver.cli.heaps import run  # noqa: PLC0415 - the database

    return run(list(arguments))


def _packages(arguments: Sequence[str]) -> int:
    from isoserver.cli.packages import run  # noqa: PLC0415 - the registries' client

    return run(list(arguments))


def _cluster(arguments: Sequence[str]) -> int:
    from isoserver.cli.cluster import run  # noqa: PLC0415 - argparse

    return run(list(arguments))


def _lab(arguments: Sequence[str]) -> int:
    from isoserver.cli.lab import run  # noqa: PLC0415 - becomes another program

    return run(list(arguments))


FORWARDED: Final[dict[str, Callable[[Sequence[str]], int]]] = {
    "serve": _serve,
    "mcp": _mcp,
    "client": _client,
    "heaps": _heaps,
    "packages": _packages,
    "cluster": _cluster,
    "lab": _lab,
}
"""Commands that parse their own arguments."""


def _prepare() -> None:
    """Set up the process of a server, before much is imported."""
    # Until the server listens for them: what it has claimed is given up on the way.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)
    # What is imported stays, so nothing is collected until the server has started.
    gc.disable()
    # Pydantic would look for plugins in the metadata of every installed package.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")


def _end(_number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(0)
