"""Connections to other servers."""

from __future__ import annotations

import asyncio
import socket

import pytest

from isoserver.errors import PeerUnreachableError
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

    with socket.create_server(("127.0.0.1", 0)) as stopped:
        asyncio.run(scenario(f"http://127.0.0.1:{stopped.getsockname()[1]}"))
