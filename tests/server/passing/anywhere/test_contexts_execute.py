"""The tests of `contexts/test_execute.py`, each request to any of three servers."""

from __future__ import annotations

from tests.server.contexts.test_execute import *  # noqa: F403
