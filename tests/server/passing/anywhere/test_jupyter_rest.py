"""The tests of `jupyter/test_rest.py`, each request to any of three servers."""

from __future__ import annotations

from tests.server.jupyter.test_rest import *  # noqa: F403
