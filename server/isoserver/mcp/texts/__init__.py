"""What models and people are told: Markdown, shipped with the package."""

from __future__ import annotations

from importlib.resources import files

__all__ = ["read"]


def read(name: str) -> str:
    """Give a text by the name of its file, without the ending."""
    text = files(__name__).joinpath(f"{name}.md").read_text(encoding="utf-8")
    return text.strip()
