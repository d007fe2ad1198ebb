"""`isokernel cluster up`, `nodes` and `down`, where there is no Ray."""

from __future__ import annotations

import subprocess
import sys

import pytest
from tests.support.server import START

from isoserver.cli.placement import _variables


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("up", "--", "--nonsense", "3"), 1, "there is no flag --nonsense"),
        (("up", "--resource", "gpu"), 2, "'gpu' is no NAME=AMOUNT"),
        (("up", "--resource", "object_store_memory=1e9"), 2, "object_store_memory"),
        (("up", "--cpus", "nan"), 2, "CPU=nan"),
        (("up", "--servers", "0"), 2, "'0' is no number from 1 on"),
        (("up", "--wait", "inf"), 2, "'inf' is no number from 0 on"),
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


SET = {
    "ISOKERNEL_API_KEY": "secret",
    "AWS_ACCESS_KEY_ID": "id",
    "AWS_ENDPOINT_URL": "http://store:9000",
    "AWS_CONFIG_FILE": "/home/somebody/.aws/config",
    "HOME": "/home/somebody",
}


@pytest.mark.parametrize(
    ("flag", "variable", "are_passed"),
    [
        (None, "s3://bucket/heaps", True),
        ("s3://bucket/heaps", "/shared/heaps", True),
        (None, "/shared/heaps", False),
        ("/shared/heaps", "s3://bucket/heaps", False),
        (None, "", False),
    ],
)
def test_the_credentials_of_a_store_are_passed_to_servers_that_use_it(
    flag: str | None, variable: str, *, are_passed: bool
) -> None:
    given = {**SET, "ISOKERNEL_HEAP_STORE": variable}
    names = {"ISOKERNEL_API_KEY", "ISOKERNEL_HEAP_STORE"}
    if are_passed:
        names |= {"AWS_ACCESS_KEY_ID", "AWS_ENDPOINT_URL"}
    assert _variables(flag, given) == {name: given[name] for name in names}
