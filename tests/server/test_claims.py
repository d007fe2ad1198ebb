"""The port that a server claims, at every address of its host."""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING

import pytest

from isoserver.http.claims import Claims
from isoserver.settings.reading import read_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def claim(tmp_path: Path) -> Iterator[Callable[[str, int], list[socket.socket]]]:
    """Listens at a host and port, until the test is over."""
    made: list[Claims] = []

    def listen(host: str, port: int) -> list[socket.socket]:
        given = {"host": host, "port": port, "data_dir": tmp_path}
        made.append(Claims(read_settings(**given, insecure_no_auth=True)))
        return made[-1].listen()

    yield listen
    for each in made:
        each.close()


@pytest.mark.parametrize("host", ["", "localhost", "127.0.0.1"])
def test_all_addresses_have_one_port(
    claim: Callable[[str, int], list[socket.socket]], host: str
) -> None:
    sockets = claim(host, 0)
    [port] = {each.getsockname()[1] for each in sockets}
    families = [each.family for each in sockets]
    assert socket.AF_INET in families
    assert len(set(families)) == len(families)
    for each in sockets:
        assert not each.getblocking()
    socket.create_connection(("127.0.0.1", port)).close()
    with pytest.raises(OSError) as caught:  # noqa: PT011 - the number tells
        claim("127.0.0.1", port)
    assert caught.value.errno == errno.EADDRINUSE


def test_a_host_without_an_address_here_is_refused(
    claim: Callable[[str, int], list[socket.socket]],
) -> None:
    with pytest.raises(OSError) as caught:  # noqa: PT011 - the number tells
        claim("192.0.2.1", 0)  # of documents
    assert caught.value.errno == errno.EADDRNOTAVAIL
