"""What is silent, as all that is sent to it is lost: nobody waits for it for long."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.cables import why_no_networks
from tests.support.client import connect
from tests.support.machines import DATABASE, STORE, Machines

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LEASE_SECONDS = 4
PATIENCE_SECONDS = 25.0
"""Less than clients have who wait for half a minute."""
WHY_NOT = why_no_networks()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT),
]


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[Machines]:
    """One server."""
    pytest.importorskip("moto.server")
    made = Machines(1, tmp_path, "--cluster-lease-seconds", str(LEASE_SECONDS))
    try:
        yield made
    finally:
        made.close()
    assert not made.said


@pytest.mark.parametrize("what", [DATABASE, STORE])
def test_all_is_answered_in_time(machines: Machines, what: str) -> None:
    (server,) = machines.names
    with connect(machines.server(server)) as client, ThreadPoolExecutor() as pool:
        body = {"language": "javascript", "durability": "execution"}
        here = client.post("/contexts", json=body).json()["id"]
        heap = client.show(here)["heap"]
        run = {"code": "globalThis.n = 1", "context_id": here}
        asked: tuple[tuple[str, str, Any], ...] = (
            *(("POST", "/execute", run), ("POST", "/contexts", {"heap": heap})),
            *(("POST", f"/contexts/{here}/checkpoint", {}), ("GET", "/contexts", None)),
            *(("POST", "/contexts", body), ("GET", "/api/executions", None)),
            *(("POST", "/api/exec", {"code": "1"}), ("POST", "/tasks", {"code": "1"})),
        )
        with machines.trouble((what, server), (server, what)):
            began = time.monotonic()
            client.timeout = 4 * PATIENCE_SECONDS
            answers = [
                pool.submit(client.request, method, path, json=content)
                for method, path, content in asked
            ]
            for answer in answers:
                answer.result()
            assert time.monotonic() - began < PATIENCE_SECONDS
