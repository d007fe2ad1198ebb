"""What stands in for keys in browsers, and for how long."""

from __future__ import annotations

from typing import TYPE_CHECKING

from isoserver.access import signins
from isoserver.access.signins import SIGN_IN_SECONDS, SignIns

if TYPE_CHECKING:
    import pytest


def test_a_sign_in_ends_when_it_is_unused_for_long() -> None:
    now = [0.0]
    known = SignIns(lambda: now[0])
    token = known.add("key", "workspace")
    other = known.add("key", None)
    assert token != other
    for _ in range(3):
        now[0] += SIGN_IN_SECONDS
        found = known.find(token)
        assert found is not None
        assert (found.credential, found.workspace) == ("key", "workspace")
    assert known.find(other) is None
    now[0] += SIGN_IN_SECONDS + 1
    assert known.find(token) is None


def test_a_sign_in_ends_when_its_owner_says_so() -> None:
    known = SignIns(lambda: 0.0)
    token = known.add("key", None)
    for unknown in ("", "x", token[:-1], "\udcff"):
        assert known.find(unknown) is None
        known.end(unknown)
    assert known.find(token) is not None
    known.end(token)
    assert known.find(token) is None


def test_the_one_unused_for_longest_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signins, "_SIGN_INS_MAX", 2)
    known = SignIns(lambda: 0.0)
    first, second = known.add("a", None), known.add("b", None)
    assert known.find(first) is not None
    third = known.add("c", None)
    assert [known.find(each) is not None for each in (first, second, third)] == [
        *(True, False, True),
    ]
