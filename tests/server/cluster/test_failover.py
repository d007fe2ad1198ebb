"""A server is lost: others go on from the last checkpoints, and it can't write."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from tests.server.cluster.conftest import found

if TYPE_CHECKING:
    from tests.server.cluster.conftest import Nodes


def test_a_killed_server_s_contexts_go_on_elsewhere(nodes: Nodes) -> None:
    first, one = nodes.start()
    _, other = nodes.start()
    saved, unsaved = one.create(), one.create()
    one.run("let n = 41", context_id=saved)
    assert one.post(f"/contexts/{saved}/checkpoint").status_code == 200
    one.run("n = 1000", context_id=saved)
    refused = other.get(f"/contexts/{saved}")
    assert refused.status_code == 421
    assert refused.headers["X-Isokernel-Owner"] == first.url
    first.stop(signal.SIGKILL)
    shown = found(other, saved)
    assert "what ran after its checkpoint" in shown["reason"]
    assert other.text("n + 1", context_id=saved) == "42"
    assert found(other, unsaved)["state"] == "dead"
