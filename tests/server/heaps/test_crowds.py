"""Several processes' heaps in one store: what one owns is there, whatever others do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.heaps import Packed

BOUNDS = {"workspace_heaps_max": 2, "heaps_total_bytes_max": 700_000}
"""Of one workspace and of all, so that something has to go again and again."""
SETTINGS = {**BOUNDS, "heap_grace_seconds": 0.0, "heap_compression_level": -7}
HEAP_USERS = "tests.support.programs.heap_users"
PROCESSES = 3
"""As a server and commands beside it are; each has locks of its own."""
TURNS = 12
SECONDS = 100

pytestmark = [pytest.mark.slow, pytest.mark.race]


@pytest.fixture
def store(
    request: pytest.FixtureRequest, database_url: str
) -> tuple[str | None, dict[str, str]]:
    """Where heaps are, and the variables that lead there: far away as the database."""
    if database_url.startswith("sqlite"):
        return None, {}
    found: tuple[str, dict[str, str]] = request.getfixturevalue("bucket")
    return found


@pytest.fixture
def start(
    tmp_path: Path,
    packed: list[Packed],
    database_url: str,
    store: tuple[str | None, dict[str, str]],
) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a process of the crowd."""
    files = [tmp_path / f"{one.key}.heap" for one in packed[:3]]
    for file, one in zip(files, packed, strict=False):
        file.write_bytes(one.data)
    url, variables = store
    started: list[subprocess.Popen[str]] = []

    def call(turns: int, seed: int = 0) -> subprocess.Popen[str]:
        settings = {
            **SETTINGS,
            "data_dir": str(tmp_path),
            "heap_store": url,
        }
        asked = {
            "settings": settings,
            "database": database_url,
            "files": [str(file) for file in files],
            "turns": turns,
            "seed": seed,
        }
        process = subprocess.Popen(
            [sys.executable, "-m", HEAP_USERS, json.dumps(asked)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **variables},
        )
        started.append(process)
        return process

    yield call
    for process in started:
        process.kill()
        process.communicate()


def _said(process: subprocess.Popen[str], seconds: float) -> Any:
    output, errors = process.communicate(timeout=seconds)
    assert process.returncode == 0, errors
    return json.loads(output)


def test_what_is_owned_is_there(
    start: Callable[..., subprocess.Popen[str]], times: int
) -> None:
    running = [start(TURNS * times, seed) for seed in range(PROCESSES)]
    done: Counter[str] = Counter()
    for process in running:
        done.update(_said(process, SECONDS * times))
    assert set(done) == {"keep", "load", "delete", "evict"}
    left = _said(start(0), SECONDS)
    assert left["files"] == [[key, "whole"] for key in left["owned"]]
