"""The tests of `files/test_routes.py`, each request to any of three servers."""

from __future__ import annotations

from tests.server.files.test_routes import *  # noqa: F403
