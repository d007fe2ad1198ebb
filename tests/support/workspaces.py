"""A server with two workspaces, and things that one of them has."""

from __future__ import annotations

import contextlib
import secrets
import sqlite3
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.client import Client
    from tests.support.server import Server


RED, BLUE = (f"the-secret-key-of-{name}" for name in ("red", "blue"))
FILE = f"""
[[workspaces]]
name = "red"
execute_rate_per_minute = 0
api_keys = [{{ key = "{RED}", client = "ci", admin = true }}]
[[workspaces]]
name = "blue"
execute_rate_per_minute = 0
api_keys = [{{ key = "{BLUE}", client = "ci", admin = true }}]
"""


class Two(NamedTuple):
    """A server, its data folder, and a client in each of its workspaces."""

    server: Server
    folder: Path
    red: Client
    blue: Client


def executed(client: Client, **fields: Any) -> dict[str, Any]:
    """An execution that is over."""
    answer = client.post("/api/exec", json={"code": "var mine = 'red'", **fields})
    assert answer.status_code == 202, answer.text
    place = f"/api/executions/{answer.json()['execution_id']}"

    def over() -> dict[str, Any] | None:
        shown: dict[str, Any] = client.get(place).json()
        return shown if shown["completed_at"] else None

    found = wait_for(over)
    assert found["status"] == "completed", found
    return found


def use_session(client: Client) -> str:
    """The name of a session that was used, which no other test knows."""
    session = f"session-{secrets.token_hex(4)}"
    executed(client, session=session)
    return session


def make_task(client: Client) -> str:
    """The id of a task that has ended, so that it stays as it is."""
    answer = client.post("/tasks", json={"code": "return 1", "waitForResult": True})
    assert answer.status_code == 200, answer.text
    made = answer.json()
    assert made["status"] == "completed", made
    return str(made["taskId"])


def make_approval(two: Two) -> str:
    """One that waits for a decision, as a call of a task's leaves it."""
    made = {
        "id": secrets.token_urlsafe(24),
        "workspace": "red",
        **dict.fromkeys(("task_id", "call_id", "client", "path"), "red"),
        **dict.fromkeys(("description", "input", "rule", "reason", "decided_by"), ""),
        "state": "pending",
        "created_at": time.time(),
        "expires_at": time.time() + 600,
    }
    columns, places = ", ".join(made), ", ".join("?" * len(made))
    with contextlib.closing(sqlite3.connect(two.folder / "isokernel.sqlite")) as base:
        text = f"INSERT INTO tool_approvals ({columns}) VALUES ({places})"  # noqa: S608
        base.execute(text, list(made.values()))
        base.commit()
    return str(made["id"])
