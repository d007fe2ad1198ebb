"""`python -m isokernel`: the command line, or with `-f` a kernel.

Kernelspecs don't come here: `-m` would put the notebook's folder on `sys.path`.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def _command() -> Callable[[], Any]:
    """Return the command line, which stands above this package, as pip has noted it.

    The standard library's `entry_points` takes 50 ms, as it can read any package.
    """
    from pathlib import Path  # noqa: PLC0415 - not for kernels

    notes = "isokernel-*.dist-info/entry_points.txt"
    for place in (place for folder in sys.path for place in Path(folder).glob(notes)):
        for line in place.read_text(encoding="utf-8").splitlines():
            name, _, target = line.partition(" = ")
            module, colon, function = target.partition(":")
            if name == "isokernel" and colon:
                command: Callable[[], Any] = getattr(import_module(module), function)
                return command
    message = "isokernel isn't installed here: pip install isokernel"
    raise SystemExit(message)


if __name__ == "__main__":
    if "-f" in sys.argv[1:]:
        from isokernel.jupyter.launch import main

        main()
    else:
        _command()()
