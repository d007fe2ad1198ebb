"""Who may be a server of a cluster, and what those are told that are set up wrong."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text
from tests.server.cluster.conftest import LONG_LEASE_SECONDS
from tests.support.server import JAVASCRIPT_FLAGS, START
from tests.support.waiting import DEADLINE, wait_for

from isoserver.errors import InvalidSettingsError
from isoserver.settings.reading import read_settings
from isoserver.storage.database import Database, url_of

if TYPE_CHECKING:
    from pathlib import Path

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


@pytest.mark.parametrize("named", ["cluster_secret", "heap_store"])
def test_a_server_with_other_settings_does_not_join(nodes: Nodes, named: str) -> None:
    _, one = nodes.start()
    other_store = (*SECRET, "--heap-store", str(nodes.folder / "others"))
    flags = {"cluster_secret": OTHER_SECRET, "heap_store": other_store}[named]
    assert named in refused(nodes, *flags)
    (server,) = one.get("/cluster/servers").json()["items"]
    assert server["here"]


def test_the_secret_is_another_one_once_all_have_ended(nodes: Nodes) -> None:
    first, _ = nodes.start()
    assert first.stop() == 0
    nodes.start(*OTHER_SECRET)


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


def test_a_policy_that_another_server_dropped_is_nobody_s(nodes: Nodes) -> None:
    """Also if the server that makes the next context of the name began before that."""
    first, one = nodes.start()
    given = {"net": ["a.com"]}
    for name in ("gone", "kept"):
        assert one.done("1", session=name)["status"] == "completed"
        answer = one.put(f"/contexts/{name}/capabilities", json=given)
        assert answer.headers["X-Isokernel-Owner"] == first.url
        assert answer.json()["context"] == given
    second, other = nodes.start()
    assert one.delete("/contexts/gone").status_code == 204
    assert first.stop() == 0
    assert other.done("1", session="gone")["status"] == "completed"
    answer = other.get("/contexts/gone/capabilities")
    assert answer.headers["X-Isokernel-Owner"] == second.url
    assert answer.json()["context"] == {}
    answer = other.get("/contexts/kept/capabilities")
    assert answer.json()["context"] == given


def test_two_servers_with_one_url_are_told_of(nodes: Nodes) -> None:
    nodes.lease_seconds = 2
    first, _ = nodes.start()
    second, _ = nodes.start("--cluster-url", first.url)
    wait_for(lambda: "another server has the same cluster_url" in second.log())


def test_a_server_that_starts_is_sent_nothing_yet(nodes: Nodes, tmp_path: Path) -> None:
    nodes.lease_seconds = 2
    first, one = nodes.start()
    asyncio.run(_register_starting(nodes.database, tmp_path))
    servers = one.get("/cluster/servers").json()["items"]
    assert [each["state"] for each in servers] == ["serving", "starting"]
    # Lists are asked of all that are known.
    wait_for(
        lambda: (
            one.get("/contexts").status_code == 200 and '"server":"late"' in first.log()
        )
    )
    for number in range(10):
        one.run("1", execution_id=f"once-{number}")
        assert one.create()
    assert "isokernel_cluster_servers 1.0" in one.get("/metrics").text
    assert 'outcome="unreachable"' not in one.get("/metrics").text


async def _register_starting(url: str, folder: Path) -> None:
    """Register a server that nobody answers for, as one that has begun to start."""
    database = Database(url_of(url, folder))
    try:
        async with database.begin() as connection:
            await connection.execute(
                text(
                    "INSERT INTO cluster_servers (id, url, proof, capacity, load, "
                    "draining, fenced, lease_seconds, started_at, seen_at) "
                    "SELECT 'late', 'http://127.0.0.1:9', proof, 0, 0, false, false, "
                    "600, clock_timestamp(), clock_timestamp() FROM cluster_servers"
                )
            )
    finally:
        await database.close()


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
