"""The tests of `contexts/test_contexts.py`, each request to any of three servers."""

from __future__ import annotations

from tests.server.contexts.test_contexts import *  # noqa: F403
