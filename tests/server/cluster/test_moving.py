"""A server is drained, or stopped: its contexts go on elsewhere as they were."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.server.cluster.conftest import LONG_LEASE_SECONDS, found
from tests.support.waiting import wait_for

from isoserver.cli.cluster import run

if TYPE_CHECKING:
    from tests.server.cluster.conftest import Nodes


@pytest.fixture(autouse=True)
def _nobody_is_lost(nodes: Nodes) -> None:
    nodes.lease_seconds = LONG_LEASE_SECONDS


def test_a_drained_server_gives_away_all_that_it_has(
    nodes: Nodes, capsys: pytest.CaptureFixture[str]
) -> None:
    first, one = nodes.start()
    _, other = nodes.start()
    here, asleep = one.create(), one.create()
    one.run("let n = 41", context_id=here)
    one.run("let m = 1", context_id=asleep)
    put = one.put(f"/contexts/{here}/files/a.txt", content=b"kept")
    assert put.status_code == 201, put.text
    (listed, joined) = one.get("/cluster/servers").json()["items"]
    assert (listed["here"], listed["contexts"], listed["state"]) == (True, 2, "serving")
    assert run(["--url", str(other.base_url), "drain", first.url]) == 0
    assert "nothing is left there" in capsys.readouterr().out
    assert run(["--url", first.url, "servers"]) == 0
    assert "draining" in capsys.readouterr().out
    shown = found(other, here)
    assert shown["state"] == "hibernated"
    assert "reason" not in shown  # nothing was lost
    assert other.text("n + 1", context_id=here) == "42"
    assert other.get(f"/contexts/{here}/files/a.txt").content == b"kept"
    assert other.text("m", context_id=asleep) == "1"
    cells = other.get(f"/contexts/{here}/notebook").json()["cells"]
    assert ["".join(cell["source"]) for cell in cells] == ["let n = 41", "n + 1"]
    # What it is asked for, it leaves to the others.
    refused = one.get(f"/contexts/{here}")
    assert refused.headers["X-Isokernel-Owner"] == joined["url"]


def test_what_was_put_into_a_sleeper_s_folder_moves_too(nodes: Nodes) -> None:
    first, one = nodes.start("--hibernate-after-seconds", "0.2")
    _, other = nodes.start()
    here = one.create()
    one.run("let n = 41", context_id=here)
    one.wait_state(here, "hibernated")
    put = one.put(f"/contexts/{here}/files/a.txt", content=b"late")
    assert put.status_code == 201, put.text
    assert first.stop() == 0
    found(other, here)
    assert other.get(f"/contexts/{here}/files/a.txt").content == b"late"
    assert other.text("n + 1", context_id=here) == "42"


def test_an_execution_goes_on_while_its_server_is_drained(nodes: Nodes) -> None:
    (_, one), (_, other) = nodes.start(), nodes.start()
    run_id = one.submit(
        "globalThis.n = 41; await new Promise((r) => setTimeout(r, 1500)); n",
        session="s",
    )
    (listed, _) = one.get("/cluster/servers").json()["items"]
    drained = other.post(f"/cluster/servers/{listed['id']}/drain")
    assert drained.status_code == 202
    assert one.ended(run_id)["result"] == "41"
    wait_for(lambda: other.get("/contexts/s").status_code == 200)
    assert other.result("n + 1", session="s") == "42"


def test_nobody_but_operators_may_know(nodes: Nodes) -> None:
    first, one = nodes.start()
    missing = one.post("/cluster/servers/nobody/drain")
    assert missing.status_code == 404
    assert missing.headers["X-Error-Code"] == "server_missing"
    assert first.stop() == 0


def test_what_could_not_be_made_is_owned_by_nobody(nodes: Nodes) -> None:
    _, one = nodes.start()
    kept = one.create()
    for _ in range(3):
        refused = one.post("/contexts", json={"packages": ["lodash-es"]})
        assert refused.status_code >= 400
    (server,) = one.get("/cluster/servers").json()["items"]
    assert server["contexts"] == 1
    assert one.text("1 + 1", context_id=kept) == "2"
