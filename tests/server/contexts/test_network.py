"""`fetch` on a server: files of the context, and one site that a policy names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psutil
import pytest
from tests.support.client import Client, connect
from tests.support.networks import Site, serve_site
from tests.support.server import V8_FLAGS, Server, run_server
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with serve_site() as site:
        yield site


@pytest.fixture(scope="module")
def server(site: Site) -> Iterator[Server]:
    allowed = ["--net", f"127.0.0.1:{site.port}", "--files", "on"]
    with run_server(*V8_FLAGS, *allowed) as made:
        yield made


@pytest.fixture
def client(server: Server, site: Site) -> Iterator[Client]:
    with connect(server) as made:
        yield made
        made.clean()
    site.end_connections()


def test_a_table_is_read_and_a_site_is_asked(client: Client, site: Site) -> None:
    context_id = client.create()
    path = f"/contexts/{context_id}/files/data.csv"
    assert client.put(path, content=b"name,value\na,1\n").status_code == 201
    code = f"""
        const table = await (await fetch("data.csv")).text();
        const form = new FormData();
        form.append("table", new File([table], "data.csv"));
        const options = {{ method: "POST", body: form }};
        const answer = await fetch("{site.url}/count", options);
        [table, (await answer.json()) > table.length]
    """
    found = client.text(code, context_id=context_id)
    assert found == "[ 'name,value\\na,1\\n', true ]"


def test_what_no_policy_names_is_denied(client: Client, site: Site) -> None:
    for host in ("localhost", "[::1]", "[::ffff:127.0.0.1]", "169.254.169.254"):
        code = f"await fetch('http://{host}:{site.port + 1}/').catch((e) => e.message)"
        assert "no policy" in client.text(code), host


def test_megabytes_come_through(client: Client, site: Site) -> None:
    url = f"{site.url}/pieces?count=80&size=100000"
    code = f"(await (await fetch('{url}')).bytes()).length"
    assert client.text(code) == "8000000"


def test_a_context_that_ends_takes_its_requests_along(
    client: Client, site: Site
) -> None:
    before = len(site.seen)
    client.run(f"pending = fetch('{site.url}/pieces?count=2&size=9&gate=ended'); 0")
    wait_for(lambda: len(site.seen) > before)
    client.clean()
    site.open_gate("ended")
    wait_for(lambda: site.live == 0)


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/wait?gate=stop", "console.log('waits'); await answer"),
        (
            "/pieces?count=2&size=9&gate=stop",
            "const body = (await answer).body.getReader(); await body.read();"
            "const rest = body.read(); console.log('waits'); await rest",
        ),
    ],
    ids=["no response", "a part of it"],
)
def test_an_interrupted_cell_gives_its_requests_up(
    server: Server, client: Client, site: Site, path: str, code: str
) -> None:
    """Whether their responses have begun or not; that of another cell goes on."""
    context_id = client.create()
    before = len(site.seen)
    other = f"other = fetch('{site.url}/wait?gate=other').then((r) => r.text()); 0"
    client.run(other, context_id=context_id)
    execution = client.submit(
        f"const answer = fetch('{site.url}{path}'); {code}", session=context_id
    )
    wait_for(lambda: len(site.seen) == before + 2)
    wait_for(lambda: client.output(execution)["data"] == "waits")

    def connections() -> int:
        """Those of the server to the site, which looks at none while it waits."""
        found = psutil.Process(server.process.pid).net_connections("tcp")
        return sum(
            one.raddr[1:] == (site.port,) and one.status == psutil.CONN_ESTABLISHED
            for one in found
        )

    assert connections() == 2
    client.post(f"/contexts/{context_id}/interrupt")
    assert client.ended(execution)["status"] == "failed"
    wait_for(lambda: connections() == 1)
    site.open_gate("stop")
    site.open_gate("other")
    assert client.text("await other", context_id=context_id) == "'at last'"


def test_a_fork_has_lost_what_was_under_way(client: Client, site: Site) -> None:
    context_id = client.create()
    code = f"pending = fetch('{site.url}/wait?gate=fork').then((r) => r.text()); 0"
    client.run(code, context_id=context_id)
    answer = client.post(f"/contexts/{context_id}/fork", json={})
    fork = answer.json()["id"]
    failed = client.text("await pending.catch((e) => e.cause.code)", context_id=fork)
    assert failed == "'call_lost'"
    site.open_gate("fork")
    assert client.text("await pending", context_id=context_id) == "'at last'"
