"""Code as a function's body: what it gives, what it leaves, and where it fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.support.local_contexts import LocalContext

from isokernel.context.cell_run import ExecutionOptions
from isokernel.settings import ContextSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.local_contexts import Outcome


@pytest.fixture(scope="module")
def shared() -> Iterator[LocalContext]:
    session = LocalContext(ContextSettings(language="typescript"))
    session.run("1")  # starts its thread
    yield session
    session.context.close()


def run(session: LocalContext, code: str, **options: str) -> Outcome:
    return session.run(code, options=ExecutionOptions(body=True), **options)


@pytest.mark.parametrize("language", ["javascript", "typescript"])
@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("return 1", "1"),
        ("return { a: 1 }", "{ a: 1 }"),
        ("return [1].map((x) => { return x })", "[ 1 ]"),
        ("return 1, 2", "2"),
        ("return 1;;", "1"),
        ("return await 7 // seven", "7"),
        ("for (const x of [1, 2]) { if (x > 1) return x }", "2"),
        ("if (false) { return 1 }\n'last'", None),
        ("class A { m() { return 1 } }\nnew A().m()", "1"),
        ("return", None),
        ("010 + 1", "9"),
        ("return 010", "8"),
    ],
)
def test_the_value(
    shared: LocalContext, language: str, code: str, text: str | None
) -> None:
    outcome = run(shared, code, language=language)
    assert outcome.error is None, outcome.error
    assert outcome.text == text


def test_types_go_also_where_code_is_rewritten(shared: LocalContext) -> None:
    assert run(shared, "enum A { X = 4 }\nreturn A.X as number").text == "4"
    assert run(shared, "if (1) return <string>'a'").text == "'a'"


_IMPORTING = "import { sep } from 'node:path'; enum E { A = 4 }\n"


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("if (sep === '/') { return E.A }\nreturn 1", "4"),
        ("const f = () => { throw E.A }\ntry { f() } catch (e) { return e }", "4"),
        ("const \u00fc = '\U0001f600'; if (sep) return \u00fc + sep", "'\U0001f600/'"),
        ("for (;;) { if (E.A) return 'throw void 0'; else return }", "'throw void 0'"),
        ("if (sep) { return }\nreturn 1", None),
        ("[1].map(() => { return 2 })", "[ 2 ]"),
    ],
)
def test_a_body_imports_has_enums_and_returns(
    shared: LocalContext, code: str, text: str | None
) -> None:
    outcome = run(shared, f"{_IMPORTING}{code}")
    assert outcome.error is None, outcome.error
    assert outcome.text == text


@pytest.mark.parametrize(
    ("code", "place"),
    [
        ("if (!sep) return 1; null.f", "2:26"),
        ("if (sep) return [1, null.f, sep]", "2:26"),
        ("if (!sep) { return 1 } else return [sep, null.f]", "2:47"),
        ("if (sep) return { a: sep, b: null.f }", "2:35"),
    ],
)
def test_places_hold_where_a_return_was_put_back(
    shared: LocalContext, code: str, place: str
) -> None:
    error = run(shared, f"{_IMPORTING}{code}").error
    assert error is not None
    assert error.traceback[1].endswith(f":{place}"), error.traceback


def test_a_last_return_leaves_the_names(shared: LocalContext) -> None:
    run(shared, "const left: number = 5; return left")
    assert run(shared, "left").text == "5"
    run(shared, "const right = 5; if (right) return 1")
    assert run(shared, "typeof right").text == "'undefined'"


@pytest.mark.parametrize(
    ("code", "place"),
    [
        ("let a = 1; null.f; return a", "1:17"),
        ("if (0) { return 1 } null.f", "1:26"),
        ("if (0) { return 1 }\n  null.f", "2:8"),
        ("let a: number = 1; if (0) { return 1 } null.f", "1:45"),
        ("enum A { B }\nif (0) { return 1 }\n  null.f", "3:8"),
        ("enum A { B } if (0) { return 1 } null.f", "1:39"),
        ("if (0) { return 1 } const x: = 2", "1:30"),
        ("return 1;\nconst x = ;", "2:11"),
    ],
)
def test_places_are_the_users(shared: LocalContext, code: str, place: str) -> None:
    error = run(shared, code).error
    assert error is not None
    assert error.traceback[1].endswith(f":{place}"), error.traceback


def test_cells_have_no_return(shared: LocalContext) -> None:
    error = shared.run("return 1").error
    assert error is not None
    assert error.ename == "SyntaxError"
