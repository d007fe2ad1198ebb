"""One of several workspaces leaves something for the others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.support.client import connect
from tests.support.waiting import wait_for
from tests.support.workspaces import BLUE, FILE, RED, executed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.server import Server

LOOP = "while (true) {}"
FLAGS = (
    *("--languages", "javascript,typescript", "--default-language", "javascript"),
    *(
        "--contexts-max",
        "4",
        "--executions-running-max",
        "2",
        "--executions-queued-max",
        "2",
    ),
    *("--tasks-unfinished-max", "4", "--tasks-running-max", "2"),
)


def test_one_workspace_does_not_starve_another(
    tmp_path: Path, servers: Callable[..., Server]
) -> None:
    file = tmp_path / "isokernel.toml"
    file.write_text(FILE)
    server = servers("--config", str(file), "--data-dir", str(tmp_path), *FLAGS)
    with connect(server, **{"X-API-Key": RED}) as red:
        for path, body, status, word in (
            ("/contexts", {}, 201, "contexts"),
            ("/api/exec", {"code": LOOP}, 202, "executions"),
            ("/tasks", {"code": LOOP}, 202, "tasks"),
        ):
            answers = [red.post(path, json=body) for _ in range(3)]
            assert [one.status_code for one in answers] == [status, status, 429]
            said = f"the workspace's share of 2 {word} is used up (workspace_share)"
            assert said in answers[2].text
        with connect(server, **{"X-API-Key": BLUE}) as blue:
            assert blue.post("/contexts", json={}).status_code == 201
            assert executed(blue)["status"] == "completed"
            order = {"code": "return 1", "waitForResult": True}
            assert blue.post("/tasks", json=order).json()["status"] == "completed"
            blue.clean()
        red.clean()
        for one in red.get("/api/executions").json()["executions"]:
            red.post(f"/api/executions/{one['execution_id']}/cancel")
        for one in red.get("/tasks").json()["tasks"]:
            red.post(f"/tasks/{one['taskId']}/cancel")
        wait_for(lambda: red.post("/tasks", json={"code": "1"}).status_code == 202)


def test_a_workspace_alone_has_everything(servers: Callable[..., Server]) -> None:
    with connect(servers(*FLAGS)) as client:
        answers = [client.post("/contexts", json={}) for _ in range(5)]
        assert [one.status_code for one in answers] == [*[201] * 4, 429]
        assert (
            "the limit of 4 contexts is reached (contexts_max)"
            in answers[4].json()["message"]
        )


def test_heaps_and_sleepers_are_shared(
    tmp_path: Path, servers: Callable[..., Server]
) -> None:
    file = tmp_path / "isokernel.toml"
    file.write_text(FILE)
    bounds = ("--heaps-total-bytes-max", "2000000", "--hibernated-contexts-max", "2")
    flags = (*FLAGS[:4], *bounds, "--hibernate-after-seconds", "0.2")
    server = servers("--config", str(file), "--data-dir", str(tmp_path), *flags)
    with (
        connect(server, **{"X-API-Key": RED}) as red,
        connect(server, **{"X-API-Key": BLUE}) as blue,
    ):
        reds = [red.create() for _ in range(2)]
        wait_for(lambda: "hibernated" in [red.show(one)["state"] for one in reds])
        # There is a place left, but for the other one.
        blue.wait_state(blue.create(), "hibernated")
        states = sorted(red.show(one)["state"] for one in reds)
        assert states == ["hibernated", "idle"]

        def fill() -> str:
            made = executed(red, code=f"globalThis.a = '{len(answers)}'; 1")
            answers.append(made)
            return str(made["heap_error"] or "")

        answers: list[Any] = []
        assert "share of 1000000 bytes of heaps is used up" in wait_for(fill)
        saved = executed(blue)
        assert saved["heap"], saved
        red.clean()
        blue.clean()
