"""Programs that tests start, each a file of this folder."""

from __future__ import annotations

from pathlib import Path
from typing import Final

_FOLDER: Final = Path(__file__).parent

CONFORMANCE: Final = _FOLDER / "conformance.py"
"""A server with the tools, prompts and resources that MCP's own tests call."""
FORKED: Final = _FOLDER / "forked.py"
"""What a client starts in place of `isokernel`, to have it forked."""
LEAP0_CLIENT: Final = _FOLDER / "leap0_client.py"
"""The published client library `leap0`, for a newer Python than ours."""
SWITCH: Final = _FOLDER / "switch.py"
"""What joins the cables of machines that are namespaces of the network."""
TOOLBOX: Final = _FOLDER / "toolbox.py"
"""A server whose tasks have a few tools."""
UPSTREAM: Final = _FOLDER / "upstream.py"
"""An MCP server as others write them."""
