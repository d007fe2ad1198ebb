"""`isokernel cluster up`, `nodes` and `down`, where there is no Ray."""

from __future__ import annotations

import subprocess
import sys

import pytest
from tests.support.server import START


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("up", "--", "--nonsense", "3"), 1, "there is no flag --nonsense"),
        (("up", "--resource", "gpu"), 2, "'gpu' is no NAME=AMOUNT"),
        # Without the extra it says how to install it.
        (("nodes", "--address", "127.0.0.1:1"), 1, "Ray"),
        (("down", "--address", "127.0.0.1:1"), 1, "Ray"),
    ],
)
def test_what_is_wrong_is_told(
    arguments: tuple[str, ...], status: int, said: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", START, "cluster", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )
    assert (done.returncode, done.stdout) == (status, "")
    assert said in done.stderr.splitlines()[-1]
