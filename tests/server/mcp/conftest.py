"""The SDK's own client, over each transport and in each era of the protocol."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from tests.support.programs import UPSTREAM
from tests.support.starts import program_command

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Settings with another MCP server as a source."""
    file = tmp_path_factory.mktemp("execute") / "isokernel.toml"
    command, *arguments = program_command(UPSTREAM, "stdio")
    file.write_text(
        "execute_approval_wait_seconds = 0.5\n"
        "[[sources]]\n"
        'type = "mcp"\nname = "up"\nworkspace = "default"\n'
        f"command = {json.dumps(command)}\n"
        f"args = {json.dumps(arguments)}\n"
    )
    return file


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
