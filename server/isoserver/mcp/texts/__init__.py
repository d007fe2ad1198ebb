"""Texts for models and people: Markdown files, shipped with the package."""

from __future__ import annotations

from pathlib import Path
from typing import Final

__all__ = ["read"]

_FOLDER: Final = Path(__file__).parent


def read(name: str) -> str:
    """Return a text, by its file's name without the extension."""
    return (_FOLDER / f"{name}.md").read_text(encoding="utf-8").strip()
