"""`tools` without a server around them: sources, a database, and calls."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.tools import SECONDS, World, run_scenario

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from tests.support.services import Services


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[..., None]]:
    """Runs a scenario with tools of its own."""
    log = tmp_path / "log"

    def start(
        scenario: Callable[[World], Awaitable[None]],
        *,
        sources: Callable[[Services], list[dict[str, Any]]] | None = None,
        url: str | None = None,
        **settings: Any,
    ) -> None:
        started = run_scenario(scenario, tmp_path, url, sources, settings)
        asyncio.run(asyncio.wait_for(started, SECONDS))

    yield start
    assert "Traceback" not in log.read_text()
