"""The published client library of the API drives our server, unmodified."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from tests.support.programs import LEAP0_CLIENT

if TYPE_CHECKING:
    from tests.support.client import Client
    from tests.support.server import Server

PYTHON = os.environ.get("ISOKERNEL_TEST_LEAP0_PYTHON", sys.executable)
"""A Python 3.12 or newer that has `leap0`: the library can't be imported by others."""


@pytest.fixture
def interpreter() -> str:
    """A Python that can import the library."""
    tried = subprocess.run(
        [PYTHON, "-c", "import leap0"], capture_output=True, check=False, timeout=60
    )
    if tried.returncode:
        pytest.skip(
            "needs Python 3.12+ with the package leap0 (its version 0.8 fails to "
            "import on older ones): set ISOKERNEL_TEST_LEAP0_PYTHON to one"
        )
    return PYTHON


def test_the_published_client(interpreter: str, server: Server, client: Client) -> None:
    done = subprocess.run(
        [interpreter, str(LEAP0_CLIENT), server.url],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "kept": True,
        "counts": [1, 2],
        "text": "42",
        "stdout": ["printed"],
        "error": "ZeroDivisionError",
        "events": [["stdout", "6", None], ["exit", "", 0]],
        "problems": [
            ["Leap0Error", "Invalid request"],
            ["Leap0NotFoundError", "Context nobody not found"],
        ],
        "left": 0,
    }
    assert client.get("/contexts").json() == {"items": []}
