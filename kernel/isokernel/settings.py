"""Settings of a context; None lifts a limit."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple, TypeAlias

Language: TypeAlias = Literal["javascript", "typescript"]

LANGUAGES: Final[dict[str, Language]] = {
    "javascript": "javascript",
    "typescript": "typescript",
}
"""The languages by their names."""


class ContextSettings(NamedTuple):
    """Settings of one context; every limit has one.

    Attributes:
        language: What cells are, unless they say otherwise.
        cell_timeout_seconds: How long a cell may take, waiting included.
        interrupt_grace_seconds: How long V8 has for stopping before the context is
            given up; a few of V8's own functions can't be stopped.
        v8_heap_bytes_max: V8's heap; None is V8's own limit (about 1.5 GB).
        array_buffer_bytes_max: Memory of ArrayBuffers, outside V8's heap.
        cell_output_characters_max: Text that one cell may print.
        timers_max: Timers that may wait at a time.
        results_kept_max: Results and inputs kept in `Out` and `In`.
        colors: Whether printed objects carry ANSI colours.
    """

    language: Language = "javascript"
    cell_timeout_seconds: float | None = None
    interrupt_grace_seconds: float = 5.0
    v8_heap_bytes_max: int | None = None
    array_buffer_bytes_max: int | None = 4 << 30
    cell_output_characters_max: int = 10_000_000
    timers_max: int = 100_000
    results_kept_max: int = 1000
    colors: bool = False

    def runtime_options(self) -> dict[str, object]:
        """What the JavaScript side is told at its start."""
        return {
            "colors": self.colors,
            "outputMax": self.cell_output_characters_max,
            "timersMax": self.timers_max,
            "resultHistory": self.results_kept_max,
        }
