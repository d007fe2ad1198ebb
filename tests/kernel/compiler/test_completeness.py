"""Whether a text is complete."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from isokernel.compiler.completeness import completeness

if TYPE_CHECKING:
    from tests.support.local_contexts import LocalContext

COMPLETENESS = [
    ("1 + 1", "complete", ""),
    ("", "complete", ""),
    ("await f()", "complete", ""),
    ("let x = 5", "complete", ""),
    ("function f() {", "incomplete", "  "),
    ("function f() {\n  if (x) {", "incomplete", "    "),
    ("foo(", "incomplete", "  "),
    ("[1, 2,", "incomplete", ""),
    ("a +", "incomplete", ""),
    ("await foo(", "incomplete", "  "),
    ("`template", "incomplete", ""),
    ("/* comment", "incomplete", ""),
    ("const f = () =>", "incomplete", "  "),
    ("if (a) {\n} else", "incomplete", ""),
    ("{ a: 1, b: 2 }", "complete", ""),
    ("{ a: 1, b: 2", "incomplete", ""),
    ("// c\n{ a: 1, b: {", "incomplete", "  "),
    ("{ a: 1, b: f(", "incomplete", "  "),
    ("{ a: 1 b: 2 }", "invalid", ""),
    ("Math.max?", "complete", ""),
    ("x??", "complete", ""),
    ("let = ;", "invalid", ""),
    ("}", "invalid", ""),
    ("foo)", "invalid", ""),
    ("'unterminated", "invalid", ""),
    ("1 1", "invalid", ""),
    ("import x from 'y'", "complete", ""),
    ("import {", "incomplete", "  "),
    ("import { a } from 'y'; f(", "incomplete", "  "),
    ("export const f = () => {", "incomplete", "  "),
    ("export default 1", "complete", ""),
]


@pytest.mark.parametrize("session", ["context", "typescript"])
@pytest.mark.parametrize(("code", "status", "indent"), COMPLETENESS)
def test_completeness(
    session: str, code: str, status: str, indent: str, request: pytest.FixtureRequest
) -> None:
    runner = request.getfixturevalue(session)
    assert runner.context.queries.is_complete(code) == (status, indent)


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("let x: number = 5", "complete"),
        ("interface A {", "incomplete"),
        ("enum A { B,", "incomplete"),
        ("function f(a: string) {", "incomplete"),
        ("let x: = 5", "invalid"),
    ],
)
def test_completeness_of_typescript(
    typescript: LocalContext, code: str, status: str
) -> None:
    isolate = typescript.context.bridge.isolate
    assert completeness(isolate, code, "typescript")[0] == status
