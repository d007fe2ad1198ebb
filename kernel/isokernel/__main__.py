"""`python -m isokernel`: the command line, or with `-f` a kernel.

Kernelspecs don't come here: `-m` would put the notebook's folder on `sys.path`.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":
    if "-f" in sys.argv[1:]:
        from isokernel.jupyter.launch import main

        main()
    else:
        from importlib.metadata import entry_points

        # The command line stands above this package, so it is found as pip finds it.
        (command,) = entry_points(group="console_scripts", name="isokernel")
        command.load()()
