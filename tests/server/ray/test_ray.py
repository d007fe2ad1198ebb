"""Servers on nodes of Ray's own local cluster, of which one is lost amid the work."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.object_stores import ObjectStore

if TYPE_CHECKING:
    from tests.support.postgresql import PostgreSQL

ROOT = Path(__file__).parents[3]
SECRETS = {
    "ISOKERNEL_CLUSTER_SECRET": "0123456789" * 3,
    "ISOKERNEL_API_KEY": "a-key-of-the-tests",
}
FLAGS = (
    *("--port", "0", "--cluster-lease-seconds", "10"),
    *("--languages", "javascript,typescript", "--default-language", "typescript"),
)


def run(program: str, **variables: str) -> dict[str, Any]:
    """Run a program with Ray in it, and return what it prints at its end."""
    pytest.importorskip("ray", reason="it is 80 MB, and in the extra `ray`")
    # Of what Ray starts: 15, unless this says otherwise. Others work here, too.
    niceness = {"RAY_worker_niceness": "0"}
    done = subprocess.run(
        [sys.executable, "-m", f"tests.support.programs.{program}", *FLAGS],
        env={**os.environ, **SECRETS, **niceness, **variables},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=570,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_node_is_lost_amid_the_work(postgresql: PostgreSQL, tmp_path: Path) -> None:
    found = run(
        "ray_nodes",
        ISOKERNEL_DATABASE_URL=postgresql.database(),
        ISOKERNEL_HEAP_STORE=str(tmp_path / "heaps"),
    )
    assert found["servers"] == 3
    assert found["scores"] == found["wanted"]
    assert found["kept"] == list(range(6))
    assert len(found["left"]) == 2
    assert found["again"] == 3
    assert found["answer"] == 42
    assert found["running"] == []
    assert found["down"] == 1


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_how_many_there_are_to_be_outlives_what_places_them(
    postgresql: PostgreSQL,
) -> None:
    store = ObjectStore()
    try:
        store.wait()
        found = run(
            "ray_orders",
            ISOKERNEL_DATABASE_URL=postgresql.database(),
            ISOKERNEL_HEAP_STORE=store.url,
            **store.environment,
        )
    finally:
        store.stop()
    assert found == {
        "hints": [1, 2, 3, 0],
        "taken": {"CPU": 1, "GPU": 1, "memory": 1e6, "place": 1},
        "refused": 1,
        "failed": "RayError: a server can't take object_store_memory=1 of Ray's "
        "resources: Ray reserves none of it",
        "known": True,
        "unreadable": True,
        "kept": True,
        "chosen": True,
        "found_again": True,
        "no_more": True,
        "fewer": True,
        "running": [],
    }
