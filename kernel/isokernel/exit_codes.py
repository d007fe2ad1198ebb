"""How the process of a context or kernel ends: its exit codes, and in words."""

from __future__ import annotations

from typing import Final

__all__ = [
    "DEFECT",
    "FATAL",
    "OUT_OF_MEMORY",
    "REASONS",
    "UNSTOPPABLE",
    "describe_exit",
]

UNSTOPPABLE: Final = 70
FATAL: Final = 71
OUT_OF_MEMORY: Final = 72
DEFECT: Final = 73

REASONS: Final = {
    0: "it was ended",
    UNSTOPPABLE: "JavaScript could not be stopped",
    FATAL: "V8 met a fatal error",
    OUT_OF_MEMORY: "out of memory",
    DEFECT: "a defect of isokernel",
}
"""What the exit codes mean."""


def describe_exit(status: int | None) -> str:
    """Say why a process ended.

    Args:
        status: Its exit code, or minus the number of the signal; None if unknown.
    """
    if status is None:
        return "it ended, nobody knows how"
    if status >= 0:
        return REASONS.get(status, f"exit code {status}")
    import signal  # noqa: PLC0415 -- only whoever started the process asks

    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    return {
        "SIGKILL": "killed by SIGKILL (by somebody, or the system was out of memory)",
        "SIGSYS": "killed by SIGSYS (it did what a context may not do)",
        "SIGXCPU": "killed by SIGXCPU (it used up its processor time)",
        "SIGABRT": "V8 ended it (SIGABRT)",
        "SIGTRAP": "V8 ended it (SIGTRAP)",
        "SIGILL": "V8 ended it (SIGILL)",
    }.get(name, f"killed by {name}")
