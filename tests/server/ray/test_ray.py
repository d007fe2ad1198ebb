"""Servers on three nodes of Ray's own local cluster; one is lost amid the work."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.postgresql import PostgreSQL

PROGRAM = Path(__file__).parents[2] / "support" / "programs" / "ray_nodes.py"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_node_is_lost_amid_the_work(postgresql: PostgreSQL, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="it is 80 MB, and in the extra `ray`")
    variables = {
        "ISOKERNEL_DATABASE_URL": postgresql.database(),
        "ISOKERNEL_HEAP_STORE": str(tmp_path / "heaps"),
        "ISOKERNEL_CLUSTER_SECRET": "0123456789" * 3,
        "ISOKERNEL_API_KEY": "a-key-of-the-tests",
        # Of what Ray starts: 15, unless this says otherwise. Others work here, too.
        "RAY_worker_niceness": "0",
    }
    flags = [
        *("--port", "0", "--cluster-lease-seconds", "10"),
        *("--languages", "javascript,typescript"),
    ]
    done = subprocess.run(
        [sys.executable, PROGRAM, *flags],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=570,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["servers"] == 3
    assert found["scores"] == found["wanted"]
    assert found["kept"] == list(range(6))
    assert len(found["left"]) == 2
    assert found["again"] == 3
    assert found["answer"] == 42
    assert found["running"] == []
    assert found["down"] == 1
