"""What the kernel says to whoever runs it: lines on the process's own stderr.

`logging` would cost 10 ms of a kernel's start and is used by nothing else here.
"""

from __future__ import annotations

import sys

__all__ = ["failure", "warning"]


def warning(text: str) -> None:
    """Report what the kernel can go on without."""
    _write(f"isokernel: {text}\n")


def failure(doing: str, error: BaseException) -> None:
    """Report a defect of ours, with its traceback."""
    import traceback  # noqa: PLC0415 - 6 ms, and only when something went wrong

    lines = traceback.format_exception(type(error), error, error.__traceback__)
    _write(f"isokernel: failed while {doing}\n{''.join(lines)}")


def _write(text: str) -> None:
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):
        # Nobody listens: the terminal is closed, or there is no stderr at all.
        pass
