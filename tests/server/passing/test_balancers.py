"""nginx in front of several servers, configured as the documents say."""

from __future__ import annotations

import asyncio
import re
import shutil
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from tests.support.clusters import AnyServer
from tests.support.fronts import Front
from tests.support.server import JAVASCRIPT_FLAGS
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.postgresql import PostgreSQL

DOCUMENT = Path(__file__).parents[3] / "docs" / "cluster.md"
KEY = "the-secret-key-of-somebody"
NGINX = shutil.which("nginx", path="/usr/sbin:/usr/bin:/bin")
CONFIGURATION = """
daemon off; master_process off; pid {folder}/pid; error_log stderr;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {example}
}}
"""

pytestmark = [
    pytest.mark.skipif(NGINX is None, reason="nginx isn't installed"),
    pytest.mark.timeout(180),  # two servers start with the first
]


@pytest.fixture(scope="module")
def both(postgresql: PostgreSQL) -> Iterator[AnyServer]:
    """Two servers that believe what nginx says."""
    flags = ("--api-key", KEY, "--trusted-proxies", "127.0.0.1")
    rate = ("--failure-rate-per-minute", "5")
    servers = AnyServer(
        2, postgresql.database(), *JAVASCRIPT_FLAGS, *flags, *rate, key=KEY
    )
    yield servers
    assert servers.stop() == 0


@pytest.fixture(scope="module")
def balancer(
    both: AnyServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Where nginx listens."""
    assert NGINX is not None
    folder = tmp_path_factory.mktemp("nginx")
    example = re.search(r"```nginx.*?\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert example is not None
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    places = "".join(
        f"server {server.url.removeprefix('http://')};" for server in both.servers
    )
    text = re.sub(r"(?:server 10\.\S+;\s*)+", places, example[1])
    text = text.replace("listen 80;", f"listen 127.0.0.1:{port};")
    file = folder / "nginx.conf"
    file.write_text(CONFIGURATION.format(folder=folder, example=text))
    with subprocess.Popen(
        [NGINX, "-e", "stderr", "-p", str(folder), "-c", str(file)],
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        url = f"http://127.0.0.1:{port}"

        def answers() -> bool:
            assert process.poll() is None, process.communicate()[1]
            try:
                return httpx.get(f"{url}/healthz").status_code == 200
            except httpx.TransportError:
                return False

        wait_for(answers)
        yield url
        process.terminate()
        process.communicate()


def client(balancer: str, address: str = "127.0.0.1", key: str = KEY) -> httpx.Client:
    """A client with an address of its own."""
    return httpx.Client(
        base_url=balancer,
        headers={"X-API-Key": key},
        transport=httpx.HTTPTransport(local_address=address),
        timeout=20,
    )


def test_one_client_s_wrong_keys_are_its_own(balancer: str) -> None:
    with client(balancer, "127.0.0.2", "a-wrong-key-of-theirs") as guessing:
        # To name others doesn't help: nginx adds whom it sees.
        headers = {"X-Forwarded-For": "127.0.0.3", "Forwarded": "for=127.0.0.3"}
        statuses: set[int] = set()

        def refused() -> bool:
            answer = guessing.get("/contexts", headers=headers)
            statuses.add(answer.status_code)
            return answer.status_code == 429

        wait_for(refused)
        assert statuses == {401, 429}
    with client(balancer, "127.0.0.3") as another:
        assert {another.get("/contexts").status_code for _ in range(4)} == {200}


def test_events_files_and_fronts_pass(balancer: str) -> None:
    """As they come, and whichever server nginx asks for what."""
    with client(balancer, "127.0.0.4") as one:
        here = one.post("/contexts", json={"language": "javascript"}).json()["id"]
        data = b"\x00\xff" * 600_000
        place = f"/contexts/{here}/files/data"
        assert one.put(place, content=data).status_code == 201
        for _ in range(4):
            assert one.get(place).content == data
        code = "console.log('begun'); await new Promise(() => {})"
        asked = {"code": code, "context_id": here}
        with one.stream("POST", "/execute/async", json=asked) as answer:
            lines = answer.iter_lines()
            assert any("begun" in line for line in lines)
            assert one.post(f"/contexts/{here}/interrupt").status_code == 200
            assert any("KeyboardInterrupt" in line for line in lines)

        async def use() -> None:
            url = (
                f"{balancer.replace('http', 'ws')}/jupyter/api/kernels/{here}/channels"
            )
            front = await Front(url, headers={"X-API-Key": KEY}).connect()
            assert (await front.run("1 + 1"))["status"] == "ok"
            await front.close()

        asyncio.run(use())
        assert one.delete(f"/contexts/{here}").status_code == 204
