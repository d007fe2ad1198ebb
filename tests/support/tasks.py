"""A server whose tasks have tools, and a client of its tasks."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from tests.support.programs import TOOLBOX
from tests.support.server import Server
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.client import Client


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
        return wait_for(
            lambda: (
                shown if (shown := self.show(task_id))["status"] in statuses else None
            )
        )

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


def serve_tasks(folder: Path, *flags: str) -> Server:
    if not (folder / "answers").exists():
        os.mkfifo(folder / "answers")
    # The tests run more than anybody may.
    flags = ("--execute-rate-per-minute", "0", "--python-spares", "0", *flags)
    return Server(*flags, program=(str(TOOLBOX), str(folder)))
