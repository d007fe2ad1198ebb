"""What can be set about a context. Seconds and bytes; None lifts a bound."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

Language: TypeAlias = Literal["javascript", "typescript"]


class ContextSettings(NamedTuple):
    """Settings of one context; every bound has one.

    Attributes:
        language: What cells are, unless they say otherwise.
        execution_deadline: Seconds that a cell may take, waiting included.
        interrupt_grace: Seconds that V8 has for stopping before the context is given
            up; a few of V8's own functions can't be stopped.
        heap_memory_max: Bytes of V8 heap; None is V8's own limit (about 1.5 GB).
        array_buffer_max: Bytes of ArrayBuffer memory.
        output_max: Characters of text that one execution may print.
        timers_max: Timers that may wait at a time.
        result_history: Results and inputs kept in `Out` and `In`.
        colors: Whether printed objects carry ANSI colours.
    """

    language: Language = "javascript"
    execution_deadline: float | None = None
    interrupt_grace: float = 5.0
    heap_memory_max: int | None = None
    array_buffer_max: int | None = 4 << 30
    output_max: int = 10_000_000
    timers_max: int = 100_000
    result_history: int = 1000
    colors: bool = False

    def runtime_options(self) -> dict[str, object]:
        """What the JavaScript side is told at its start."""
        return {
            "colors": self.colors,
            "outputMax": self.output_max,
            "timersMax": self.timers_max,
            "resultHistory": self.result_history,
        }
