"""Texts for models and people: Markdown files, shipped with the package."""

from __future__ import annotations

from importlib.resources import files

__all__ = ["read"]


def read(name: str) -> str:
    """Return a text, by its file's name without the extension."""
    text = files(__name__).joinpath(f"{name}.md").read_text(encoding="utf-8")
    return text.strip()
