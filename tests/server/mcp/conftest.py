"""The SDK's own client, over each transport and in each era of the protocol."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest
from tests.support.programs import UPSTREAM

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Settings with another MCP server as a source."""
    file = tmp_path_factory.mktemp("execute") / "isokernel.toml"
    file.write_text(
        "execute_approval_wait_seconds = 0.5\n"
        "[[sources]]\n"
        'type = "mcp"\nname = "up"\nworkspace = "default"\n'
        f"command = {json.dumps(sys.executable)}\n"
        f"args = [{json.dumps(str(UPSTREAM))}, 'stdio']\n"
    )
    return file


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
