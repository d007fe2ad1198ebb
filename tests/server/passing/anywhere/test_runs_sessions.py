"""The tests of `runs/test_sessions.py`, each request to any of three servers."""

from __future__ import annotations

from tests.server.runs.test_sessions import *  # noqa: F403
