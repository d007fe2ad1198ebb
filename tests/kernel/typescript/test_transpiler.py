"""The TypeScript compiler by itself."""

from __future__ import annotations

import pytest

from isokernel.typescript.transpiler import SyntaxProblem, Transpiled, transpiler


def test_transpiler_modes() -> None:
    stripped = transpiler().transpile("let x: number = 1")
    assert stripped == Transpiled("let x         = 1", None)
    changed = transpiler().transpile("enum A { B }")
    assert isinstance(changed, Transpiled)
    assert changed.source_map is not None
    assert transpiler().original(changed.source_map, 1, 0) == (1, 0)
    refused = transpiler().transpile("let x: = 5")
    assert isinstance(refused, SyntaxProblem)
    assert (refused.line, refused.column) == (1, 7)


@pytest.mark.parametrize(
    "code",
    [
        f"const x: {'Array<' * 50_000}number{'>' * 50_000} = 1",
        f"let a = {'!' * 300_000}1",
        f"let a: number = {'(' * 200_000}1{')' * 200_000}",
    ],
    ids=["types", "operators", "parentheses"],
)
def test_what_is_nested_too_deeply_breaks_nothing(code: str) -> None:
    refused = transpiler().transpile(code)
    assert isinstance(refused, SyntaxProblem)
    assert refused.message == "the code is nested too deeply"
    assert transpiler().transpile("1 as number") == Transpiled("1          ", None)
    assert isinstance(transpiler().transpile("enum A { B }"), Transpiled)
