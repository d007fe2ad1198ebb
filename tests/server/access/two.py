"""A server with two workspaces, and things that one of them has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from tests.server.conftest import wait_for

if TYPE_CHECKING:
    from pathlib import Path

    from tests.server.conftest import Client, Server

RED, BLUE = (f"the-secret-key-of-{name}" for name in ("red", "blue"))
FILE = f"""
[[workspaces]]
name = "red"
execute_rate = 0
api_keys = [{{ key = "{RED}", client = "ci", admin = true }}]
[[workspaces]]
name = "blue"
execute_rate = 0
api_keys = [{{ key = "{BLUE}", client = "ci", admin = true }}]
"""
SESSION = "red-session"


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

    found: dict[str, Any] = wait_for(over)
    assert found["status"] == "completed", found
    return found


def use_session(client: Client) -> str:
    executed(client, session=SESSION)
    return SESSION
