"""Import and export statements in cells, dynamic import, `require`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from isokernel.context.cell_run import ExecutionOptions

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.local_contexts import LocalContext

    from isokernel.settings import Language

BODY = ExecutionOptions(body=True, result_json=True)


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("import path, { join as j } from 'node:path'; j('a', 'b') + path.sep", "a/b/"),
        ("import * as path from 'path'; path.join('a', 'b')", "a/b"),
        ("import { 'join' as k } from 'path'; k('a', 'b')", "a/b"),
        ("let n = 'x'\nimport { sep } from 'path'\n(n + sep)", "x/"),
        ("sep + 'hoisted'; import { sep } from 'path'", "/hoisted"),
        ("import 'path'; 'side effect only'", "side effect only"),
        ("export const a = 'kept'; export default a + '!'", "kept!"),
        ("export default function f() { return 'named' }\nf()", "named"),
        ("export { sep as slash } from 'path'; export * from 'path'; 'ran'", "ran"),
        ("let own = 'own'; export { own as other }; own", "own"),
        ("import.meta.url", "file:///cell.js"),
        ("(() => import.meta)().filename", "/cell.js"),
        ("import.meta.resolve('path')", "node:path"),
        ("with ({ v: 'sloppy' }) { v }; import { sep as s } from 'path'", "sloppy"),
        ("(await import('path')).join('a', 'b')", "a/b"),
        ("await (0, eval)('import(\"path\")').then((m) => m.sep)", "/"),
        ("require('path').join('a', 'b')", "a/b"),
        ("const later = await import('path'); await 0; later.sep", "/"),
        ("import { sep as é } from 'path'; '😀' + é", "😀/"),
    ],
)
def test_a_cell_that_imports_or_exports(
    context: LocalContext, code: str, text: str
) -> None:
    assert context.value(code) == f"'{text}'"


def test_names_are_constants_of_the_repl(context: LocalContext) -> None:
    context.run("import { sep, join } from 'path'")
    assert context.value("join('a', sep)") == "'a/'"
    assert "constant" in context.run("sep = 1").failure.evalue


def test_a_cell_runs_again_and_names_are_declared_again(context: LocalContext) -> None:
    for _ in range(2):
        code = "import { sep } from 'path'; const x = sep; x"
        assert context.value(code) == "'/'"
    context.run("let name = 1; var old = 2; function f() {}")
    assert context.value("import { sep as name } from 'path'; name") == "'/'"
    assert context.value("import { sep as old } from 'path'; old") == "'/'"
    assert context.value("import { sep as f } from 'path'; f") == "'/'"
    assert context.value("let sep = 5; sep") == "5"


@pytest.mark.parametrize(
    ("code", "ename", "evalue", "place"),
    [
        ("\nimport { nope } from 'path'", "SyntaxError", "does not provide", "2:10"),
        ("1;\n  import 'node:no'", "Error", "No such built-in module", "2:10"),
        ("import x from 'path'\nthrow new Error(x.sep)", "Error", "/", "2:7"),
        ("import x from ;", "SyntaxError", "Expected", "1:15"),
        ("import { sep } from 'path'; let sep", "SyntaxError", "sep", "1:"),
        ("import x from 'path' with { type: 'css' }", "TypeError", '"css"', "1:15"),
        ("import 'path'; x x", "SyntaxError", "", "1:"),
    ],
)
def test_errors_have_their_places(
    context: LocalContext, code: str, ename: str, evalue: str, place: str
) -> None:
    failure = context.run(code).failure
    assert failure.ename == ename
    assert evalue in failure.evalue
    assert f"cell 1:{place}" in "\n".join(failure.traceback)


@pytest.mark.parametrize("language", ["javascript", "typescript"])
@pytest.mark.parametrize(
    ("code", "says", "place"),
    [
        ("import 'path';\nif (1) { import 'node:fs' }", "await import(…)", "2:10"),
        ("{ import x from 'node:fs'; x }", "top level; here", "1:3"),
        ("function f() { import 'node:fs' }", "top level; here", "1:16"),
        ("{ export const a = 1 }", "at the top", "1:3"),
        ("if (1) { export default 5 }", "at the top", "1:10"),
    ],
)
def test_statements_that_are_not_at_the_top_level(
    sessions: Callable[..., LocalContext],
    language: Language,
    code: str,
    says: str,
    place: str,
) -> None:
    session = sessions(language=language)
    failure = session.run(code).failure
    assert failure.ename == "SyntaxError"
    assert says in failure.evalue
    assert f"cell 1:{place}" in "\n".join(failure.traceback)
    assert session.value("1 + 1") == "2"


def test_what_cannot_be_loaded(context: LocalContext) -> None:
    for code in ("import d3 from 'd3'", "await import('d3')", "require('d3')"):
        failure = context.run(code).failure
        assert "d3" in failure.evalue
        assert "modules" in failure.evalue


@pytest.mark.parametrize(
    "code",
    [
        "import type { T } from 'anywhere'; let a: T = 1; a",
        "import { type T, sep } from 'path'; let a: T = 1; a",
        "import { T, sep } from 'path'; let a: T = 1; a",
        "import { sep, T } from 'path'; let a: T = 1; a",
        "import { T } from 'nowhere'; let a: T = 1; a",
        "import { Unused } from 'path'; 1",
        "enum E { A = 1 }; import { sep } from 'path'; E.A",
        "export type Q = 1; export interface R {}; 1 as number",
        "import fs = require('path'); let a: number = 1; a",
    ],
)
def test_imports_of_types_vanish(typescript: LocalContext, code: str) -> None:
    assert typescript.value(code) == "1"


@pytest.mark.parametrize(
    "code",
    [
        "import d3 from 'd3'",
        "import { sepp } from 'path'",
        "import T, { nope } from 'path'",
    ],
)
def test_imports_of_values_do_not(typescript: LocalContext, code: str) -> None:
    assert typescript.run(code).failure.ename in {
        "SyntaxError",
        "CapabilityDeniedError",
    }


def test_an_import_is_there_for_later_cells(typescript: LocalContext) -> None:
    typescript.run("enum E { A = 1 }; import { sep } from 'path'")
    assert typescript.value("sep + E.A") == "'/1'"
    failure = typescript.run("import { Nope } from 'path'; new Nope()").failure
    assert "does not provide an export named 'Nope'" in failure.evalue


def test_types_in_a_javascript_cell_that_imports(context: LocalContext) -> None:
    assert context.value("import { sep } from 'path'; let a: number = 1; a") == "1"


@pytest.mark.parametrize(
    "code",
    [
        "import { sep } from 'path'; return sep + 1",
        "import { sep } from 'path'; if (sep === 1) return; return sep + 1",
        "import { sep } from 'path'; let n: number = 1; if (!n) return\nreturn sep + n",
        "import { sep } from 'path'; sep + 1",
        "import { sep } from 'path'; export default sep + 1",
    ],
)
@pytest.mark.parametrize("language", ["javascript", "typescript"])
def test_bodies_of_functions_import(
    context: LocalContext, code: str, language: str
) -> None:
    outcome = context.run(code, options=BODY, language=language)
    assert outcome.error is None, outcome.error
    assert outcome.text == "'/1'"


def test_a_context_that_imports_nothing_loads_nothing_of_it(
    context: LocalContext,
) -> None:
    context.run("1")
    assert not context.context.bridge.isolate.modules.used
