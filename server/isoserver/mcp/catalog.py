"""Which tools there are, and what clients are told about the server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from isoserver.mcp.executions import execution_tools, stateless_tools
from isoserver.mcp.heaps import heap_tools
from isoserver.mcp.tasks import task_tools
from isoserver.mcp.texts import read
from isoserver.mcp.toolbox import Toolbox

if TYPE_CHECKING:
    from isoserver.settings.server import ServerSettings

__all__ = ["instructions", "toolbox"]


def toolbox(settings: ServerSettings) -> Toolbox:
    """Make the tools that the settings ask for."""
    if settings.stateless:
        return Toolbox(stateless_tools(settings))
    return Toolbox([*execution_tools(settings), *heap_tools(), *task_tools(settings)])


def instructions(settings: ServerSettings) -> str:
    """Give what clients pass on to their model when they connect."""
    name = "instructions-stateless" if settings.stateless else "instructions"
    return settings.mcp_instructions or read(name)
