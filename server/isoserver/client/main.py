"""`isokernel client`: the command line, for argparse."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

from isokernel._version import __version__
from isoserver.client import executions, resources
from isoserver.client.requests import ClientError, Connection

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["add_server", "main", "perform", "run"]

DEFAULT_URL = "http://127.0.0.1:3000"
INTERRUPTED = 130
BROKEN_PIPE = 141
_STATUSES = ("running", "completed", "failed", "timed_out", "cancelled")
_EPILOG = (
    "Exit status: 0 success, 1 the code failed, 2 the command line is wrong, 3 the "
    "server refused, 4 no server answers."
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and end the process with its exit status."""
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: The command line; the process's own if None.

    Returns:
        The exit status.
    """
    return perform(_parser(), arguments)


def perform(parser: argparse.ArgumentParser, arguments: Sequence[str] | None) -> int:
    """Run a command of a parser whose options of the server `add_server` has added.

    Args:
        parser: Its commands have in `call` what takes a `Connection` and the options.
        arguments: The command line; the process's own if None.

    Returns:
        The exit status.
    """
    given = parser.parse_args(arguments)
    try:
        server = Connection(given.url, given.api_key)
        status: int = given.call(server, given)
        sys.stdout.flush()
    except ClientError as error:
        sys.stderr.write(f"{parser.prog}: {error}\n")
        return error.exit_status
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader is gone: Python must not try to write the rest at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    return status


def add_server(
    parser: argparse.ArgumentParser, url: str, key: str, *, again: bool = False
) -> None:
    """Add the options that say which server, and with which key.

    Args:
        parser: Gets them.
        url: What the URL is, in words.
        key: What the key is.
        again: Whether the parser is that of a command of one that has them: there,
            what isn't given is what was given before the command.
    """
    parser.add_argument(
        "--url",
        default=(
            argparse.SUPPRESS if again else os.environ.get("ISOKERNEL_URL", DEFAULT_URL)
        ),
        help=f"{url}; default: ISOKERNEL_URL, else {DEFAULT_URL}",
    )
    parser.add_argument(
        "--api-key",
        default=argparse.SUPPRESS if again else os.environ.get("ISOKERNEL_API_KEY"),
        help=f"{key}; default: ISOKERNEL_API_KEY",
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "isokernel client",
        description="Run JavaScript and TypeScript on an isokernel server.",
        epilog=_EPILOG,
        allow_abbrev=False,
    )
    add_server(parser, "the server's URL", "the key for the server")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_exec(commands)
    _add_executions(commands)
    _add_resources(commands)
    return parser


def _add_exec(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser("exec", help="run code")
    source = command.add_mutually_exclusive_group(required=True)
    source.add_argument("file", nargs="?", help="a file with the code, or - for stdin")
    source.add_argument("-e", "--code", help="the code itself")
    command.add_argument(
        "--wait",
        action="store_true",
        help="wait for the end; print output and result",
    )
    command.add_argument(
        "--follow", action="store_true", help="print its output until the end"
    )
    command.add_argument("--session", help="the session to run in")
    command.add_argument("--language", help="what the code is in, if not JavaScript")
    command.add_argument("--heap", help="the key of the heap to go on from")
    command.add_argument(
        "--timeout", type=int, help="limit on its time in seconds, 1 to 300"
    )
    command.add_argument("--memory", type=int, help="limit on V8's heap in MiB")
    command.add_argument(
        *("--tag", "-t"),
        action="append",
        default=[],
        type=_pair,
        metavar="NAME=VALUE",
        help="a tag for the heap that it yields; may be repeated",
    )
    command.add_argument(
        "--json", action="store_true", help="print the whole answer as JSON"
    )
    command.set_defaults(call=executions.execute)


def _add_executions(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
) -> None:
    command = commands.add_parser("status", help="show an execution")
    command.add_argument("id")
    command.set_defaults(call=executions.show_status)
    command = commands.add_parser("output", help="print the output of an execution")
    command.add_argument("id")
    command.add_argument(
        "--follow", action="store_true", help="go on until the execution ends"
    )
    for name in ("line-offset", "line-limit", "byte-offset", "byte-limit"):
        command.add_argument(f"--{name}", type=int, metavar="N")
    command.add_argument("--json", action="store_true", help="print the page as JSON")
    command.set_defaults(call=executions.show_output)
    command = commands.add_parser("cancel", help="end an execution")
    command.add_argument("id")
    command.set_defaults(call=executions.cancel)
    command = commands.add_parser("list", help="list executions, newest first")
    command.add_argument("--limit", type=int)
    command.add_argument("--status", choices=_STATUSES)
    command.set_defaults(call=executions.list_executions)


def _add_resources(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
) -> None:
    command = commands.add_parser("heaps", help="list heaps, or show one")
    command.add_argument("key", nargs="?")
    command.add_argument(
        "--tag", action="append", default=[], type=_pair, metavar="NAME=VALUE"
    )
    command.add_argument("--limit", type=int)
    command.set_defaults(call=resources.show_heaps)
    command = commands.add_parser("tags", help="show or change the tags of a heap")
    command.add_argument("key")
    command.add_argument(
        "--set", action="append", default=[], type=_pair, metavar="NAME=VALUE"
    )
    command.add_argument("--delete", action="append", default=[], metavar="NAME")
    command.add_argument("--clear", action="store_true", help="delete all of them")
    command.set_defaults(call=resources.show_tags)
    command = commands.add_parser("sessions", help="list sessions, or one's history")
    command.add_argument("name", nargs="?")
    command.set_defaults(call=resources.show_sessions)
    command = commands.add_parser("contexts", help="list contexts")
    command.set_defaults(call=resources.show_contexts)
    command = commands.add_parser(
        "version", help="print the versions of client and server"
    )
    command.set_defaults(call=resources.show_version)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        message = f"{text!r} is not NAME=VALUE"
        raise argparse.ArgumentTypeError(message)
    return name, value
