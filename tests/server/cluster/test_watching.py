"""The page of the servers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from tests.server.cluster.conftest import Nodes


def test_the_page_shows_servers_and_drains_one(nodes: Nodes) -> None:
    (first, client), (second, _) = nodes.start(), nodes.start()
    page = client.get("/ui/servers", headers={"Accept": "text/html"}).text
    assert first.url in page
    assert second.url in page
    assert page.count(">serving</span>") == 2
    assert 'aria-current="page">Servers</a>' in page
    items = client.get("/cluster/servers").json()["items"]
    [drained] = (item["id"] for item in items if item["url"] == second.url)
    answer = client.post(
        "/ui/servers", data={"server": drained}, headers={"Origin": first.url}
    )
    assert answer.status_code == 303
    wait_for(lambda: ">draining</span>" in client.get("/ui/servers").text)
    missing = client.post(
        "/ui/servers", data={"server": "nobody"}, headers={"Origin": first.url}
    )
    assert missing.status_code == 404
    foreign = client.post("/ui/servers", data={"server": drained})
    assert foreign.status_code == 403
