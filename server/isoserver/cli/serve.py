"""`isokernel serve` and `isokernel mcp`: the flags are the fields of the settings.

What can be wrong with the settings, the port and the data folder is found first, with
little imported. Then the rest of the server is, while clients are queued already.
"""

from __future__ import annotations

import asyncio
import sys
import traceback
from contextlib import closing
from typing import TYPE_CHECKING

from pydantic import ValidationError

from isokernel.errors import IsokernelError
from isoserver.cli.flags import FlagError, HelpRequest, parse
from isoserver.errors import ServerError, TakenError
from isoserver.settings.server import ServerSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from isoserver.http.claims import Claims
    from isoserver.mcp.streams import StandardStreams

__all__ = ["load", "serve", "serve_mcp"]

USAGE = 2


def load(arguments: Sequence[str]) -> ServerSettings:
    """Read the settings: flags, else the environment, else the TOML file.

    Raises:
        FlagError: The flags can't be understood.
        HelpRequest: The flags ask for help.
        ValidationError: A setting has a wrong value.
        OSError: The file can't be read.
    """
    return ServerSettings(**parse(arguments, ServerSettings))


def serve(arguments: Sequence[str]) -> int:
    """Serve until SIGTERM.

    Args:
        arguments: The flags.

    Returns:
        The exit status.
    """
    settings = _load(arguments, "serve")
    if not isinstance(settings, ServerSettings):
        return settings
    from isoserver.http.claims import Claims  # noqa: PLC0415 - not for wrong flags

    try:
        with closing(Claims(settings)) as claims:
            try:
                claims.listen()
            except OSError as error:
                _print(f"can't listen on {settings.host}:{settings.port}: {error}")
                return 1
            claims.lock()
            claims.launch()
            if claims.settled:
                _ready(claims.url)
            asyncio.run(_run(settings, claims))
    except ServerError as error:
        _print_error(error)
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
    settings = _load(arguments, "mcp")
    if not isinstance(settings, ServerSettings):
        return settings
    from isoserver.http.claims import Claims  # noqa: PLC0415 - not for wrong flags
    from isoserver.mcp import relay  # noqa: PLC0415
    from isoserver.mcp.streams import StandardStreams  # noqa: PLC0415

    place = settings.data_dir, settings.session_id
    try:
        if (found := relay.find(*place)) is not None:
            return relay.pass_on(found)
        with closing(Claims(settings)) as claims:
            try:
                claims.lock()
            except TakenError:
                # Another one may have started at the same time.
                if (found := relay.find(*place)) is None:
                    raise
                return relay.pass_on(found)
            streams = StandardStreams(settings)
            streams.start()
            claims.launch()
            asyncio.run(_run_mcp(settings, claims, streams))
    except ServerError as error:
        _print_error(error)
        return 1
    return 0


def _load(arguments: Sequence[str], command: str) -> ServerSettings | int:
    """Read the settings; the exit status if they are wrong, or help was asked for."""
    try:
        return load(arguments)
    except HelpRequest as request:
        sys.stdout.write(request.text(command))
        return 0
    except FlagError as error:
        _print(f"{error}; `isokernel {command} --help` lists the flags")
    except ValidationError as error:
        for detail in error.errors(include_url=False, include_input=False):
            name = ".".join(str(part) for part in detail["loc"]).replace("_", "-")
            _print(f"{name}: {detail['msg']}" if name else detail["msg"])
    except (OSError, ValueError) as error:
        _print(f"the settings can't be read: {error}")
    return USAGE


async def _run(settings: ServerSettings, claims: Claims) -> None:
    from isoserver.app import Server  # noqa: PLC0415 - half a second
    from isoserver.settings.logs import route_foreign  # noqa: PLC0415

    server = Server(settings, claims=claims)
    route_foreign(server.parts.log)
    await server.run(None if claims.settled else _ready)


async def _run_mcp(
    settings: ServerSettings, claims: Claims, streams: StandardStreams
) -> None:
    from isoserver.app import Server  # noqa: PLC0415 - as above
    from isoserver.mcp.stdio import serve_stdio  # noqa: PLC0415 - a second
    from isoserver.settings.logs import route_foreign  # noqa: PLC0415

    server = Server(settings, claims=claims)
    route_foreign(server.parts.log)
    await serve_stdio(server, streams, _print_error)


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
