"""The tests of `jupyter/test_channels.py`, each request to any of three servers."""

from __future__ import annotations

from tests.server.jupyter.test_channels import *  # noqa: F403
