"""Names declared again with another kind, in JavaScript and in TypeScript."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from isokernel.compiler import redeclaration
from isokernel.compiler.cells import Move, origin
from isokernel.typescript.transpiler import Transpiler, transpiler

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.local_contexts import LocalContext

DECLARATIONS = {
    "let": "let a = {}; a.v = N",
    "const": "const a = { v: N }",
    "class": "class a { static v = N }",
    "var": "var a = { v: N }",
    "function": "function a() { return N }",
    "async function": "async function a() { return N }",
    "destructuring": "let { a, b } = { a: { v: N }, b: 0 }",
    "stray": "a = { v: N }",
}
VALUE = "await (typeof a === 'function' && a.v === undefined ? a() : a.v)"
CONSTANT = "Assignment to constant variable."
SUFFIXES = {
    "javascript": "",
    "typescript": "\n;type Unused = number",
    "transformed": "\n;enum Unused {}",  # written anew by SWC, with a source map
}


class Cells:
    """Runs cells with something behind them that makes SWC do its work."""

    def __init__(self, session: LocalContext, suffix: str) -> None:
        self.context = session.context
        self._session = session
        self._suffix = suffix

    def run(self, code: str) -> Any:
        return self._session.run(code + self._suffix)

    def value(self, code: str) -> Any:
        return self._session.value(code)


@pytest.fixture(params=SUFFIXES)
def session(
    request: pytest.FixtureRequest, sessions: Callable[..., LocalContext]
) -> Any:
    """A context, and cells of each sort."""
    language = "javascript" if request.param == "javascript" else "typescript"
    return Cells(sessions(language=language), SUFFIXES[request.param])


def _ok(session: LocalContext, *cells: str) -> None:
    for cell in cells:
        error = session.run(cell).error
        assert error is None, (cell, error)


def _traceback(session: LocalContext, code: str) -> list[str]:
    error = session.run(code).error
    assert error is not None
    return list(error.traceback)


@pytest.mark.parametrize("second", DECLARATIONS)
@pytest.mark.parametrize("first", DECLARATIONS)
def test_every_kind_after_every_kind(
    session: LocalContext, first: str, second: str
) -> None:
    _ok(session, DECLARATIONS[first].replace("N", "1"))
    error = session.run(DECLARATIONS[second].replace("N", "2")).error
    if (first, second) == ("const", "stray"):
        assert error is not None
        assert error.evalue == CONSTANT
        return
    assert error is None, error
    assert session.value(VALUE) == "2"
    if (first, second) != ("stray", "const"):
        _ok(session, DECLARATIONS[first].replace("N", "3"))
        assert session.value(VALUE) == "3"


def test_functions_of_earlier_cells_see_the_new_value(context: LocalContext) -> None:
    """As with V8's own `let` after `let`: there is one variable of the name."""
    kinds = [("let", "const"), ("let", "var"), ("var", "const"), ("const", "let")]
    for first, second in kinds:
        name = f"{first}_{second}"
        _ok(context, f"{first} {name} = 1", f"var get = () => {name}")
        _ok(context, f"{second} {name} = 2")
        assert context.value("get()") == "2"


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        ("5; const a = 2", "5"),
        ("5; var a = 2", "5"),
        ("5; function a() {}", "5"),
        ("5; const b = 2", "5"),
        ("5; class b {}", "5"),
        ("const a = await Promise.resolve(7); a", "7"),
        ("const { a, fresh = 3 } = { a: 4 }; [a, fresh]", "[ 4, 3 ]"),
        ("var { a, fresh = 3 } = { a: 4 }, b = 5; [a, fresh, b]", "[ 4, 3, 5 ]"),
        ("var [a] = 'xy', a = a + 1; a", "'x1'"),
        ("let b, q = 1; [b, q]", "[ undefined, 1 ]"),
        ("let c; c", None),
        ("const f = () => 8; f.name + f()", "'f8'"),
        ("const a = 1\n_", "'before'"),
        ("const a = 3, b = 4, c = 5; a + b + c", "12"),
        ("let a = 3, b = 4, c = 5; a + b + c", "12"),
        ("var a = 3, b = 4, c = 5; a + b + c", "12"),
        ("'use strict'; const a = this; function b() {}", "'use strict'"),
        ("#!/usr/bin/env node\nconst a = 6; a", "6"),
    ],
)
def test_results_are_as_ever(session: LocalContext, cell: str, text: Any) -> None:
    _ok(session, "let a = 1; var b = 2; const c = 0; function f() {}\n'before'")
    outcome = session.run(cell)
    assert outcome.error is None, outcome.error
    assert outcome.text == text


@pytest.mark.parametrize("first", ["let a, b", "const a = 0, b = 0", "class a {}"])
def test_functions_are_hoisted(context: LocalContext, first: str) -> None:
    _ok(context, first)
    cell = (
        "'use strict'; const before = a(3) + a.name;\n"
        "function a(n) { return 0 }\n"
        "function a(n) { return n && n + a(n - 1) }\n"
        "[before, a(2)]"
    )
    assert context.value(cell) == "[ '6a', 3 ]"
    assert context.value("function a(n) { return 1 } a.toString()") == (
        "'function a(n) { return 1 }'"
    )


