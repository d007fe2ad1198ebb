"""What is silent, as all that is sent to it is lost: nobody waits for it for long."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from tests.support.cables import why_no_networks
from tests.support.client import connect
from tests.support.machines import DATABASE, STORE, Machines

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import httpx

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
    """Two servers."""
    pytest.importorskip("moto.server")
    made = Machines(2, tmp_path, "--cluster-lease-seconds", str(LEASE_SECONDS))
    try:
        yield made
    finally:
        made.close()
    assert not made.said


def _code(answer: httpx.Response) -> str:
    """What an answer says that it failed by."""
    code = answer.headers.get("X-Error-Code")
    if code is None and answer.status_code == 200:
        error = answer.json().get("error")
        code = error and error["name"]
    return str(code)


@pytest.mark.parametrize(
    ("what", "codes"),
    [
        (DATABASE, {"lease", "database"}),
        (STORE, {"heap_store", "ContextUnsavedError"}),
    ],
)
def test_all_is_answered_in_time(
    machines: Machines, what: str, codes: set[str]
) -> None:
    name = machines.names[0]
    with connect(machines.server(name)) as client, ThreadPoolExecutor() as pool:
        body = {"language": "javascript", "durability": "execution"}
        here = client.post("/contexts", json=body).json()["id"]
        heap = client.show(here)["heap"]
        run = {"code": "globalThis.n = 1", "context_id": here}
        asked: tuple[tuple[str, dict[str, str]], ...] = (
            *(("/execute", run), ("/contexts", {"heap": heap}), ("/contexts", body)),
            (f"/contexts/{here}/checkpoint", {}),
        )
        with machines.trouble((what, name), (name, what)):
            began = time.monotonic()
            client.timeout = 4 * PATIENCE_SECONDS
            posted = [pool.submit(client.post, path, json=it) for path, it in asked]
            told = {_code(answer.result()) for answer in posted}
            assert time.monotonic() - began < PATIENCE_SECONDS
    assert told == codes or (told < codes and what == DATABASE), told


def test_who_asks_for_the_same_waits_no_longer(machines: Machines) -> None:
    """Of a context that nobody owns, whose files can't be had."""
    name, other = machines.names
    body = {"language": "javascript", "durability": "execution"}
    with connect(machines.server(other)) as owner:
        here = owner.post("/contexts", json=body).json()["id"]
        put = owner.put(f"/contexts/{here}/files/a.txt", content=b"a")
        assert put.status_code == 201, put.text
        place = put.headers["X-Isokernel-Owner"]
    (gone,) = (each for each in machines.names if machines.server(each).url == place)
    (name,) = {name, other} - {gone}
    machines.server(gone).stop()
    with connect(machines.server(name)) as client, ThreadPoolExecutor() as pool:
        client.timeout = 8 * PATIENCE_SECONDS
        with machines.trouble((STORE, name), (name, STORE)):
            began = time.monotonic()
            asked = [pool.submit(client.get, f"/contexts/{here}") for _ in range(4)]
            assert {_code(answer.result()) for answer in asked} == {"heap_store"}
            assert time.monotonic() - began < PATIENCE_SECONDS
        assert client.get(f"/contexts/{here}/files/a.txt").content == b"a"


def test_a_server_that_does_not_hear_another_says_so(machines: Machines) -> None:
    one, other = machines.names
    with (
        connect(machines.server(one)) as client,
        connect(machines.server(other)) as owner,
        ThreadPoolExecutor() as pool,
    ):
        here = owner.create()
        owner.run("let n = 1", context_id=here)
        asked = {"code": "await new Promise((r) => setTimeout(r, 30_000))"}
        under_way = pool.submit(
            client.post, "/execute", json={**asked, "context_id": here}
        )
        owner.wait_state(here, "busy")
        with machines.trouble((other, one)):
            began = time.monotonic()
            assert _code(under_way.result()) == "peer_lost"
            assert _code(client.get(f"/contexts/{here}")) == "peer_unreachable"
            assert time.monotonic() - began < PATIENCE_SECONDS
            assert owner.post(f"/contexts/{here}/interrupt").status_code < 300
            assert owner.text("n", context_id=here) == "1"
