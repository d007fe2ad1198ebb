"""`isokernel serve` and `isokernel mcp`: the flags are the fields of the settings.

What can be wrong with the settings, the port and the data folder is found first, with
little imported. Then the rest of the server is, while clients are queued already.
"""

from __future__ import annotations

import os
import socket
import sys
from contextlib import closing, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from isokernel.errors import IsokernelError, reason_of
from isoserver.cli.flags import FlagError, HelpRequest, parse
from isoserver.errors import (
    DatabaseError,
    HeapStoreError,
    InvalidSettingsError,
    ServerError,
    TakenError,
)
from isoserver.settings.reading import read_settings
from isoserver.settings.server import ServerSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from isoserver.http.claims import Claims
    from isoserver.mcp.streams import LentErrors, StandardStreams

__all__ = ["explain", "load", "serve", "serve_mcp"]

USAGE = 2
_PAUSE_SECONDS = 0.5
"""Before a server of a cluster tries again to begin anew."""


def load(arguments: Sequence[str]) -> ServerSettings:
    """Read the settings: flags, else the environment, else the TOML file.

    Raises:
        FlagError: The flags can't be understood.
        HelpRequest: The flags ask for help.
        InvalidSettingsError: A setting is unknown or has a wrong value.
        OSError: The file can't be read.
    """
    return read_settings(**parse(arguments, ServerSettings))


def explain(error: Exception) -> list[str]:
    """Return what is wrong with the settings, a line for each problem.

    Args:
        error: What `load` raised.
    """
    if isinstance(error, InvalidSettingsError):
        return list(error.problems)
    return [f"the settings can't be read: {reason_of(error)}"]


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
                place = f"{settings.host}:{settings.port}"
                reason = error.strerror or error
                _print(f"can't listen on {place}: {reason} (--host, --port)")
                return 1
            claims.lock()
            claims.launch()
            if claims.settled:
                _ready(claims.url)
            _run_loop(partial(_run, settings, claims))
    except ServerError as error:
        _print_error(error)
        return 1
    return 0


def serve_mcp(arguments: Sequence[str]) -> int:
    """Serve one MCP client on stdin and stdout until stdin ends.

    With a data folder the client is passed on to the server that uses the folder; if
    there is none, it is forked from this process, and outlives this client while it
    has others.

    Args:
        arguments: The flags, which are those of `isokernel serve`.

    Returns:
        The exit status.
    """
    settings = _load(arguments, "mcp")
    if not isinstance(settings, ServerSettings):
        return settings
    try:
        if settings.data_dir is None:
            _check_alone(settings)
            return _serve_alone(settings)
        return _serve_together(settings)
    except ServerError as error:
        _print_error(error)
        return 1


def _check_alone(settings: ServerSettings) -> None:
    """Refuse to be a server of a cluster that the others could not reach.

    Raises:
        InvalidSettingsError: It would be one.
    """
    if settings.cluster:
        message = (
            "cluster: `isokernel mcp` has no address for other servers: start "
            "`isokernel serve` on the data folder (data_dir) before"
        )
        raise InvalidSettingsError(message)


def _serve_alone(settings: ServerSettings) -> int:
    """Serve in this process: nobody else finds a temporary folder."""
    from isoserver.http.claims import Claims  # noqa: PLC0415 - not for wrong flags
    from isoserver.mcp.streams import StandardStreams  # noqa: PLC0415

    with closing(Claims(settings)) as claims:
        claims.lock()
        streams = StandardStreams(settings)
        streams.start()
        claims.launch()
        _run_loop(partial(_run_mcp, settings, claims, streams))
    return 0


