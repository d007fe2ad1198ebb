"""The kinds of what servers own."""

from __future__ import annotations

from typing import Final

__all__ = ["CONTEXT", "RUN", "WEBHOOK"]

CONTEXT: Final = "context"
"""Contexts; sessions of runs, and kernels, are contexts."""
RUN: Final = "run"
"""Executions and tasks."""
WEBHOOK: Final = "webhook"
"""Webhooks that aren't delivered."""
