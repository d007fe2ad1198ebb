"""What can be set about the Jupyter front, and where from: the environment.

Jupyter starts kernels with a fixed command line, and hands on its environment. Each
setting is a variable named ISOKERNEL_ and the setting in capitals, such as
ISOKERNEL_EXECUTION_DEADLINE=60.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

from isokernel.errors import SettingsError
from isokernel.settings import ContextSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    from isokernel.settings import Language

__all__ = ["KernelSettings", "context_settings", "history_path", "kernel_settings"]

_PREFIX = "ISOKERNEL_"
_CONTEXT_NUMBERS: dict[str, Callable[[float], Any]] = {
    "execution_deadline": float,
    "interrupt_grace": float,
    "heap_memory_max": int,
    "array_buffer_max": int,
    "output_max": int,
    "timers_max": int,
    "result_history": int,
}


class KernelSettings(NamedTuple):
    """Settings of one kernel.

    Attributes:
        language: What the kernel says it speaks.
        history: Where cells are kept over restarts; None keeps them in memory only.
        history_rows_max: How many cells are kept; the oldest go first.
        heaps: The folder of saved heaps.
        heap_max: Bytes that a saved heap may have, uncompressed.
        queue_max: How many cells may wait for a cell that awaits.
    """

    language: Language = "javascript"
    history: str | None = None
    history_rows_max: int = 100_000
    heaps: str = "heaps"
    heap_max: int = 4 << 30
    queue_max: int = 1000


def kernel_settings(language: Language) -> KernelSettings:
    """Read the kernel's settings from the environment.

    Raises:
        SettingsError: A variable has no sensible value.
    """
    return KernelSettings(
        language=language,
        history=history_path(),
        history_rows_max=int(_number("HISTORY_ROWS_MAX", 100_000)),
        heaps=heaps_folder(),
        heap_max=int(_number("HEAP_MAX", 4 << 30)),
        queue_max=int(_number("QUEUE_MAX", 1000)),
    )


def context_settings(language: Language) -> ContextSettings:
    """Read the settings of the kernel's context from the environment.

    Raises:
        SettingsError: A variable has no sensible value.
    """
    numbers = {
        name: kind(value)
        for name, kind in _CONTEXT_NUMBERS.items()
        if (value := _number(name.upper(), None)) is not None
    }
    return ContextSettings(language=language, **numbers)


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


def heaps_folder() -> str:
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


def _number(name: str, default: Any) -> Any:
    text = os.environ.get(f"{_PREFIX}{name}", "")
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        message = f"{_PREFIX}{name} is {text!r}, which is no number from 0 on"
        raise SettingsError(message)
    return value