def test_a_moved_function_can_be_replaced_like_any(context: LocalContext) -> None:
    """Its own name means the variable, not the function itself."""
    _ok(context, "let fact", "function fact(n) { return n < 2 ? 1 : n * fact(n - 1) }")
    assert context.value("fact = ((f) => (n) => -f(n))(fact); fact(3)") == "-6"


def test_statements_around_a_moved_function_stay_apart(context: LocalContext) -> None:
    _ok(context, "let a, log = []", "var b")
    cell = (
        "log.push\nfunction a() {}\n(log.push(1))\nclass b {}\n[log.length, typeof a]"
    )
    assert context.value(cell) == "[ 1, 'function' ]"


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("for (var i = 0, n = 3; i < n; i++);", "3 | 3"),
        ("for (var i of [7]);", "7 | 9"),
        ("for (var { i, n } of [{ i: 1, n: 2 }]);", "1 | 2"),
        ("for (var i in { key: 1 });", "key | 9"),
        ("for await (var i of [8]);", "8 | 9"),
        ("if (true) { var i = 4 } else { var i = 5 }", "4 | 9"),
        ("try { throw 1 } catch { var i = 6 } finally { var n = 7 }", "6 | 7"),
        ("switch (1) { case 1: var i = 2, n }", "2 | 9"),
        ("label: var i = 3", "3 | 9"),
        ("i = 5; var i; for (var n; ;) break", "5 | 9"),
        ("var i = i || 8", "1 | 9"),
        ("var get = () => { var i = 9; return i }; get()", "1 | 9"),
        ("{ i(); function i() { return 4 } } i = i()", "4 | 9"),
        ("if (true) function i() { return 5 }\ni = i()", "5 | 9"),
        ("switch (1) { case 1: function i() { return 6 } }\ni = i()", "6 | 9"),
    ],
)
def test_var_and_functions_inside_of_statements(
    context: LocalContext, cell: str, value: str
) -> None:
    _ok(context, "let i = 1, n = 9", cell)
    assert context.value("`${i} | ${n}`") == f"'{value}'"


def test_a_name_whose_cell_failed_can_be_declared_in_any_way(
    context: LocalContext,
) -> None:
    for number, second in enumerate(
        ["const NAME = 2", "var NAME = 2", "for (var NAME = 0; NAME < 2; NAME++);"]
    ):
        name = f"n{number}"
        assert context.run(f"let {name} = missing").failure.ename == "ReferenceError"
        _ok(context, second.replace("NAME", name))
        assert context.value(name) == "2"
    assert context.run("const k = missing").error is not None
    assert context.value("let k = 3; k") == "3"


def test_enums_and_namespaces_are_new_things(typescript: LocalContext) -> None:
    _ok(typescript, "let E = { Old: 1 }; const F = { Old: 1 }; let N = { old: 1 }")
    assert typescript.value("enum E { A }; E.A + Object.keys(E)") == "'00,A'"
    assert typescript.value("enum F { A }; F.A + Object.keys(F)") == "'00,A'"
    assert typescript.value("namespace N { export const x = 1 }; N") == "{ x: 1 }"


# -- places ----------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", SUFFIXES.values())
def test_places_are_the_users(typescript: LocalContext, suffix: str) -> None:
    _ok(typescript, "let a, b; const c = 0; var d, e; class f {}")
    cell = (
        "const a = 1, d = 2, c = 3; class e {} function f() {\n"
        "  throw new Error('😀') }\n"
        "let b = 4; function g() { f(a) } /* 😀 */ g()"
    )
    assert _traceback(typescript, cell + suffix) == [
        "Error: 😀",
        "    at f (cell 2:2:9)",
        "     2 |   throw new Error('😀') }",
        "       |         ^",
        "    at g (cell 2:3:27)",
        "    at cell 2:3:43",
    ]


@pytest.mark.parametrize(
    ("cell", "place"),
    [
        ("let c = boom()", "1:9"),
        ("const a = boom()", "1:11"),
        ("class d { static x = boom() }", "1:22"),
        ("const a = 1,\n  d = 2,\n  z = boom()", "3:7"),
        ("var a = boom()", "1:9"),
        ("for (var a of boom());", "1:15"),
        ("function a() {}  boom()", "1:18"),
        ("boom(); function a() {}", "1:1"),
        ("{ boom(); function a() {} }", "1:3"),
        ("5\r\nfunction a() {\r\n}\r\n boom()", "4:2"),
    ],
)
def test_places_around_what_was_rewritten(
    context: LocalContext, cell: str, place: str
) -> None:
    _ok(context, "let a; const c = 0; var d")
    frame = _traceback(context, cell)[1]
    assert frame.rstrip(")").endswith(f"cell 2:{place}")


