"""`isokernel serve` and `isokernel mcp`: the flags are the fields of the settings."""

from __future__ import annotations

import argparse
import asyncio
import sys
import traceback
from typing import TYPE_CHECKING

from pydantic import ValidationError
from pydantic_settings import CliApp

from isokernel.errors import IsokernelError
from isoserver.errors import ServerError, TakenError
from isoserver.settings.server import ServerSettings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from socket import socket

__all__ = ["load", "serve", "serve_mcp"]

USAGE = 2


def load(arguments: Sequence[str]) -> ServerSettings:
    """Read the settings: flags, else the environment, else the TOML file.

    Raises:
        ValidationError: A setting has a wrong value.
        OSError: The file can't be read.
        SystemExit: The flags can't be understood, or they ask for help.
    """
    # The file has to be known before pydantic reads its sources.
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--config")
    known, _ = first.parse_known_args(arguments)
    given = {} if known.config is None else {"config": known.config}
    return CliApp.run(ServerSettings, cli_args=list(arguments), **given)


def serve(arguments: Sequence[str]) -> int:
    """Serve until SIGTERM.

    Args:
        arguments: The flags.

    Returns:
        The exit status.
    """
    settings = _load(arguments)
    if settings is None:
        return USAGE
    try:
        asyncio.run(_run(settings))
    except ServerError as error:
        _print_error(error)
        return 1
    except OSError as error:
        _print(f"can't listen on {settings.host}:{settings.port}: {error}")
        return 1
    return 0


def serve_mcp(arguments: Sequence[str]) -> int:
    """Serve one MCP client on stdin and stdout until stdin ends.

    If a server already uses the data folder, the client is passed on to that server.

    Args:
        arguments: The flags, which are those of `isokernel serve`.

    Returns:
        The exit status.
    """
    settings = _load(arguments)
    if settings is None:
        return USAGE
    from isoserver.mcp import relay  # noqa: PLC0415 - only where it is needed

    try:
        found = relay.find(settings.data_dir, settings.session_id)
        if found is None:
            found = asyncio.run(_run_mcp(settings))
    except ServerError as error:
        _print_error(error)
        return 1
    return 0 if found is None else relay.pass_on(found)


def _load(arguments: Sequence[str]) -> ServerSettings | None:
    """Read the settings; None if they are wrong, which is printed."""
    try:
        return load(arguments)
    except ValidationError as error:
        for detail in error.errors(include_url=False, include_input=False):
            name = ".".join(str(part) for part in detail["loc"]).replace("_", "-")
            _print(f"{name}: {detail['msg']}" if name else detail["msg"])
    except (OSError, ValueError) as error:
        _print(f"the settings can't be read: {error}")
    return None


async def _run(settings: ServerSettings) -> None:
    from isoserver.app import Server  # noqa: PLC0415 - a second; not for wrong flags
    from isoserver.settings.logs import route_foreign  # noqa: PLC0415

    server = Server(settings)
    route_foreign(server.parts.log)
    await server.run(_ready)


async def _run_mcp(settings: ServerSettings) -> socket | None:
    """Serve; or return a connection to another server that has started first."""
    from isoserver.app import Server  # noqa: PLC0415 - as above
    from isoserver.mcp.relay import find  # noqa: PLC0415
    from isoserver.mcp.stdio import serve_stdio  # noqa: PLC0415
    from isoserver.settings.logs import route_foreign  # noqa: PLC0415

    server = Server(settings)
    route_foreign(server.parts.log)
    try:
        await server.claim()
    except TakenError:
        found = await asyncio.to_thread(find, settings.data_dir, settings.session_id)
        if found is None:
            raise
        return found
    await serve_stdio(server, _print_error)
    return None


def _ready(url: str) -> None:
    sys.stdout.write(f"isokernel is listening on {url}\n")
    sys.stdout.flush()


def _print_error(error: Exception) -> None:
    """Print why the server can't start, with a traceback for a defect of ours."""
    if isinstance(error, (ServerError, IsokernelError)):
        _print(str(error))
    else:
        traceback.print_exception(error)


def _print(text: str) -> None:
    sys.stderr.write(f"isokernel: {text}\n")
