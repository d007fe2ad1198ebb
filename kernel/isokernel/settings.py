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
        cell_timeout_seconds: How long a cell may take, including waiting.
        interrupt_grace_seconds: How long V8 has to stop before the context is given up;
            a few of V8's own functions can't be stopped.
        v8_heap_bytes_max: V8's heap; None is V8's own limit (about 1.5 GB).
        array_buffer_bytes_max: Memory of ArrayBuffers, outside V8's heap.
        output_bytes_max: Bytes of UTF-8 text that one cell may print; of more, the head
            and tail are kept.
        output_setting: How the user writes `output_bytes_max`, for the notice.
        timers_max: Timers that may be pending at a time.
        results_kept_max: Results and inputs kept in `Out` and `In`.
        calls_max: Calls for something beyond the context that wait for their answers at
            a time; others wait for their turn.
        call_bytes_max: Bytes that go with one of those calls; all together may have
            twice as many.
        colors: Whether printed objects carry ANSI colours.
        error_colors: Whether the tracebacks of cells do.
        ids_unique: Whether executions of other processes have other ids, so that what
            timers on a heap print can be named by the execution that has set them.
    """

    language: Language = "javascript"
    cell_timeout_seconds: float | None = None
    interrupt_grace_seconds: float = 5.0
    v8_heap_bytes_max: int | None = None
    array_buffer_bytes_max: int | None = 4 << 30
    output_bytes_max: int = 10_000_000
    output_setting: str = "ISOKERNEL_OUTPUT_BYTES_MAX"
    timers_max: int = 100_000
    results_kept_max: int = 1000
    calls_max: int = 64
    call_bytes_max: int = 16 << 20
    colors: bool = False
    error_colors: bool = False
    ids_unique: bool = False

    def runtime_options(self) -> dict[str, object]:
        """Return the options that the JavaScript side gets at its start."""
        return {
            "colors": self.colors,
            "outputMax": self.output_bytes_max,
            "outputSetting": self.output_setting,
            "timersMax": self.timers_max,
            "resultHistory": self.results_kept_max,
            "callsMax": self.calls_max,
            "callBytesMax": self.call_bytes_max,
        }
