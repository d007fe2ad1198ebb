"""The programs of `examples/`, run as the documents tell people to."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.waiting import DEADLINE

if TYPE_CHECKING:
    from tests.support.server import Server

FOLDER = Path(__file__).parents[3] / "examples"
PROGRAMS = 24


def _module(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("named_by", ["argument", "variable"])
def test_programs_get_their_scores(server: Server, named_by: str) -> None:
    path = FOLDER / "score_programs.py"
    example = _module(path)
    flags = ["--programs", str(PROGRAMS), "--at-once", "4"]
    given = [server.url] if named_by == "argument" else []
    variables = {} if given else {"ISOKERNEL_URL": server.url}
    done = subprocess.run(
        [sys.executable, str(path), *flags, *given],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE,
    )
    assert done.returncode == 0, done.stderr
    first, *rest = done.stdout.splitlines()
    assert re.fullmatch(rf"{PROGRAMS} programs in [\d.]+ s, \d+/s", first)
    told: Counter[float] = Counter()
    for line in rest:
        found = re.fullmatch(r" +(\d+)% of the cases right: (\d+) programs", line)
        assert found is not None, line
        told[int(found[1]) / 100] = int(found[2])
    known = [example.CANDIDATES[one] for one in example.candidates(PROGRAMS)]
    assert told == Counter(known)
    assert {*told} == {*example.CANDIDATES.values()}
