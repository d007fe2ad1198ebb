"""Connections to other servers."""

from __future__ import annotations

import asyncio
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from tests.support.waiting import DEADLINE
from tornado.iostream import IOStream

from isokernel.timeouts import timeout
from isoserver.errors import PeerUnreachableError
from isoserver.passing.service import Tunnel
from isoserver.passing.upstreams import Upstreams


def test_nothing_is_asked_of_a_server_that_is_gone_once_it_is_reached() -> None:
    """One that is stopped takes connections, and may never answer."""

    async def scenario(url: str) -> None:
        upstreams = Upstreams()
        stream = await upstreams.open("other", url)
        opening = asyncio.ensure_future(upstreams.open("gone", url))
        await asyncio.sleep(0)
        upstreams.drop("gone")
        for opened in (opening, upstreams.open("gone", url)):
            with pytest.raises(PeerUnreachableError):
                await opened
        assert not stream.closed()
        upstreams.close()
        assert stream.closed()
        upstreams.keep(stream)
        upstreams.end(stream)
        assert not {*upstreams._idle, *upstreams._open}

    with socket.create_server(("127.0.0.1", 0)) as stopped:
        asyncio.run(scenario(f"http://127.0.0.1:{stopped.getsockname()[1]}"))


def test_who_is_named_by_an_address_is_reached_while_all_threads_wait() -> None:
    async def scenario(url: str) -> None:
        loop, go_on = asyncio.get_running_loop(), threading.Event()
        loop.set_default_executor(ThreadPoolExecutor(1))
        waiting = asyncio.ensure_future(asyncio.to_thread(go_on.wait))
        await asyncio.sleep(0)
        upstreams = Upstreams()
        try:
            assert not (await upstreams.open("other", url)).closed()
        finally:
            go_on.set()
            await waiting
            upstreams.close()

    with socket.create_server(("127.0.0.1", 0)) as there:
        asyncio.run(scenario(f"http://127.0.0.1:{there.getsockname()[1]}"))


def test_a_tunnel_ends_whose_client_takes_nothing() -> None:
    async def scenario() -> None:
        pairs = [socket.socketpair() for _ in range(2)]
        (peer, upstream), (client, far) = pairs
        peer.setblocking(False)  # noqa: FBT003 - the socket's
        tunnel = Tunnel(IOStream(upstream), IOStream(client), 0.2)
        going = asyncio.ensure_future(tunnel.run(b"head"))
        sending = asyncio.ensure_future(_send_all(peer))
        async with timeout(DEADLINE):
            await going
        sending.cancel()
        await asyncio.wait([sending])
        for each in (peer, far):
            each.close()

    asyncio.run(scenario())


async def _send_all(peer: socket.socket) -> None:
    with suppress(OSError):
        while True:
            await asyncio.get_running_loop().sock_sendall(peer, b"0" * (1 << 16))
