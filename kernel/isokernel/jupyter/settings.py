"""Settings of the Jupyter kernel, read from the environment.

Jupyter starts kernels with a fixed command line, and hands on its environment. Each
setting is a variable named ISOKERNEL_ and the setting in capitals, such as
ISOKERNEL_CELL_TIMEOUT_SECONDS=60.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

from isokernel.errors import SettingsError
from isokernel.settings import ContextSettings

if TYPE_CHECKING:
    from isokernel.settings import Language

__all__ = ["KernelSettings", "context_settings", "history_path", "kernel_settings"]

_PREFIX = "ISOKERNEL_"
_CONTEXT_NUMBERS = {
    "cell_timeout_seconds": float,
    "interrupt_grace_seconds": float,
    "v8_heap_bytes_max": int,
    "array_buffer_bytes_max": int,
    "cell_output_characters_max": int,
    "timers_max": int,
    "results_kept_max": int,
}
_KERNEL_NUMBERS = {
    "history_cells_max": int,
    "heap_bytes_max": int,
    "cells_queued_max": int,
}


class KernelSettings(NamedTuple):
    """Settings of one kernel.

    Attributes:
        language: What the kernel says it speaks.
        history: The file that keeps cells over restarts; None keeps them in memory.
        heaps_dir: The folder of saved heaps.
        history_cells_max: How many cells are kept; the oldest go first.
        heap_bytes_max: Size of a saved heap, uncompressed.
        cells_queued_max: How many cells may wait for a cell that awaits.
    """

    language: Language
    history: str | None
    heaps_dir: str
    history_cells_max: int = 100_000
    heap_bytes_max: int = 4 << 30
    cells_queued_max: int = 1000


def kernel_settings(language: Language) -> KernelSettings:
    """Read the kernel's settings from the environment.

    Raises:
        SettingsError: A variable has no sensible value.
    """
    return KernelSettings(
        language, history_path(), heaps_dir(), **_numbers(_KERNEL_NUMBERS)
    )


def context_settings(language: Language) -> ContextSettings:
    """Read the settings of the kernel's context from the environment.

    Raises:
        SettingsError: A variable has no sensible value.
    """
    return ContextSettings(language=language, **_numbers(_CONTEXT_NUMBERS))


def history_path() -> str | None:
    """Find the history file: in the user's folder for Jupyter's data.

    The environment variable ISOKERNEL_HISTORY names another file, or says `off`.
    """
    chosen = os.environ.get(f"{_PREFIX}HISTORY", "")
    if chosen == "off":
        return None
    if chosen:
        return os.path.expanduser(chosen)  # noqa: PTH111 -- importing pathlib: 4 ms
    return f"{_data_folder()}/isokernel/history.sqlite"


def heaps_dir() -> str:
    """Find the folder of saved heaps; ISOKERNEL_HEAPS_DIR names another one."""
    chosen = os.environ.get(f"{_PREFIX}HEAPS_DIR", "")
    if chosen:
        return os.path.expanduser(chosen)  # noqa: PTH111 -- as above
    return f"{_data_folder()}/isokernel/heaps"


def _data_folder() -> str:
    """Find Jupyter's data folder as jupyter_core does.

    Its own function would cost 17 ms of the kernel's start for these lines.
    """
    if folder := os.environ.get("JUPYTER_DATA_DIR"):
        return folder
    if folder := os.environ.get("XDG_DATA_HOME"):
        return f"{folder}/jupyter"
    return os.path.expanduser("~/.local/share/jupyter")  # noqa: PTH111 -- as above


def _numbers(kinds: dict[str, Any]) -> dict[str, Any]:
    """Read those of the variables that are set; all others keep their defaults."""
    found = {}
    for name, kind in kinds.items():
        variable = f"{_PREFIX}{name.upper()}"
        text = os.environ.get(variable, "")
        if not text:
            continue
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if not 0 <= value < float("inf"):
            message = f"{variable} is {text!r}; it must be a number, 0 or greater"
            raise SettingsError(message)
        found[name] = kind(value)
    return found
