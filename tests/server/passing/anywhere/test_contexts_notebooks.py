"""The tests of `contexts/test_notebooks.py`, each request to any of three servers."""

from __future__ import annotations

from tests.server.contexts.test_notebooks import *  # noqa: F403
