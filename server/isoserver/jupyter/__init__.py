"""Jupyter Server's protocol on the contexts: any front can attach to any of them."""

from __future__ import annotations

from typing import Final

__all__ = ["JUPYTER_PATH"]

JUPYTER_PATH: Final = "/jupyter"
"""The base URL: `/api/sessions` of the server itself is another API's."""
