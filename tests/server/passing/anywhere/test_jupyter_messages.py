"""The tests of `jupyter/test_messages.py`, each request to any of three servers."""

from __future__ import annotations

from tests.server.jupyter.test_messages import *  # noqa: F403
