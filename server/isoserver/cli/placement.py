"""`isokernel cluster up`, `nodes` and `down`: servers on the nodes of a Ray cluster."""

from __future__ import annotations

import math
import os
import sys
from argparse import ArgumentTypeError
from typing import TYPE_CHECKING, Any, Final

from isoserver.cli.flags import parse
from isoserver.errors import RayError
from isoserver.ray.resources import check_amount
from isoserver.settings.logs import make_log
from isoserver.settings.server import PREFIX, S3_URLS, ServerSettings

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Mapping

    from isoserver.ray.placement import ServerInfo

__all__ = ["add_commands"]

_START_SECONDS: Final = 120.0
_STORE: Final = f"{PREFIX}HEAP_STORE"
_S3_VARIABLES: Final = (
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),
    *("AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"),
    *("AWS_REQUEST_CHECKSUM_CALCULATION", "AWS_RESPONSE_CHECKSUM_VALIDATION"),
)
"""What a store of S3's reads; not those that name files, which are of this machine."""
_UP: Final = (
    "Start a server on each node of a Ray cluster, and print their URLs. Ray starts a "
    "server again that has ended, and a new node gets one. Settings are the flags of "
    "`isokernel serve`, behind `--`, and the variables ISOKERNEL_… of this command's "
    "environment, with the credentials, region and endpoint of AWS_… for an s3:// "
    "store; keys and the cluster's secret are best given as variables."
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
        type=_count,
        metavar="NUMBER",
        help="how many; Ray's autoscaler is asked for room for as many. If omitted, "
        "one on each node that there is or will be",
    )
    command.add_argument(
        "--cpus",
        type=_cpus,
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
        help="another resource of Ray's that it takes: GPU, memory (in bytes), or one "
        "that nodes were given; may be repeated",
    )
    command.add_argument(
        "--wait",
        type=_seconds,
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
    flags = parse(given.flags, ServerSettings)
    variables = _variables(flags.get("heap_store"), os.environ)
    from isoserver.ray import service  # noqa: PLC0415 - loads Ray, or says that it can't

    order = service.Order(
        tuple(given.flags),
        variables,
        {"CPU": given.cpus, **dict(given.resource)},
        given.servers,
    )
    _print(service.up(given.address, order, given.wait, make_log))
    return 0


def _nodes(_server: Any, given: argparse.Namespace) -> int:
    from isoserver.ray import service  # noqa: PLC0415 - loads Ray

    _print(service.servers(given.address))
    return 0


def _down(_server: Any, given: argparse.Namespace) -> int:
    from isoserver.ray import service  # noqa: PLC0415 - loads Ray

    service.down(given.address)
    return 0


def _variables(
    heap_store: str | None, environment: Mapping[str, str]
) -> dict[str, str]:
    """Return the variables that servers are to have.

    Args:
        heap_store: As a flag has it.
        environment: That of this command.
    """
    found = {
        name: value for name, value in environment.items() if name.startswith(PREFIX)
    }
    if (heap_store or found.get(_STORE, "")).startswith(S3_URLS):
        found |= {
            name: environment[name] for name in _S3_VARIABLES if name in environment
        }
    return found


def _amount(text: str) -> tuple[str, float]:
    name, _, amount = text.partition("=")
    try:
        return name, _checked(name, float(amount))
    except ValueError:
        message = f"{text!r} is no NAME=AMOUNT"
        raise ArgumentTypeError(message) from None


def _cpus(text: str) -> float:
    return _checked("CPU", _number(text))


def _checked(name: str, amount: float) -> float:
    try:
        check_amount(name, amount)
    except RayError as error:
        raise ArgumentTypeError(str(error)) from None
    return amount


def _count(text: str) -> int:
    if text.isdecimal() and int(text):
        return int(text)
    message = f"{text!r} is no number from 1 on; `isokernel cluster down` stops all"
    raise ArgumentTypeError(message)


def _seconds(text: str) -> float:
    seconds = _number(text)
    if math.isfinite(seconds) and seconds >= 0:
        return seconds
    message = f"{text!r} is no number from 0 on"
    raise ArgumentTypeError(message)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        message = f"{text!r} is no number"
        raise ArgumentTypeError(message) from None


def _print(servers: Iterable[ServerInfo]) -> None:
    for server in servers:
        sys.stdout.write(f"{server.url}  node {server.node_id}  process {server.pid}\n")