def _serve_together(settings: ServerSettings) -> int:
    """Pass the client on to the server that has the data folder, or to a new one."""
    from isoserver.http.claims import Claims  # noqa: PLC0415 - not for wrong flags
    from isoserver.mcp import relay_client  # noqa: PLC0415
    from isoserver.mcp.handshake import Opening  # noqa: PLC0415
    from isoserver.mcp.streams import LentErrors  # noqa: PLC0415

    place = settings.data_dir, settings.session_id
    if (found := relay_client.find(*place)) is not None:
        return relay_client.pass_on(found)
    _check_alone(settings)
    with closing(Claims(settings)) as claims:
        try:
            claims.lock()
        except TakenError:
            # Another one may have started at the same time.
            if (found := relay_client.find(*place)) is None:
                raise
            return relay_client.pass_on(found)
        ours, theirs = socket.socketpair()
        if os.fork():
            theirs.close()
            return relay_client.pass_on(ours, Opening(settings))
        ours.close()
        os.setsid()  # what ends the client's processes must not end this one
        with closing(LentErrors()) as errors:
            claims.launch()
            _run_loop(partial(_run_relayed, settings, claims, theirs, errors))
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
    except (OSError, ValueError) as error:  # InvalidSettingsError is a ValueError
        for line in explain(error):
            _print(line)
    return USAGE


def _run_loop(serving: Callable[[], Coroutine[Any, Any, None]]) -> None:
    import asyncio  # noqa: PLC0415 - 60 ms, once nothing of the above is wrong

    asyncio.run(serving())


async def _run(settings: ServerSettings, claims: Claims) -> None:
    import asyncio  # noqa: PLC0415 - it is loaded by now

    from isokernel.timeouts import timeout  # noqa: PLC0415 - loads asyncio
    from isoserver.app import Server  # noqa: PLC0415 - half a second
    from isoserver.settings.logs import route_foreign  # noqa: PLC0415

    server = Server(settings, claims=claims)
    route_foreign(server.parts.log)
    again = await server.run(None if claims.settled else _ready)
    while again and not server.stopped.is_set():
        # In all respects another server, under the address of the one that had to end.
        # Clients are refused there until it serves: they may ask another one.
        with closing(claims.again()) as others:
            others.bind()
            others.lock()
            others.launch()
            before, server = server, Server(settings, claims=others)
            route_foreign(server.parts.log)
            try:
                again = await server.run(before=before)
            except (DatabaseError, HeapStoreError) as error:
                # What the servers share was there for a moment only.
                server.parts.log.warning("can't begin anew yet", reason=str(error))
                with suppress(asyncio.TimeoutError):
                    async with timeout(_PAUSE_SECONDS):
                        await server.stopped.wait()


async def _run_mcp(
    settings: ServerSettings, claims: Claims, streams: StandardStreams
) -> None:
    from isoserver.app import Server  # noqa: PLC0415 - as above
    from isoserver.mcp.stdio import serve_stdio  # noqa: PLC0415 - a second
    from isoserver.settings.logs import route_foreign  # noqa: PLC0415

    server = Server(settings, claims=claims)
    route_foreign(server.parts.log)
    await serve_stdio(server, streams, _print_error)


async def _run_relayed(
    settings: ServerSettings,
    claims: Claims,
    first: socket.socket,
    errors: LentErrors,
) -> None:
    from isoserver.app import Server  # noqa: PLC0415 - as above
    from isoserver.mcp.relay import serve_relayed  # noqa: PLC0415
    from isoserver.settings.logs import route_foreign  # noqa: PLC0415

    server = Server(settings, claims=claims)
    route_foreign(server.parts.log)
    await serve_relayed(server, first, errors.give_back)


def _ready(url: str) -> None:
    sys.stdout.write(f"isokernel is listening on {url}\n")
    sys.stdout.flush()


def _print_error(error: Exception) -> None:
    """Print why the server can't start, with a traceback for a defect of ours."""
    if isinstance(error, (ServerError, IsokernelError)):
        _print(str(error))
    else:
        import traceback  # noqa: PLC0415 - for defects alone

        traceback.print_exception(error)


def _print(text: str) -> None:
    sys.stderr.write(f"isokernel: {text}\n")
