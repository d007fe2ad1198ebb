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


@pytest.mark.parametrize("session", ["typescript", "context"])
@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("var await = 5; await + 1", "6"),
        ("function await(x) { return x * 2 }\nawait(4)", "8"),
        ("var await = 1; class A { static { this.f = () => await } }; A.f()", "1"),
        ("var await = 1; let kept = 2; const more = 3; kept + more", "5"),
        ("async function f(x = 1) { return x }; await f()", "1"),
    ],
)
def test_await_is_a_name_where_a_script_has_it_as_one(
    session: str, request: pytest.FixtureRequest, code: str, text: str
) -> None:
    runner: LocalContext = request.getfixturevalue(session)
    assert runner.value(code) == text
    assert runner.value("await 7") == "7"


def test_what_such_a_script_throws_is_the_cells_error(context: LocalContext) -> None:
    failure = context.run("var await = 1;\n  null.x").failure
    assert failure.ename == "TypeError"
    assert failure.traceback[1].endswith("cell 1:2:8")
    assert context.run("var await = 1; throw 5").failure.evalue == "5"
    assert context.run("var await = Promise.reject(1); await").stderr.count("1") == 1


def test_await_that_is_no_name_either_is_refused(context: LocalContext) -> None:
    for code, says in (
        ("async function f() { var await }", "reserved word"),
        ("const q = await", "end of input"),
        ("let enum = await 1", "reserved word"),
    ):
        failure = context.run(code).failure
        assert failure.ename == "SyntaxError"
        assert says in failure.evalue


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


@pytest.mark.parametrize("session", ["typescript", "context"])
@pytest.mark.parametrize(
    "code",
    [
        "const a = 1\nconst b = <div/>",
        "const a = 1\nconst b = <div>some text</div>",
        "const a = 1\nconst b = <App.Item name={1} {...a}>x</App.Item>",
        "const a = 1\nconst b = <><p>1</p></>",
        "function f() {\n  return (<b/>) }",
    ],
)
def test_jsx_is_refused_by_its_name(
    session: str, request: pytest.FixtureRequest, code: str
) -> None:
    error = request.getfixturevalue(session).run(code).failure
    assert error.ename == "SyntaxError"
    assert error.evalue == "JSX isn't supported"
    line, column = code.count("\n", 0, code.index("<")) + 1, 0
    column = code.index("<") - code.rfind("\n", 0, code.index("<"))
    assert f"cell 1:{line}:{column}" in error.traceback[1]
    assert error.traceback[3].rstrip().endswith("^")


@pytest.mark.parametrize(
    "code",
    [
        "const s = '<div></div>'; let a b",
        "const f = <T>(x: T) => x; let a b",
        "a < b c",
    ],
)
def test_other_errors_are_not_taken_for_jsx(
    typescript: LocalContext, code: str
) -> None:
    assert "JSX" not in typescript.run(code).failure.evalue


def test_each_language_shows_its_own_error(
    typescript: LocalContext, context: LocalContext
) -> None:
    assert "Unexpected token" in context.run("let x: = 5").failure.evalue
    assert "Expected an identifier" in typescript.run("let x: = 5").failure.evalue


_DECORATOR = """
const seen = [];
function dec(value, { kind, name, addInitializer }) {
  seen.push(`${kind} ${String(name)}`);
  addInitializer?.(() => seen.push(`new ${String(name)}`));
  if (kind === "method") return function (...values) {
    return "wrapped " + value.apply(this, values);
  };
  if (kind === "field") return (initial) => initial + 1;
}
"""


@pytest.mark.parametrize("session", ["typescript", "context"])
@pytest.mark.parametrize(
    ("code", "text"),
    [
        (
            "@dec class A { x = 1 }; [new A, A, seen]",
            "[ A { x: 1 }, [class A], [ 'class A', 'new A' ] ]",
        ),
        ("class A { @dec m(a: string) { return a } }; new A().m('b')", "'wrapped b'"),
        (
            "class A { @dec x = 1; @dec static #p = 5; static p() { return A.#p } };"
            "[new A().x, A.p()]",
            "[ 2, 6 ]",
        ),
        (
            "class A { accessor x: number = 1 }; const a = new A; a.x++; [a, a.x]",
            "[ A {}, 2 ]",
        ),
        (
            "class A { @dec accessor x = 1; @dec get y() { return 2 } }; seen",
            "[ 'accessor x', 'getter y' ]",
        ),
        ("const f = @dec class {}; f.name", "'f'"),
        ("{ a: 1, b: @dec class {} }", "{ a: 1, b: [class b] }"),
        ("enum E { B = 5 } @dec class A { e = E.B }; await new A", "A { e: 5 }"),
        ("using a = null; let b = 1; @dec class C {}; a", "null"),
    ],
)
def test_standard_decorators_run(
    session: str, request: pytest.FixtureRequest, code: str, text: str
) -> None:
    runner: LocalContext = request.getfixturevalue(session)
    runner.run(_DECORATOR)
    assert runner.value(code) == text


def test_decorated_classes_are_names_like_others(context: LocalContext) -> None:
    context.run(_DECORATOR)
    context.run("class A { x = 1 }")
    context.run("using held = null; @dec class A { y = 2 }\nlet other = 5")
    assert context.value("[new A, other, held]") == "[ A { y: 2 }, 5, null ]"
    assert context.context.queries.names() == [
        "A",
        "_4",
        "dec",
        "held",
        "other",
        "seen",
    ]
    assert context.value(
        "Object.keys(globalThis).filter((k) => k.startsWith('__'))"
    ) == ("[]")
    assert context.value("(function () { return this })() === globalThis") == "true"


def test_places_in_decorated_code_are_the_users(context: LocalContext) -> None:
    context.run("const dec = (value) => value")
    context.run("\n\nclass A {\n  @dec m(): void {\n    nope\n  }\n}")
    error = context.run("new A().m()").failure
    assert "(cell 2:5:5)" in error.traceback[1]


@pytest.mark.parametrize("session", ["typescript", "context"])
@pytest.mark.parametrize(
    ("code", "message", "column"),
    [
        (
            "class A { constructor(@dec x) {} }",
            "Parameter decorators aren't supported: standard JavaScript has none",
            23,
        ),
        ("@dec function f() {}", "Decorators are not valid here", 1),
        ("@dec let a = 1", "Decorators are not valid here", 1),
        ("class A { @dec m() {", None, 21),
    ],
)
def test_decorators_in_other_places_are_refused(
    session: str,
    request: pytest.FixtureRequest,
    code: str,
    message: str | None,
    column: int,
) -> None:
    error = request.getfixturevalue(session).run(code).failure
    assert error.ename == "SyntaxError"
    assert message in {None, error.evalue}
    assert f"cell 1:1:{column}" in error.traceback[1]


def test_using_at_the_top_level_is_a_constant_that_is_kept(
    context: LocalContext,
) -> None:
    """Its name outlives the cell, so what it holds must: only blocks dispose of it."""
    context.run(
        "const closing = (name) => ({ [Symbol.dispose]() { console.log(name) } })"
    )
    assert context.run("using a = closing('a'); await using b = null").stdout == ""
    assert (
        context.run("{ using c = closing('c'); console.log('in') }").stdout == "in\nc\n"
    )
    assert context.value("typeof a[Symbol.dispose]") == "'function'"
    assert context.value("using a = null; a") == "null", "it may be declared again"
