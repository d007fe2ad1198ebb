"""All contexts together use no more memory than they may."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.client import connect
from tests.support.server import MIB, V8_FLAGS, Server
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable

FILL = """
globalThis.kept = Array.from({length: %d}, () => new Uint8Array(2**20).fill(1)); 0
"""


def test_the_largest_context_ends_first(servers: Callable[..., Server]) -> None:
    server = servers(*V8_FLAGS, "--contexts-memory-bytes-max", str(250 * MIB))
    with connect(server) as client:
        small = client.run("let n = 1")["context_id"]
        middle = client.run(FILL % 80)["context_id"]
        assert client.text("kept.length", context_id=middle) == "80"
        large = client.run(FILL % 200)["context_id"]
        wait_for(lambda: client.show(large)["state"] == "dead")
        answer = client.post("/execute", json={"code": "1", "context_id": large})
        assert answer.status_code == 409
        assert "(contexts_memory_bytes_max)" in answer.text
        assert client.text("n", context_id=small) == "1"
        assert client.text("kept.length", context_id=middle) == "80"


def test_shared_pages_count_once(servers: Callable[..., Server]) -> None:
    server = servers(*V8_FLAGS, "--contexts-memory-bytes-max", str(250 * MIB))
    with connect(server) as client:
        first = client.run(FILL % 100)["context_id"]
        forks = [client.post(f"/contexts/{first}/fork").json()["id"] for _ in range(4)]
        assert [client.text("kept.length", context_id=one) for one in forks] == [
            "100"
        ] * 4
        assert client.show(first)["state"] == "idle"


def test_contexts_die_before_the_server(servers: Callable[..., Server]) -> None:
    server = servers(*V8_FLAGS)
    with connect(server) as client:
        client.run("1")
        scores = sorted(_score(pid) for pid in server.children())
    # The fork server is the server's, the context and the spare processes are not.
    assert _score(server.process.pid) == scores[0] == 0
    assert scores[-1] == 800


def _score(pid: int) -> int:
    return int(Path(f"/proc/{pid}/oom_score_adj").read_text())
