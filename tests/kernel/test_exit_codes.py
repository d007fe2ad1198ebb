"""Exits in words."""

from __future__ import annotations

import re

import pytest

from isokernel.exit_codes import describe_exit


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (None, "nobody knows"),
        (0, "ended"),
        (70, "could not be stopped"),
        (71, "fatal error"),
        (72, "out of memory"),
        (73, "defect"),
        (5, "exit code 5"),
        (-9, "SIGKILL"),
        (-31, "may not do"),
        (-5, "V8 ended it"),
        (-64, "signal|SIGRTMAX"),
    ],
)
def test_every_status_has_words(status: int | None, words: str) -> None:
    assert re.search(words, describe_exit(status))
