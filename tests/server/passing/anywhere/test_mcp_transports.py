"""The tests of `mcp/test_transports.py`, each request to any of three servers."""

from __future__ import annotations

from tests.server.mcp.test_transports import *  # noqa: F403
