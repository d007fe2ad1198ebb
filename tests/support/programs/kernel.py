"""A Jupyter kernel with a small provider: a program, started by the tests."""

from __future__ import annotations

import sys

from tests.support.capabilities import SMALL

from isokernel.jupyter.launch import launch

if __name__ == "__main__":
    sys.exit(launch(sys.argv[1:], providers=SMALL))
