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
    from collections.abc import Mapping

    from isokernel.network.settings import NetworkSettings
    from isokernel.settings import Language

__all__ = [
    "KernelSettings",
    "context_settings",
    "history_path",
    "kernel_settings",
    "network_settings",
]

_PREFIX = "ISOKERNEL_"
_CONTEXT_NUMBERS = {
    "cell_timeout_seconds": float,
    "interrupt_grace_seconds": float,
    "v8_heap_bytes_max": int,
    "array_buffer_bytes_max": int,
    "output_bytes_max": int,
    "timers_max": int,
    "results_kept_max": int,
    "calls_max": int,
    "call_bytes_max": int,
}
_NETWORK_NUMBERS = {
    "net_requests_max": int,
    "net_connect_timeout_seconds": float,
    "net_idle_timeout_seconds": float,
    "net_request_timeout_seconds": float,
    "net_request_bytes_max": int,
    "net_response_bytes_max": int,
    "net_head_bytes_max": int,
}
_KERNEL_NUMBERS = {
    "history_cells_max": int,
    "heap_bytes_max": int,
    "cells_queued_max": int,
    "calls_max": int,
    "call_bytes_max": int,
}
CAPABILITIES = {"modules": "on", "net": "on", "files": "on", "env": "off"}
"""What code may do beyond its context, unless the environment says otherwise."""


class KernelSettings(NamedTuple):
    """Settings of one kernel.

    Attributes:
        language: What the kernel says it speaks.
        history: The file that keeps cells over restarts; None keeps them in memory.
        heaps_dir: The folder of saved heaps.
        history_cells_max: How many cells are kept; the oldest go first.
        heap_bytes_max: Size of a saved heap, uncompressed.
        cells_queued_max: How many cells may wait for a cell that awaits.
        capabilities: What code may do beyond its context, as `read_policy` takes it.
        capability_mode: `audit` lets pass what would be denied.
        calls_max: See `ContextSettings`.
        call_bytes_max: Likewise.
    """

    language: Language
    history: str | None
    heaps_dir: str
    history_cells_max: int = 100_000
    heap_bytes_max: int = 4 << 30
    cells_queued_max: int = 1000
    capabilities: Mapping[str, str] = CAPABILITIES
    capability_mode: str = "enforce"
    calls_max: int = 64
    call_bytes_max: int = 16 << 20


def kernel_settings(language: Language) -> KernelSettings:
    """Read the kernel's settings from the environment.

    Raises:
        SettingsError: A variable has no sensible value.
    """
    mode = os.environ.get(f"{_PREFIX}CAPABILITY_MODE", "") or "enforce"
    if mode not in {"enforce", "audit"}:
        message = f"{_PREFIX}CAPABILITY_MODE is {mode!r}; it must be enforce or audit"
        raise SettingsError(message)
    return KernelSettings(
        language,
        history_path(),
        heaps_dir(),
        capabilities=capabilities(),
        capability_mode=mode,
        **_numbers(_KERNEL_NUMBERS),
    )


def capabilities() -> dict[str, str]:
    """Read what code may do beyond its context."""
    return {
        name: os.environ.get(f"{_PREFIX}{name.upper()}", "") or usual
        for name, usual in CAPABILITIES.items()
    }


def context_settings(language: Language) -> ContextSettings:
    """Read the settings of the kernel's context from the environment.

    Raises:
        SettingsError: A variable has no sensible value.
    """
    numbers = _numbers(_CONTEXT_NUMBERS)
    return ContextSettings(language=language, error_colors=True, **numbers)


def network_settings() -> NetworkSettings:
    """Read the limits of the network from the environment.

    Raises:
        SettingsError: A variable has no sensible value.
    """
    from isokernel.network.settings import NetworkSettings  # noqa: PLC0415 - few need it

    numbers = _numbers(_NETWORK_NUMBERS)
    given = {name.removeprefix("net_"): number for name, number in numbers.items()}
    ca_file = os.environ.get(f"{_PREFIX}NET_CA_FILE") or None
    proxies = os.environ.get(f"{_PREFIX}NET_PROXIES") == "on"
    return NetworkSettings(ca_file=ca_file, proxies=proxies, **given)


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
