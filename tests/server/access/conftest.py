"""An authorization server, and a server of ours that takes its tokens."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from tests.support.client import connect
from tests.support.issuer import Issuer, trust
from tests.support.server import Server
from tests.support.waiting import wait_for
from tests.support.workspaces import BLUE, FILE, RED, Two

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(scope="package")
def issuer() -> Iterator[Issuer]:
    """An authorization server that is well, for all tests."""
    made = Issuer()
    made.add("first")
    made.add("curve", "ES256")
    made.add("edwards", "EdDSA")
    yield made
    made.stop()


@pytest.fixture(scope="package")
def trusting(issuer: Issuer) -> Iterator[Server]:
    """A server that takes the issuer's tokens, which runs nothing."""
    server = Server(*trust(issuer, "--failure-rate-per-minute", "0"))
    yield server
    server.stop()


@pytest.fixture
def issuers() -> Iterator[Callable[..., Issuer]]:
    """Makes authorization servers of one's own; stops them at the end."""
    made: list[Issuer] = []

    def make(path: str = "") -> Issuer:
        made.append(Issuer(path))
        made[-1].add("first")
        return made[-1]

    yield make
    for each in made:
        each.stop()


@pytest.fixture(scope="package")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    """A server with two workspaces."""
    folder = tmp_path_factory.mktemp("workspaces")
    file = folder / "isokernel.toml"
    file.write_text(FILE)
    flags = ("--languages", "javascript,typescript", "--default-language", "js")
    server = Server("--config", str(file), "--data-dir", str(folder), *flags)
    with ExitStack() as stack:
        red, blue = (
            stack.enter_context(connect(server, **{"X-API-Key": key}))
            for key in (RED, BLUE)
        )
        for client in (red, blue):
            client.get("/healthz")  # the connection that stays
        yield Two(server, folder, red, blue)
    assert server.stop() == 0
    assert not server.wrong()


@pytest.fixture(autouse=True)
def _rest(issuer: Issuer) -> Iterator[None]:
    """Connections to the authorization server are closed by the end of a test."""
    yield
    wait_for(issuer.at_rest)
