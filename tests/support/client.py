"""A client of the HTTP API."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

import httpx
from tests.support.waiting import DEADLINE, wait_for

if TYPE_CHECKING:
    from tests.support.server import Server


NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Trusts nobody. Reading whom to trust takes a client 50 ms, and tests ask by HTTP."""
CLIENT = httpx.Client(
    timeout=DEADLINE,
    limits=httpx.Limits(max_keepalive_connections=0),
    verify=NO_TLS,
)
"""For single requests to any server; leaves no connection behind."""


class Client(httpx.Client):
    """The API, as tests use it."""

    def run(self, code: str, status: int = 200, **fields: Any) -> dict[str, Any]:
        """POST /execute, in JavaScript unless the fields say otherwise."""
        if "context_id" not in fields:
            fields.setdefault("language", "javascript")
        answer = self.post("/execute", json={"code": code, **fields})
        assert answer.status_code == status, answer.text
        result: dict[str, Any] = answer.json()
        return result

    def text(self, code: str, **fields: Any) -> Any:
        """The text of a cell's result; the cell must not fail."""
        result = self.run(code, **fields)
        assert result["error"] is None, result["error"]
        return result["items"][-1]["text"] if result["items"] else None

    def create(self, language: str = "javascript") -> str:
        """POST /contexts; its id."""
        answer = self.post("/contexts", json={"language": language})
        assert answer.status_code == 201, answer.text
        context_id: str = answer.json()["id"]
        return context_id

    def show(self, context_id: str) -> dict[str, Any]:
        """GET /contexts/{id}."""
        answer = self.get(f"/contexts/{context_id}")
        assert answer.status_code == 200, answer.text
        shown: dict[str, Any] = answer.json()
        return shown

    def wait_state(self, context_id: str, state: str) -> dict[str, Any]:
        """Wait until a context is at something."""
        return wait_for(
            lambda: (
                shown if (shown := self.show(context_id))["state"] == state else None
            )
        )

    def clean(self) -> None:
        """Delete every context."""
        for context in self.get("/contexts").json()["items"]:
            assert self.delete(f"/contexts/{context['id']}").status_code == 204

    def submit(self, code: str, **fields: Any) -> str:
        """POST /api/exec; the execution's id."""
        answer = self.post("/api/exec", json={"code": code, **fields})
        assert answer.status_code == 202, answer.text
        assert set(answer.json()) == {"execution_id"}
        execution_id: str = answer.json()["execution_id"]
        return execution_id

    def info(self, execution_id: str) -> dict[str, Any]:
        """GET /api/executions/{id}."""
        answer = self.get(f"/api/executions/{execution_id}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def ended(self, execution_id: str) -> dict[str, Any]:
        """Wait for the end of an execution; what it is then."""

        def look() -> dict[str, Any] | None:
            info = self.info(execution_id)
            return None if info["status"] == "running" else info

        return wait_for(look)

    def done(self, code: str, **fields: Any) -> dict[str, Any]:
        """Run code to its end."""
        return self.ended(self.submit(code, **fields))

    def result(self, code: str, **fields: Any) -> Any:
        """The result of code, which must not fail."""
        info = self.done(code, **fields)
        assert info["status"] == "completed", info
        return info["result"]

    def output(self, execution_id: str, **asked: Any) -> dict[str, Any]:
        """GET /api/executions/{id}/output."""
        answer = self.get(f"/api/executions/{execution_id}/output", params=asked)
        assert answer.status_code == 200, answer.text
        page: dict[str, Any] = answer.json()
        return page

    def printed_text(self, code: str, **fields: Any) -> Any:
        """All that code prints; the code may fail."""
        info = self.done(code, **fields)
        return self.output(info["execution_id"], byte_offset=0, byte_limit=1 << 20)[
            "data"
        ]

    def printed(self, execution_id: str, text: str) -> None:
        """Wait until a text is among what an execution has printed."""
        asked = {"byte_offset": 0, "byte_limit": 1 << 20}
        wait_for(lambda: text in self.output(execution_id, **asked)["data"])

    def cancel(self, execution_id: str, status: int = 200) -> dict[str, Any]:
        """POST /api/executions/{id}/cancel."""
        answer = self.post(f"/api/executions/{execution_id}/cancel")
        assert answer.status_code == status, answer.text
        found: dict[str, Any] = answer.json()
        return found


def connect(server: Server, **headers: str) -> Client:
    """A client for a server."""
    limits = httpx.Limits(max_connections=None)
    return Client(
        base_url=server.url,
        timeout=DEADLINE,
        headers=headers,
        limits=limits,
        verify=NO_TLS,
        transport=server.transport(),
    )
