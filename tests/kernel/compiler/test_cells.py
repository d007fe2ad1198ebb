"""TypeScript in cells, and which language a cell is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.local_contexts import LocalContext


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("let x: number = 3; x as number", "3"),
        ("interface A { b: string }; const a: A = { b: 'c' }; a", "{ b: 'c' }"),
        ("enum Color { Red = 2, Blue }; Color.Blue", "3"),
        ("enum Color { Red = 2 }; Color[2]", "'Red'"),
        ("namespace N { export const v = 5 }; N.v", "5"),
        ("class P { constructor(private x: number) {} }; new P(4)", "P { x: 4 }"),
        ("const y = <number>5; y", "5"),
        ("function id<T>(value: T): T { return value }; id<string>('s')", "'s'"),
        ("type T = string | number; let t: T = 'u'; t!", "'u'"),
        (
            "abstract class B { abstract f(): void }; class C extends B { f() {} } C",
            "[class C extends B]",
        ),
        ("const s = { a: 1 } satisfies object; s", "{ a: 1 }"),
        ("let u: unknown = await Promise.resolve(1); u", "1"),
        ("{ a: 1 as number }", "{ a: 1 }"),
        ("declare const nothing: number; 5", "5"),
        ("import type { A } from 'b'; 6", "6"),
        ("function f(this: Window, a?: number) { return a }; f.length", "1"),
        ("1 + 1", "2"),
    ],
)
def test_typescript_runs_in_both(
    typescript: LocalContext, context: LocalContext, code: str, text: str
) -> None:
    assert typescript.value(code) == text
    assert context.value(code) == text, "JavaScript is given a second chance"


@pytest.mark.parametrize("session", ["typescript", "context"])
@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("{ a: 1, b: 2 }", "{ a: 1, b: 2 }"),
        ("// c\n{ a: 1, b: 2 }", "{ a: 1, b: 2 }"),
        ("/* {; */ // x\n {a: 1, b: 2} // end", "{ a: 1, b: 2 }"),
        ("{ a: 1 as number, b: <string>'c' }", "{ a: 1, b: 'c' }"),
        ("{ a: 1, b: 2 } as { a: number }", "{ a: 1, b: 2 }"),
        (
            "{ f(): void {}, async *g() {}, get x() { return 1 } }",
            "{ f: [Function: f], g: [AsyncGeneratorFunction: g], x: [Getter] }",
        ),
        ("{ a: await 5, ...{ c: 1 }, ['d']: 2 }", "{ a: 5, c: 1, d: 2 }"),
        ("{}", "{}"),
        ("{ const x: number = 1; x }", "1"),
        ("{ enum X { A = 3 }; X.A }", "3"),
        ("{ a: 1 };", "1"),
        ("{ let a = 1; { a } }", "1"),
    ],
)
def test_braces_are_an_object_where_they_can_be_one(
    session: str, request: pytest.FixtureRequest, code: str, text: str
) -> None:
    runner: LocalContext = request.getfixturevalue(session)
    assert runner.value(code) == text


def test_places_in_an_object_are_the_users(typescript: LocalContext) -> None:
    for code in (
        "{ a: 1, b: nope }",
        "{ a: <1>1, b: nope }",
        "// c\n{\n  a: 1 as number,\n  b: nope\n}",
    ):
        line, column = code.count("\n", 0, code.index("nope")) + 1, 0
        column = code.index("nope") - code.rfind("\n", 0, code.index("nope"))
        error = typescript.run(code).failure
        assert error.ename == "ReferenceError"
        assert error.traceback[1].endswith(f":{line}:{column}"), error.traceback
    error = typescript.run("{ a: 1, b: }").failure
    assert error.traceback[1].endswith(":1:12"), "where the object goes wrong"
    error = typescript.run("{ a: 1, b: 2").failure
    assert error.traceback[1].endswith(":1:10"), "a place in the cell"


def test_the_languages_differ_where_both_are_legal(
    typescript: LocalContext, context: LocalContext
) -> None:
    """`f<T>(x)` compares in JavaScript and calls in TypeScript."""
    code = "var f = (x) => x, T = 1; f<T>(x = 5)"
    assert context.value(code) == "false"
    assert typescript.value(code) == "5"


@pytest.mark.parametrize("code", ["010", "with ({ a: 8 }) a", "var o = 010; delete o"])
def test_sloppy_scripts_run_although_typescript_refuses(
    typescript: LocalContext, code: str
) -> None:
    assert typescript.value(code) in {"8", "false"}


def test_a_cell_can_name_its_language(context: LocalContext) -> None:
    outcome = context.run("var f = (x) => x, T = 1; f<T>(x = 5)", language="typescript")
    assert outcome.text == "5"


def _places(session: LocalContext, code: str) -> list[str]:
    error = session.run(code).error
    assert error is not None
    return [line.strip() for line in error.traceback if "cell" in line]


@pytest.mark.parametrize("session", ["typescript", "context"])
def test_lines_and_columns_are_the_users(
    session: str, request: pytest.FixtureRequest
) -> None:
    """Also behind an enum, for which SWC writes the cell anew."""
    runner = request.getfixturevalue(session)
    stripped = (
        "type A = {\n  b: number\n}\n"
        "function f(a: A) {\n  throw Error('x')\n}\nf({b: 1})"
    )
    assert _places(runner, stripped) == ["at f (cell 1:5:9)", "at cell 1:7:1"]
    changed = (
        "enum E {\n  A,\n  B\n}\n\n"
        "function g(e: E): never {\n  throw new Error('é')\n}\n  g(E.A)"
    )
    assert _places(runner, changed) == ["at g (cell 2:7:9)", "at cell 2:9:3"]
    stack = runner.value(
        "try { g(0) } catch (error) { error.stack.split('\\n')[1].trim() }"
    )
    assert stack == "'at g (cell 2:7:9)'"


def test_the_source_line_and_caret_are_the_users(typescript: LocalContext) -> None:
    error = typescript.run("enum E { A }\nlet v: E = nope;").failure
    assert list(error.traceback[1:]) == [
        "    at cell 1:2:12",
        "     2 | let v: E = nope;",
        "       |            ^",
    ]


def test_jsx_is_refused_with_the_compilers_words(typescript: LocalContext) -> None:
    error = typescript.run("const a = 1\nconst b = <div/>").failure
    assert error.ename == "SyntaxError"
    assert error.evalue == "Expression expected"
    assert "cell 1:2:16" in error.traceback[1]
    assert error.traceback[3].rstrip().endswith("^")


def test_each_language_shows_its_own_error(
    typescript: LocalContext, context: LocalContext
) -> None:
    assert "Unexpected token" in context.run("let x: = 5").failure.evalue
    assert "Expected an identifier" in typescript.run("let x: = 5").failure.evalue


def test_decorators_are_as_v8_and_swc_have_them(typescript: LocalContext) -> None:
    """Neither lowers them yet: a syntax error with its place, not silence."""
    error = typescript.run("@logged class A {}").failure
    assert error.ename == "SyntaxError"
    assert "cell 1:1:1" in error.traceback[1]
