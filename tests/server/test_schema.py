"""schemathesis over the OpenAPI document: no 500, every answer as declared."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from tests.support.client import connect

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.server import Server

HOOKS = "tests.support.programs.schemathesis_hooks"
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,"
    "response_schema_conformance,negative_data_rejection,unsupported_method"
)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_document_holds(servers: Callable[..., Server]) -> None:
    pytest.importorskip("schemathesis")
    flags = ("--languages", "javascript,typescript", "--default-language", "js")
    server: Server = servers(
        *flags, "--contexts-max", "20", "--context-ttl-seconds", "5"
    )
    done = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "run"),
            f"{server.url}/openapi.json",
            *("--checks", CHECKS, "--max-examples", "25", "--seed", "1"),
            *("--request-timeout", "40", "--no-color"),
        ],
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
        env={**os.environ, "SCHEMATHESIS_HOOKS": HOOKS},
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    with connect(server) as client:
        assert client.get("/healthz").status_code == 200
