"""The TypeScript compiler by itself."""

from __future__ import annotations

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
