"""Code that isolates of one process have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from isokernel.errors import ScriptError
from isokernel.v8 import writer
from isokernel.v8.code import KeptCode

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.isolates import HostedIsolate

ISOLATES = 5
SCRIPT = """
(() => {
  const adder = (one) => (other) => one + other; // called by nobody so far
  let calls = 0;
  return { add: (one, other) => (calls++, adder(one)(other)), calls: () => calls };
})()
"""


def test_the_fourth_isolate_takes_the_code_of_the_third(
    benches: Callable[..., HostedIsolate],
) -> None:
    kept = KeptCode()
    taken = []
    for _ in range(ISOLATES):
        isolate = benches().isolate
        made = isolate.run_script(SCRIPT, "adders", kept=kept)
        add = isolate.get_value(made, "add")
        assert isolate.call(add, 1, 2) == 3
        assert isolate.call(add, "a", "b") == "ab"
        # Its code is another's, its state is its own.
        assert isolate.call(isolate.get_value(made, "calls")) == 2
        taken.append(kept.taken)
    assert taken == [0, 0, 0, 1, 2]


def test_another_text_has_other_code(benches: Callable[..., HostedIsolate]) -> None:
    kept = KeptCode()
    for _ in range(ISOLATES):
        isolate = benches().isolate
        # Of the same length and name, which is all that V8 looks at itself.
        values = [
            isolate.run_script(f"(() => {number})()", "one", kept=kept)
            for number in range(3)
        ]
        assert values == [0, 1, 2]


@pytest.mark.parametrize(
    ("script", "error"),
    [
        ("1 +", "Unexpected end of input"),
        ("\n (() => {\n  null.x\n })()", "at bad:3:8"),
    ],
)
def test_errors_are_the_same(
    benches: Callable[..., HostedIsolate], script: str, error: str
) -> None:
    kept = KeptCode()
    for _ in range(ISOLATES):
        isolate = benches().isolate
        with pytest.raises(ScriptError, match=error):
            isolate.run_script(script, "bad", kept=kept)


def test_an_isolate_with_code_of_another_can_be_saved(
    benches: Callable[..., HostedIsolate],
) -> None:
    kept = KeptCode()
    for _ in range(ISOLATES):
        bench = benches()
        isolate = bench.isolate
        made = isolate.run_script(SCRIPT, "adders", kept=kept)
        isolate.set(isolate.global_object(), "adders", made)
    assert kept.taken
    again = benches(writer.save(bench.isolate)).isolate
    adders = again.get_value(again.global_object(), "adders")
    assert again.call(again.get_value(adders, "add"), 1, 2) == 3
