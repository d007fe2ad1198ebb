"""A sample of test262, where a checkout of it is named; see CONTRIBUTING.md."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.bench.test262 import (
    DEFAULT,
    cases,
    deviations,
    orders,
    outcomes_in,
    work_off,
)

CHECKOUT = os.environ.get("ISOKERNEL_TEST262", "")
EVERY = 2000


@pytest.mark.slow
@pytest.mark.skipif(not CHECKOUT, reason="ISOKERNEL_TEST262 names no checkout")
def test_what_holds_in_v8_alone_holds_in_contexts(tmp_path: Path) -> None:
    output = tmp_path / "outcomes.jsonl"
    found = cases(Path(CHECKOUT), "", EVERY, 0)
    assert found, "this is no checkout of test262"
    work_off(orders(DEFAULT, found), Path(CHECKOUT), output, workers=1)
    outcomes = outcomes_in(output)
    for way in DEFAULT[1:]:
        assert not deviations(outcomes, way).get("")
    assert sum(not wrong["javascript"] for wrong in outcomes.values()) > len(found)
