"""The type checker: TypeScript in V8, on cells and on bodies of functions."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import isokernel
from isokernel.context.cell_run import ExecutionOptions, ToolLimits
from isokernel.context.events import ExecuteResult
from isokernel.errors import TypeCheckerError
from isokernel.typecheck.checker import Diagnostic, TypeChecker

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.local_contexts import LocalContext

TOOLS = """
declare const tools: {
  math: { add(input: { a: number; b: number }): Promise<number> };
};
"""
GLOBALS = Path(isokernel.__file__).parent / "typecheck" / "globals.d.ts"


@pytest.fixture(scope="module")
def checker() -> Iterator[TypeChecker]:
    checker = TypeChecker()
    yield checker
    checker.close()


def places(found: list[Diagnostic]) -> list[tuple[int, int, int]]:
    return [(one.line, one.column, one.code) for one in found]


@pytest.mark.parametrize(
    "code",
    [
        "const a: number = 1; a.toFixed()",
        "return await tools.math.add({ a: 1, b: 2 })",
        "const n = await tools.math.add({ a: 1, b: 2 });\nif (n > 1) return n;\nn",
        "for (const x of [1]) { if (x) return x }",
        "enum A { B }\nreturn A.B",
        "try { await 1 } catch (e) { e.code }",
        "function f(x) { return x } f(1)",
        "class A { static { const f = () => { return 1 }; f() } }",
        "console.log(new URL('a:b').href); setTimeout(() => {}, 1); structuredClone(1)",
        "try {} catch (e) { if (e instanceof ApprovalDeniedError) return e.reason }",
        "return [3, 1].toSorted().findLast((x) => x > 1)",
        "Promise.withResolvers<number>().resolve(1)",
        "new Set([1]).union(new Set([2]))",
        "{ a: 1 }",
        'import { sum } from "npm:d3@7";\nreturn sum([1]) + require("d3").max([1])',
        'import type { A } from "a"; import b, * as c from "b"; b(c.d as A)',
        "export const a: number = 1; export function f() {}\nexport default a",
        "const fs = await import('node:fs'); return fs.readFileSync('a')",
        "earlier.anything().goes",
        "const earlier = 1; earlier.toFixed()",
    ],
)
def test_right_code_has_no_diagnostics(checker: TypeChecker, code: str) -> None:
    assert checker.check(code, TOOLS, ["earlier", "no identifier"]) == []


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("const a: string = 1", [(1, 7, 2322)]),
        ("return 'a'.foo", [(1, 12, 2339)]),
        ("let x = 1;\n\n  return x.foo;", [(3, 12, 2339)]),
        ("'😀'; return 'a'.foo", [(1, 18, 2339)]),
        ("tools.math.add({ a: 1 })", [(1, 16, 2345)]),
        ("return tools.math.sub({})", [(1, 19, 2339)]),
        ("later", [(1, 1, 2304)]),
        ("document.title", [(1, 1, 2584)]),
        ("const x: number = 'a';\nconst y: string = 2;", [(1, 7, 2322), (2, 7, 2322)]),
        ("return (", [(1, 9, 1109)]),
        ("if (1) {\n", [(2, 1, 1005)]),
        ("", []),
    ],
)
def test_wrong_code_is_told_by_its_place(
    checker: TypeChecker, code: str, expected: list[tuple[int, int, int]]
) -> None:
    assert places(checker.check(code, TOOLS, [])) == expected


def test_messages_are_typescripts(checker: TypeChecker) -> None:
    (found,) = checker.check("const a: string = 1", TOOLS, [])
    assert found.message == "Type 'number' is not assignable to type 'string'."


def test_diagnostics_have_a_bound(checker: TypeChecker) -> None:
    assert len(checker.check("missing;\n" * 200, TOOLS, [])) == 50


def test_checks_know_nothing_of_each_other(checker: TypeChecker) -> None:
    checker.check(
        "declare global { interface String { foo: 1 } }\nexport {}", TOOLS, []
    )
    assert places(checker.check("'a'.foo", TOOLS, [])) == [(1, 5, 2339)]


def test_what_fills_the_memory_fails(checker: TypeChecker) -> None:
    union = " | ".join(f"{{ a{i}: {i} }}" for i in range(200))
    types = [f"type T{i} = ({union}) & {{ b{i}: 1 }};" for i in range(100)]
    uses = [f"let t{i}: T{i} = null as any as T{(i + 1) % 100};" for i in range(100)]
    checker.limit(48 << 20)
    try:
        with pytest.raises(TypeCheckerError):
            checker.check("\n".join(types + uses), TOOLS, [])
    finally:
        checker.limit(None)
    assert checker.check("1", TOOLS, []) == []


def test_all_that_a_context_has_is_declared(
    checker: TypeChecker, context: LocalContext
) -> None:
    context.context.begin(
        "Object.getOwnPropertyNames(globalThis).join(' ')",
        execution_id=1,
        options=ExecutionOptions(tools=ToolLimits()),
    )
    shown = next(e.data for e in context.events if isinstance(e, ExecuteResult))
    names = shown["text/plain"].strip("'").split()
    assert "setTimeout" in names
    code = "\n".join(f"void {name};" for name in names)
    found = checker.check(code, TOOLS, [])
    assert [names[one.line - 1] for one in found] == []


MEMBERS = """
    const found = [];
    const members = (object, text) => {
      for (const key of Object.getOwnPropertyNames(object))
        if (/^[a-z]/.test(key) && !["constructor", "length", "name"].includes(key))
          found.push(`${text}.${key}`);
    };
    members(console, "console");
    members(display, "display");
    for (const name of NAMES) members(globalThis[name].prototype, `({} as ${name})`);
    console.log(found.join("\\n"))
"""
OURS = re.compile(r"^declare class (\w+)", re.MULTILINE)


def test_members_of_our_globals_are_declared(
    checker: TypeChecker, context: LocalContext
) -> None:
    names = [name for name in OURS.findall(GLOBALS.read_text()) if "Denied" not in name]
    names.remove("ToolError")
    members = context.run(MEMBERS.replace("NAMES", str(names))).stdout.splitlines()
    assert "({} as URL).searchParams" in members
    code = "\n".join(f"void {member};" for member in members)
    found = checker.check(code, TOOLS, [])
    assert "\n".join(members[one.line - 1] for one in found) == ""


def test_all_that_is_declared_is_there(context: LocalContext) -> None:
    text = GLOBALS.read_text()
    names = re.findall(
        r"^declare (?:var|class|function|namespace) (\w+)", text, re.MULTILINE
    )
    assert "structuredClone" in names
    listed = ", ".join(f"'{name}'" for name in names)
    code = f"[{listed}].filter((name) => !(name in globalThis)).join()"
    context.context.begin(
        code, execution_id=1, options=ExecutionOptions(tools=ToolLimits())
    )
    shown = next(e.data for e in context.events if isinstance(e, ExecuteResult))
    assert shown["text/plain"] == "''"
