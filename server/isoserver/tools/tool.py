"""One tool, as its source describes it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from isoserver.tools.names import key

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Tool"]


@dataclass(frozen=True)
class Tool:
    """A tool.

    Attributes:
        source: The source's name.
        path: The canonical name, with the source's.
        original: What the source calls it.
        description: What it does, in the source's words.
        reads: Whether it says that it changes nothing.
        input_schema: JSON Schema of the input.
        output_schema: JSON Schema of the result, if it is known.
        definitions: What `#/$defs/…` in the schemas means, where the source has them
            once for all tools.
        native: What the source needs to call it.
    """

    source: str
    path: str
    original: str
    description: str
    reads: bool
    input_schema: dict[str, Any]
    output_schema: Any = None
    definitions: Mapping[str, Any] = field(default_factory=dict)
    native: Any = None

    @cached_property
    def key(self) -> str:
        """What all spellings of the path have in common."""
        return key(self.path)