def test_origin_of_places() -> None:
    moves = [
        Move(1, 0, 4, 2, inserted=False),
        Move(3, 5, 1, 7, inserted=True),
        Move(3, 9, 1, 7, inserted=False),
    ]
    assert origin((), 2, 3) == (2, 3)
    assert origin(moves[1:], 1, 3) == (1, 3)
    assert origin(moves, 1, 1) == (4, 3)
    assert origin(moves, 2, 1) == (5, 1)
    assert origin(moves, 3, 8) == (1, 7)
    assert origin(moves, 3, 11) == (1, 9)
    assert origin(moves, 4, 11) == (2, 11)


# -- where it gives up -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("cell", "place", "hint"),
    [
        ("1;\nlet c = 1; c++", "2:5", "made it a constant"),
        ("let c; [c] = [1]", "1:5", "made it a constant"),
        ("class c {}; for (c of []);", "1:7", "made it a constant"),
        ("c(); function c() { c = 1 }", "1:15", "made it a constant"),
        ("for (var c = 0; ;) {}", "1:10", "made it a constant"),
        ("{ function c() {} }", "1:12", "made it a constant"),
        ("var c = 1; var c = 2", "1:5", "in another way"),
        ("let { a, v } = {}", "1:7", "declaration of its own"),
        ("const { a, v } = {}", "1:12", "declaration of its own"),
        ("let q = 1, undefined = 2", "1:12", None),
    ],
)
def test_what_cannot_be_is_explained_at_its_place(
    session: LocalContext, cell: str, place: str, hint: str | None
) -> None:
    _ok(session, "let a = 1; const c = 0; var v")
    cells = session.context.execution_count
    lines = _traceback(session, cell)
    assert lines[0].startswith("SyntaxError: Identifier '")
    assert lines[1] == f"    at cell {cells + 1}:{place}"
    assert lines[3].endswith("^")
    assert hint in lines[4] if hint else len(lines) == 4
    assert session.value("a") == "1", "nothing ran"


def test_a_name_twice_in_one_cell_is_an_error_there(session: LocalContext) -> None:
    _ok(session, "const a = 0")
    for cell, column in [("let z = 1; let z = 2", 16), ("let a = 1; const a = 2", 18)]:
        lines = _traceback(session, cell)
        assert "has already been declared" in lines[0]
        assert lines[1].endswith(f":1:{column}")
        assert len(lines) == 4, "no advice about earlier cells"


def test_a_cell_that_failed_to_compile_after_all(context: LocalContext) -> None:
    _ok(context, "let async")
    lines = _traceback(context, "for (var async of []);")
    assert lines[1] == "    at cell 2:1:10"
    assert "in another way" in lines[4]


def test_using_is_left_alone(context: LocalContext) -> None:
    _ok(context, "let a = 1")
    lines = _traceback(context, "using a = { [Symbol.dispose]() {} }")
    assert "has already been declared" in lines[0]


def test_what_had_to_become_a_constant_is_told_when_it_matters(
    context: LocalContext,
) -> None:
    _ok(context, "const a = 1")
    assert len(_traceback(context, "a = 2")) == 4
    _ok(context, "let a = 2")
    lines = _traceback(context, "a = 3")
    assert lines[0] == f"TypeError: {CONSTANT}"
    assert "constant for good: a." in lines[4]


# -- cost ------------------------------------------------------------------------------


def test_many_names_at_once(context: LocalContext) -> None:
    names = [f"n{number}" for number in range(60)]
    _ok(context, f"let {', '.join(names[:30])}; var {', '.join(names[30:])}")
    _ok(context, ";".join(f"const {name} = '{name}'" for name in names))
    assert context.value("n0 + n59") == "'n0n59'"


def test_too_many_names_are_refused(
    context: LocalContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redeclaration, "_ATTEMPTS", 1)
    _ok(context, "let a, b")
    lines = _traceback(context, "const a = 1, b = 2")
    assert lines[0] == "SyntaxError: Identifier 'b' has already been declared"


def test_nothing_is_loaded_without_a_clash(
    context: LocalContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = Transpiler()
    monkeypatch.setattr(redeclaration, "transpiler", lambda: fresh)
    try:
        _ok(context, "let a = 1; const b = 1; var c", "let a = 2; const b = 2; var c")
        assert context.run("let ]").error is not None
        assert not {"redeclare", "vendor/acorn"} & set(fresh.modules)
        _ok(context, "const a = 3")
        assert {"redeclare", "vendor/acorn"} <= set(fresh.modules)
    finally:
        fresh.close()


def test_completion_lists_a_name_once(context: LocalContext) -> None:
    _ok(context, "let name1 = 1; var name2 = 1", "var name1 = 2; const name2 = 2")
    assert sorted(context.context.queries.complete("name", 4).matches) == [
        "name1",
        "name2",
    ]


def test_code_that_the_parser_does_not_know_is_left_alone() -> None:
    answer = transpiler().redeclare("let ] = 1", {"a": "let"}, "a")
    assert answer == {"place": None, "reason": "invalid"}
