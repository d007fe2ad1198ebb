"""The tests of `contexts/test_streams.py`, each request to any of three servers."""

from __future__ import annotations

from tests.server.contexts.test_streams import *  # noqa: F403
