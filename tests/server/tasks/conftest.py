"""A server whose tasks have tools, and what tests do with it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.server.conftest import Client, Server, connect, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PROGRAM = Path(__file__).with_name("toolbox.py")
AT_REST = 4
"""Processes that a server without contexts has: the fork server, two spare ones, and
what type checks are forked from."""


class Tasks:
    """The API of tasks, and the other end of their tools."""

    def __init__(self, server: Server, client: Client, folder: Path) -> None:
        self.server = server
        self.client = client
        self.folder = folder

    def post(self, code: str, **fields: Any) -> Any:
        """POST /tasks."""
        return self.client.post("/tasks", json={"code": code, **fields})

    def run(self, code: str, **fields: Any) -> dict[str, Any]:
        """Run a task to its end."""
        answer = self.post(code, waitForResult=True, **fields)
        assert answer.status_code == 200, answer.text
        task: dict[str, Any] = answer.json()
        return task

    def result(self, code: str, **fields: Any) -> Any:
        """The value of a task, which must complete."""
        task = self.run(code, **fields)
        assert task["status"] == "completed", task
        return task["result"]

    def start(self, code: str, **fields: Any) -> str:
        """Start a task; its id."""
        answer = self.post(code, **fields)
        assert answer.status_code == 202, answer.text
        task_id: str = answer.json()["taskId"]
        return task_id

    def show(self, task_id: str) -> dict[str, Any]:
        """GET /tasks/{id}."""
        answer = self.client.get(f"/tasks/{task_id}")
        assert answer.status_code == 200, answer.text
        task: dict[str, Any] = answer.json()
        return task

    def wait(self, task_id: str, *statuses: str) -> dict[str, Any]:
        """Wait until a task is at something."""
        task: dict[str, Any] = wait_for(
            lambda: (
                shown if (shown := self.show(task_id))["status"] in statuses else None
            )
        )
        return task

    def cancel(self, task_id: str) -> Any:
        """POST /tasks/{id}/cancel."""
        return self.client.post(f"/tasks/{task_id}/cancel")

    def told(self, name: str) -> None:
        """Wait until the tools have told of something."""
        wait_for((self.folder / name).exists)

    def answer(self, name: str, text: str) -> None:
        """Approve a call with `yes`, or deny it with a reason."""
        self.told(f"asked-{name}")
        with open(self.folder / "answers", "w") as pipe:  # noqa: PTH123
            pipe.write(f"{name} {text}\n")


def _start(folder: Path, *flags: str) -> Server:
    if not (folder / "answers").exists():
        os.mkfifo(folder / "answers")
    # The tests run more than anybody may.
    flags = ("--execute-rate-per-minute", "0", *flags)
    return Server(*flags, program=(str(PROGRAM), str(folder)))


@pytest.fixture(scope="session")
def shared_tasks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tasks]:
    folder = tmp_path_factory.mktemp("tools")
    server = _start(
        folder, "--interrupt-grace-seconds", "1", "--tool-response-bytes-max", "1000000"
    )
    try:
        with connect(server) as client:
            tasks = Tasks(server, client, folder)
            tasks.run("return 1", typecheck=True)
            server.files_at_rest = server.files()
            yield tasks
    finally:
        status = server.stop()
    assert status == 0


@pytest.fixture
def tasks(shared_tasks: Tasks) -> Iterator[Tasks]:
    """The shared server, which has no context left of the test afterwards."""
    yield shared_tasks
    for status in ("queued", "running", "waiting_for_approval"):
        for task in shared_tasks.client.get(f"/tasks?status={status}").json()["tasks"]:
            shared_tasks.cancel(task["taskId"])
    shared_tasks.client.clean()
    server = shared_tasks.server
    wait_for(lambda: len(server.children()) <= AT_REST)
    wait_for(lambda: server.files() <= server.files_at_rest)


@pytest.fixture
def start_tasks(
    tmp_path: Path,
) -> Iterator[Callable[..., Tasks]]:
    """Starts servers with flags of one's own; stops them at the end."""
    started: list[Tasks] = []

    def start(*flags: str) -> Tasks:
        server = _start(tmp_path, *flags)
        started.append(Tasks(server, connect(server), tmp_path))
        return started[-1]

    yield start
    for tasks in started:
        tasks.client.close()
        if not tasks.server.errors.closed:
            tasks.server.stop()
        assert not tasks.server.wrong()
