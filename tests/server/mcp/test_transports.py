"""MCP over HTTP: what is checked, what is refused, streams and their ends."""

from __future__ import annotations

import json
import signal
import socket
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest
from tests.support.agents import (
    BOTH,
    HANDSHAKE,
    INITIALIZE,
    NETWORK,
    Way,
    connect_agent,
)
from tests.support.client import NO_TLS, connect
from tests.support.waiting import DEADLINE, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.client import Client
    from tests.support.server import Server

pytestmark = pytest.mark.anyio


def _post(client: Client, content: Any, **headers: str) -> httpx.Response:
    return client.post("/mcp", json=content, headers={"Accept": BOTH, **headers})


def _event(answer: httpx.Response) -> Any:
    """The message of an answer, which comes as the only event of a stream."""
    (line,) = [line for line in answer.text.splitlines() if line.startswith("data:")]
    return json.loads(line.removeprefix("data:"))


@pytest.mark.parametrize("way", NETWORK, ids=str)
async def test_the_server_says_who_it_is(server: Server, way: Way) -> None:
    async with connect_agent(server.url, way) as agent:
        assert agent.server_info is not None
        assert agent.server_info.name == "isokernel"
        assert "run_js" in (agent.instructions or "")
        modern = way.era != HANDSHAKE
        assert (agent.protocol_version == "2026-07-28") == modern


def test_older_versions_are_spoken(client: Client) -> None:
    for version in ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"):
        asked = json.loads(json.dumps(INITIALIZE))
        asked["params"]["protocolVersion"] = version
        answer = _post(client, asked)
        assert _event(answer)["result"]["protocolVersion"] == version
        _end(client, answer)


def _end(client: Client, answer: httpx.Response) -> None:
    headers = {"Mcp-Session-Id": answer.headers["mcp-session-id"]}
    assert client.delete("/mcp", headers=headers).status_code == 200


def test_what_the_client_must_accept(client: Client) -> None:
    for accept in ("application/json", "text/html", ""):
        answer = client.post("/mcp", json=INITIALIZE, headers={"Accept": accept})
        assert answer.status_code == 406
        assert "Not Acceptable" in answer.json()["error"]["message"]


def test_a_body_that_is_no_json(client: Client) -> None:
    headers = {"Accept": BOTH, "Content-Type": "application/json"}
    answer = client.post("/mcp", content=b"{", headers=headers)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == -32700


def test_unknown_connections_and_methods(client: Client) -> None:
    answer = _post(client, INITIALIZE, **{"Mcp-Session-Id": "nope"})
    assert answer.status_code == 404
    assert client.put("/mcp").status_code == 405
    assert client.post("/sse").status_code == 405
    assert client.get("/messages/").status_code == 405
    assert client.post("/messages/?session_id=00").status_code == 400


def test_large_bodies_are_refused(client: Client) -> None:
    answer = _post(client, {**INITIALIZE, "x": "y" * (11 << 20)})
    assert answer.status_code == 413


def test_other_hosts_and_origins_are_refused(client: Client) -> None:
    evil = ({"Host": "evil.example"}, {"Origin": "https://evil.example"})
    for method, path in (("POST", "/mcp"), ("GET", "/sse"), ("POST", "/messages/")):
        for headers in evil:
            answer = client.request(method, path, headers=headers)
            assert answer.status_code == 403, answer.text


async def test_keys_are_asked_for(servers: Callable[..., Server]) -> None:
    server = servers("--api-key", "secret")
    with connect(server) as client:
        for method, path in (("POST", "/mcp"), ("GET", "/sse"), ("POST", "/messages/")):
            assert client.request(method, path).status_code == 401
    headers = {"Authorization": "Bearer secret"}
    for way in NETWORK:
        async with connect_agent(server.url, way, headers) as agent:
            assert (await agent.list_tools()).tools


def test_pages_may_call_and_connections_are_bounded(
    servers: Callable[..., Server],
) -> None:
    server = servers("--cors-origin", "https://a.example", "--mcp-connections-max", "1")
    with connect(server, Origin="https://a.example") as client:
        asked = "content-type, mcp-session-id, mcp-protocol-version"
        headers = {"Access-Control-Request-Headers": asked}
        answer = client.options("/mcp", headers=headers)
        assert answer.headers["access-control-allow-headers"] == asked
        answer = _post(client, INITIALIZE)
        exposed = answer.headers["access-control-expose-headers"]
        assert "Mcp-Session-Id" in exposed
        assert _post(client, INITIALIZE).status_code == 503
        _end(client, answer)
        assert _post(client, INITIALIZE).status_code == 200


