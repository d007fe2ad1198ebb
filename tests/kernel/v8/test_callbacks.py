"""Calls out of JavaScript."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.isolates import HostedIsolate


def test_arguments_and_results(bench: HostedIsolate) -> None:
    bench.cell("note(1, -7, 2.5, null, undefined, true, 'é', 5n)")
    assert bench.notes[0][:4] == (1, -7, 2.5, None)
    assert bench.cell("echo('back')") == "back"
    assert bench.cell("const o = {}; echo(o) === o") is True


def test_optimized_callers_pass_the_same(bench: HostedIsolate) -> None:
    """TurboFan leaves garbage in the upper half of a small integer's word."""
    bench.cell("for (let i = 0; i < 20000; i++) note(i, 'x')")
    assert [number for number, _ in bench.notes] == list(range(20000))


@pytest.mark.parametrize("kind", ["Error", "TypeError", "RangeError"])
def test_a_host_function_can_throw(bench: HostedIsolate, kind: str) -> None:
    code = f"try {{ fail('{kind}') }} catch (error) {{ String(error) }}"
    assert bench.cell(code) == f"{kind}: the host says no"


def test_a_defect_of_the_host_is_ours_not_the_users(bench: HostedIsolate) -> None:
    """JavaScript can't catch it, Python gets it, and the isolate goes on."""
    with pytest.raises(LookupError, match="a defect of the host"):
        bench.cell("try { fail('python') } catch { note('caught') }")
    assert bench.notes == []
    assert bench.cell("1 + 1") == 2


def test_calls_nest(bench: HostedIsolate) -> None:
    inner = bench.cell("(n) => n + 1")
    operations = bench.isolate.operations
    index = bench.isolate.operation_names.index("echo")
    operations[index].function = lambda n: bench.isolate.call(inner, n)
    assert bench.cell("echo(1)") == 2


def test_python_hears_of_the_features_that_matter(bench: HostedIsolate) -> None:
    features = bench.isolate.features
    bench.cell("[2, 1].toSorted(); [].concat(); /a/y.test('a')")
    assert features == set()
    bench.cell("new Intl.NumberFormat(); new SharedArrayBuffer(1)")
    assert features == {"Intl", "SharedArrayBuffer"}
