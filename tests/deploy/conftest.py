"""Real servers."""

from __future__ import annotations

from tests.server.conftest import (
    _reaps_no_orphans,
    _starts,
    postgresql,
)

__all__ = ["_reaps_no_orphans", "_starts", "postgresql"]
