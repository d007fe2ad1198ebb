"""The tests of `mcp/test_tools.py`, each request to any of three servers."""

from __future__ import annotations

from tests.server.mcp.test_tools import *  # noqa: F403
