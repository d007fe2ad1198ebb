"""`isokernel cluster`: the servers that share a database, what they have, and Ray."""

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
_SERVER: Final = ("the URL of any of them", "an operator's key")
_COLUMNS: Final = ("id", "state", "contexts", "runs", "load", "capacity", "url")


def run(arguments: Sequence[str]) -> int:
    """Run a command.

    Args:
        arguments: The command line behind `isokernel cluster`.

    Returns:
        The exit status: 1 if something is left that was to be moved.
    """
    try:
        return perform(_parser(), arguments)
    except (FlagError, RayError) as error:
        sys.stderr.write(f"isokernel cluster: {error}\n")
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "isokernel cluster",
        description="Show the servers that share a database, move what they have from "
        "one to another, use Ray.",
        allow_abbrev=False,
    )
    add_server(parser, *_SERVER)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    command = commands.add_parser("servers", help="list the servers")
    add_server(command, *_SERVER, again=True)
    command.set_defaults(call=_list)
    command = commands.add_parser(
        "move", help="have a context be another server's, as it is"
    )
    add_server(command, *_SERVER, again=True)
    command.add_argument("context", help="its id")
    command.add_argument(
        "server", nargs="?", help="the server's id, or its URL; default: the emptiest"
    )
    command.set_defaults(call=_move)
    command = commands.add_parser(
        "rebalance",
        help="have fuller servers give idle contexts to emptier ones, until each has "
        "what is its share, within a tenth",
    )
    add_server(command, *_SERVER, again=True)
    command.set_defaults(call=_rebalance)
    command = commands.add_parser(
        "drain", help="have a server give away what it has, before it is stopped"
    )
    add_server(command, *_SERVER, again=True)
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


def _move(server: Connection, given: argparse.Namespace) -> int:
    place = f"/contexts/{quote(given.context)}/move"
    owner = server.ask("POST", place, body={"server": given.server})
    sys.stdout.write(f"{owner['id']} is on {owner['server']}, {owner['url']}\n")
    return 0


def _rebalance(server: Connection, _given: argparse.Namespace) -> int:
    """Ask again until nothing has to move, or what has can't."""
    count, left = 0, 1
    while left:
        answer = server.ask("POST", "/cluster/rebalance")
        for item in answer["items"]:
            text = "{workspace} {id} from {from} to {to}\n".format_map(item)
            sys.stdout.write(text)
        sys.stdout.flush()
        count, left = count + len(answer["items"]), answer["left"]
        if not answer["items"]:
            break
    text = f", and {left} that aren't idle would have to" if left else ""
    sys.stdout.write(f"{count} contexts were moved{text}\n")
    return 1 if left else 0


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
