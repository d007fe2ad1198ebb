"""The tests of `contexts/test_executions.py`, each request to any of three servers."""

from __future__ import annotations

from tests.server.contexts.test_executions import *  # noqa: F403
