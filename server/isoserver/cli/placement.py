"""`isokernel cluster up`, `nodes` and `down`: servers on the nodes of a Ray cluster."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentTypeError
from typing import TYPE_CHECKING, Any, Final

from isoserver.cli.flags import parse
from isoserver.settings.server import ServerSettings

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable

    from isoserver.ray.placement import ServerInfo

__all__ = ["add_commands"]

_START_SECONDS: Final = 120.0
_PREFIX: Final = "ISOKERNEL_"
_UP: Final = (
    "Start a server on each node of a Ray cluster, and print their URLs. Ray starts a "
    "server again that has ended, and a new node gets one. Settings are the flags of "
    "`isokernel serve`, behind `--`, and the variables ISOKERNEL_… of this command's "
    "environment; keys and the cluster's secret are best given as variables."
)


def add_commands(commands: Any) -> None:
    """Add the commands, which raise `RayError`, and `FlagError` for a server's flags.

    Args:
        commands: The subparsers of `isokernel cluster`.
    """
    command = commands.add_parser(
        "up", help="start a server on each node of a Ray cluster", description=_UP
    )
    _add_address(command)
    command.add_argument(
        "--servers",
        type=int,
        metavar="NUMBER",
        help="how many; Ray's autoscaler is asked for as many nodes. If omitted, one "
        "on each node that there is or will be",
    )
    command.add_argument(
        "--cpus",
        type=float,
        default=1.0,
        metavar="NUMBER",
        help="CPUs of Ray's that a server takes; default: %(default)g",
    )
    command.add_argument(
        "--resource",
        type=_amount,
        action="append",
        default=[],
        metavar="NAME=AMOUNT",
        help="another resource of Ray's that it takes; may be repeated",
    )
    command.add_argument(
        "--wait",
        type=float,
        default=_START_SECONDS,
        metavar="SECONDS",
        help="how long to wait until they answer; default: %(default)g",
    )
    command.add_argument(
        "flags", nargs="*", metavar="-- FLAG", help="a flag of `isokernel serve`"
    )
    command.set_defaults(call=_up)
    command = commands.add_parser("nodes", help="list Ray's nodes that have a server")
    _add_address(command)
    command.set_defaults(call=_nodes)
    command = commands.add_parser(
        "down", help="stop the servers in a Ray cluster; their contexts are saved"
    )
    _add_address(command)
    command.set_defaults(call=_down)


def _add_address(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--address",
        default=os.environ.get("RAY_ADDRESS", "auto"),
        help="the address of the Ray cluster; default: RAY_ADDRESS, else auto, the one "
        "of this machine",
    )


def _up(_server: Any, given: argparse.Namespace) -> int:
    parse(given.flags, ServerSettings)
    variables = {
        name: value for name, value in os.environ.items() if name.startswith(_PREFIX)
    }
    from isoserver.ray import service  # noqa: PLC0415 - loads Ray, or says that it can't

    order = service.Order(
        tuple(given.flags),
        variables,
        {"CPU": given.cpus, **dict(given.resource)},
        given.servers,
    )
    _print(service.up(given.address, order, given.wait))
    return 0


def _nodes(_server: Any, given: argparse.Namespace) -> int:
    from isoserver.ray import service  # noqa: PLC0415 - loads Ray

    _print(service.servers(given.address))
    return 0


def _down(_server: Any, given: argparse.Namespace) -> int:
    from isoserver.ray import service  # noqa: PLC0415 - loads Ray

    service.down(given.address)
    return 0


def _amount(text: str) -> tuple[str, float]:
    name, _, amount = text.partition("=")
    try:
        return name, float(amount)
    except ValueError:
        message = f"{text!r} is no NAME=AMOUNT"
        raise ArgumentTypeError(message) from None


def _print(servers: Iterable[ServerInfo]) -> None:
    for server in servers:
        sys.stdout.write(f"{server.url}  node {server.node_id}  process {server.pid}\n")
