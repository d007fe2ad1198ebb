"""The tests of `runs/test_cancel.py`, each request to any of three servers."""

from __future__ import annotations

from tests.server.runs.test_cancel import *  # noqa: F403
