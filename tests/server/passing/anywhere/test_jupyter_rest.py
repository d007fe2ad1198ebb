"""The tests of `jupyter/test_rest.py`, each request to any of three servers."""

from __future__ import annotations

from tests.server.jupyter import test_rest
from tests.server.jupyter.test_rest import *  # noqa: F403

# That a session was deleted with its context is known to the server that did so, for
# which it is 410; to others, it is 404.
globals().pop(test_rest.test_the_kernel_of_a_session_went_first.__name__)