async def test_two_clients_at_once(server: Server) -> None:
    async with (
        connect_agent(server.url, Way("http", HANDSHAKE)) as first,
        connect_agent(server.url, Way("sse", HANDSHAKE)) as second,
    ):
        for agent in (first, second, first):
            assert (await agent.list_tools()).tools


def test_streams_end_with_the_server(servers: Callable[..., Server]) -> None:
    server = servers()
    with connect(server) as client:
        opened = _post(client, INITIALIZE)
        headers = {
            "Accept": "text/event-stream",
            "Mcp-Session-Id": opened.headers["mcp-session-id"],
        }
        with (
            client.stream("GET", "/mcp", headers=headers) as one,
            client.stream("GET", "/sse") as two,
        ):
            assert (one.status_code, two.status_code) == (200, 200)
            server.process.send_signal(signal.SIGTERM)
            for stream in (one, two):
                for _ in stream.iter_raw():
                    pass
    assert server.stop() == 0


def test_a_client_that_is_gone_leaves_nothing(server: Server) -> None:
    ended = server.log().count('"route":"/sse"')
    with connect(server) as client:
        with client.stream("GET", "/sse") as stream:
            next(stream.iter_raw())
        client.close()
    # The fixture looks at what is left of files and processes.
    wait_for(lambda: server.log().count('"route":"/sse"') > ended)


async def test_requests_race_with_the_end_of_their_connection(server: Server) -> None:
    failed = server.log().count('"event":"failed"')
    pings = [{"jsonrpc": "2.0", "id": n, "method": "ping"} for n in range(2, 7)]
    note = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    async with httpx.AsyncClient(
        base_url=server.url, timeout=DEADLINE, verify=NO_TLS
    ) as client:
        for turn in range(40):
            headers = {"Accept": BOTH}
            opened = await client.post("/mcp", json=INITIALIZE, headers=headers)
            headers["Mcp-Session-Id"] = opened.headers["mcp-session-id"]
            wanted = [pings[0], note, None]
            for ping in pings[1 : 2 + turn % 4]:
                wanted += [note, ping]
            statuses: list[int] = []

            async def send(
                content: Any, headers: dict[str, str], statuses: list[int]
            ) -> None:
                method = "DELETE" if content is None else "POST"
                answer = await client.request(
                    method, "/mcp", json=content, headers=headers
                )
                statuses.append(answer.status_code)

            async with anyio.create_task_group() as group:
                for content in wanted:
                    group.start_soon(send, content, headers, statuses)
            assert len(statuses) == len(wanted)
            assert set(statuses) <= {200, 202, 404}
    assert server.log().count('"event":"failed"') == failed


def test_a_client_that_does_not_read_is_cut_off(servers: Callable[..., Server]) -> None:
    server = servers("--stream-stall-timeout-seconds", "0.2", "--stateless")
    code = "for (let i = 0; i < 30; i++) console.log('x'.repeat(10000))"
    body = json.dumps(
        {
            "jsonrpc": "2.0",
            "id": 2,
            "method": "tools/call",
            "params": {"name": "run_js", "arguments": {"code": code}},
        }
    ).encode()
    with connect(server) as client:
        opened = _post(client, INITIALIZE)
        session = opened.headers["mcp-session-id"]
    host, _, port = server.url.removeprefix("http://").partition(":")
    with socket.socket() as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.settimeout(DEADLINE)
        raw.connect((host, int(port)))
        head = (
            f"POST /mcp HTTP/1.1\r\nHost: {host}\r\nAccept: {BOTH}\r\n"
            f"Content-Type: application/json\r\nMcp-Session-Id: {session}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        # Each answer is cut to what clients take; all of them fill any buffer.
        raw.sendall((head.encode() + body) * 60)
        wait_for(lambda: '"event":"stalled"' in server.log())
    with connect(server) as client:
        assert client.get("/healthz").status_code == 200
