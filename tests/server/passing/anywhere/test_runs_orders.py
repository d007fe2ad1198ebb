"""The tests of `runs/test_orders.py`, each request to any of three servers."""

from __future__ import annotations

from tests.server.runs.test_orders import *  # noqa: F403
