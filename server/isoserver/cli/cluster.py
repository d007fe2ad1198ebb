"""`isokernel cluster`: show the servers that share a database, drain one, use Ray."""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING, Any, Final

from isoserver.cli.flags import FlagError
from isoserver.cli.placement import add_commands
from isoserver.client.main import add_server, perform
from isoserver.client.requests import ClientError, quote
from isoserver.errors import RayError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from isoserver.client.requests import Connection

__all__ = ["run"]

_LOOK_SECONDS: Final = 0.5
_COLUMNS: Final = ("id", "state", "contexts", "runs", "load", "capacity", "url")


def run(arguments: Sequence[str]) -> int:
    """Run a command.

    Args:
        arguments: The command line behind `isokernel cluster`.

    Returns:
        The exit status: 1 if something is left on a server that was to be drained.
    """
    try:
        return perform(_parser(), arguments)
    except (FlagError, RayError) as error:
        sys.stderr.write(f"isokernel cluster: {error}\n")
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "isokernel cluster",
        description="Show the servers that share a database, drain one, use Ray.",
        allow_abbrev=False,
    )
    add_server(parser, "the URL of any of them", "an operator's key")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    command = commands.add_parser("servers", help="list the servers")
    command.set_defaults(call=_list)
    command = commands.add_parser(
        "drain", help="have a server give away what it has, before it is stopped"
    )
    command.add_argument("server", help="its id, or its URL")
    command.add_argument(
        "--timeout",
        type=float,
        default=300.0,
        metavar="SECONDS",
        help="how long to wait until nothing is left there; default: %(default)g",
    )
    command.set_defaults(call=_drain)
    add_commands(commands)
    return parser


def _list(server: Connection, _given: argparse.Namespace) -> int:
    items = server.get("/cluster/servers")["items"]
    rows = [[str(item[name]) for name in _COLUMNS] for item in items]
    rows.insert(0, list(_COLUMNS))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        sys.stdout.write("  ".join(cells).rstrip() + "\n")
    return 0


def _drain(server: Connection, given: argparse.Namespace) -> int:
    found = _find(server, given.server)
    if found is None:
        message = f"there is no server {given.server}"
        raise ClientError(message)
    server.ask("POST", f"/cluster/servers/{quote(found['id'])}/drain")
    end = time.monotonic() + given.timeout
    while found is not None and (left := found["contexts"] + found["runs"]):
        if time.monotonic() > end:
            sys.stdout.write(f"{left} contexts and runs are left on {found['id']}\n")
            return 1
        time.sleep(_LOOK_SECONDS)
        found = _find(server, found["id"])
    sys.stdout.write("nothing is left there: it can be stopped\n")
    return 0


def _find(server: Connection, wanted: str) -> dict[str, Any] | None:
    wanted = wanted.rstrip("/")
    for item in server.get("/cluster/servers")["items"]:
        if wanted in {item["id"], item["url"]}:
            found: dict[str, Any] = item
            return found
    return None
