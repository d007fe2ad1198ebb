"""A real server."""

from __future__ import annotations

from tests.server.conftest import (
    _reaps_no_orphans,
    _starts,
    client,
    server,
    shared_server,
)

__all__ = ["_reaps_no_orphans", "_starts", "client", "server", "shared_server"]
