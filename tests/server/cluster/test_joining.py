"""Who may be a server of a cluster, and what those are told that are set up wrong."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from tests.server.cluster.conftest import LONG_LEASE_SECONDS
from tests.support.server import JAVASCRIPT_FLAGS, START
from tests.support.waiting import DEADLINE, wait_for

from isoserver.errors import InvalidSettingsError
from isoserver.settings.reading import read_settings

if TYPE_CHECKING:
    from tests.server.cluster.conftest import Nodes

SECRET = ("--cluster-secret", "0123456789" * 3)
OTHER_SECRET = ("--cluster-secret", "9876543210" * 3)
EVERYWHERE = "0.0.0.0"  # noqa: S104 - it isn't listened there


@pytest.fixture(autouse=True)
def _nobody_is_lost(nodes: Nodes) -> None:
    nodes.lease_seconds = LONG_LEASE_SECONDS


def refused(nodes: Nodes, *flags: str) -> str:
    """What a server says that doesn't start."""
    done = subprocess.run(
        [
            *(sys.executable, "-c", START, "serve", "--port", "0"),
            *(*JAVASCRIPT_FLAGS, "--cluster", "--database-url", nodes.database),
            *("--heap-store", str(nodes.folder / "heaps"), *flags),
        ],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert done.returncode == 1
    return done.stderr


def test_a_server_with_another_secret_or_store_does_not_join(nodes: Nodes) -> None:
    first, one = nodes.start()
    assert "cluster_secret" in refused(nodes, *OTHER_SECRET)
    other_store = str(nodes.folder / "others")
    assert "heap_store" in refused(nodes, *SECRET, "--heap-store", other_store)
    (server,) = one.get("/cluster/servers").json()["items"]
    assert server["here"]
    assert first.stop() == 0
    nodes.start(*OTHER_SECRET)  # that of all there are


def test_the_next_server_at_an_address_is_another_one(nodes: Nodes) -> None:
    """Who asks for what the last one had is told to wait, not that it's forbidden."""
    first, one = nodes.start()
    _, other = nodes.start()
    here = one.create()
    other.text("1 + 1", context_id=here)
    first.stop(signal.SIGKILL)
    port = first.url.rpartition(":")[2]
    again, _ = nodes.start("--port", port)
    assert again.url == first.url
    answer = other.post("/execute", json={"code": "1", "context_id": here})
    assert answer.status_code == 503, answer.text
    assert answer.headers["X-Error-Code"] == "peer_unreachable"
    assert answer.headers["Retry-After"]
    assert other.get("/contexts").status_code == 200
    assert "the same cluster_url" not in again.log()


def test_two_servers_with_one_url_are_told_of(nodes: Nodes) -> None:
    nodes.lease_seconds = 2
    first, _ = nodes.start()
    second, _ = nodes.start("--cluster-url", first.url)
    wait_for(lambda: "another server has the same cluster_url" in second.log())


def test_nobody_is_reached_at_all_addresses(nodes: Nodes) -> None:
    given = {
        "cluster": True,
        "cluster_secret": "0123456789" * 3,
        "database_url": nodes.database,
        "heap_store": str(nodes.folder),
        "host": EVERYWHERE,
        "api_key": ["0123456789abcdef"],
    }
    with pytest.raises(InvalidSettingsError, match="cluster_url"):
        read_settings(**given)
    read_settings(**given, cluster_url="http://10.0.0.7:3000")
