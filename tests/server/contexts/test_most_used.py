"""Packages that people use: loaded offline, used, saved, used in another process.

`python -m tests.bench.bench_packages` has their times, and Deno beside them.
"""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import pytest
from tests.support.client import Client
from tests.support.packages import CACHE, PROGRAMS, Program, fetch_packages
from tests.support.server import JAVASCRIPT_FLAGS, Server

if TYPE_CHECKING:
    from collections.abc import Iterator

SECONDS = 100
FLAGS = (
    *("--modules", "on", "--package-offline", "--package-cache-dir", str(CACHE)),
    *("--checkpoint-timeout-seconds", str(SECONDS)),
)


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    names = sorted({f"npm:{program.package}" for program in PROGRAMS.values()})
    try:
        fetch_packages("most-used", "add", *names)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"the packages can't be fetched: {error}")
    server = Server(*JAVASCRIPT_FLAGS, *FLAGS)
    with Client(base_url=server.url, timeout=SECONDS) as client:
        client.get("/contexts")  # its connection is of all tests, not of the first
        yield client
    server.stop()
    assert not server.wrong()


def said(client: Client, code: str, context_id: str) -> tuple[str, str]:
    """What code has printed, and the message of its error."""
    body = {"code": code, "context_id": context_id, "timeout_ms": SECONDS * 1000}
    answer = client.post("/execute", json=body).json()
    error = answer["error"] or {"value": ""}
    return "\n".join(answer["logs"]["stdout"]), error["value"]


@pytest.mark.slow
@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
def test_a_package_works_here_and_in_the_process_that_goes_on(
    client: Client, program: Program
) -> None:
    here = client.create()
    name = json.dumps(f"npm:{program.specifier}")
    tell = f"console.log(String({program.code}))"
    load = f"globalThis.m = await import({name});"
    if program.fails:
        assert program.fails in said(client, load + tell, here)[1]
        client.delete(f"/contexts/{here}")
        return
    assert said(client, load + tell, here) == (program.result, "")
    answer = client.post(f"/contexts/{here}/checkpoint", json={})
    client.delete(f"/contexts/{here}")
    if program.unsaved:
        assert answer.status_code == 409
        assert program.unsaved in answer.json()["message"]
        return
    assert answer.status_code == 200, answer.text
    made = client.post("/contexts", json={"heap": answer.json()["heap"]})
    assert said(client, tell, made.json()["id"]) == (program.result, "")
    client.delete(f"/contexts/{made.json()['id']}")
