"""What was thrown, as data: names, messages, the user's frames, causes, odd things."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.support.local_contexts import LocalContext


def describe(context: LocalContext, code: str) -> dict[str, Any]:
    """The runtime's own description of what a cell throws."""
    bridge = context.context.bridge
    described: list[str] = []
    original = bridge.call

    def spy(name: str, *arguments: Any) -> Any:
        answer = original(name, *arguments)
        if name == "describe":
            described.append(answer)
        return answer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bridge, "call", spy)
        assert context.run(code).error
    answer: dict[str, Any] = json.loads(described[-1])
    return answer


def test_frames(context: LocalContext) -> None:
    """Frames are the user's, innermost first, with lines and columns from 1."""
    context.run(
        "function deep(n) {\n  if (!n) throw new TypeError('deep')\n  deep(n - 1)\n}"
    )
    error = describe(
        context, "\nclass Foo { bar() { [1].map(deep) } }\nnew Foo().bar()"
    )
    assert (error["ename"], error["evalue"]) == ("TypeError", "deep")
    places = [
        (f["function"], f["script"], f["line"], f["column"]) for f in error["frames"]
    ]
    assert places == [
        ("deep", "cell-1", 2, 17),
        ("deep", "cell-1", 3, 3),
        ("Foo.bar", "cell-2", 2, 25),
        ("", "cell-2", 3, 11),
    ]


def test_stack_text(context: LocalContext) -> None:
    """error.stack has V8's form, with the user's frames and what they called."""
    stack = context.run(
        "class Foo { bar() { return [1].map(() => new Error('m').stack)[0] } }\n"
        "console.log(new Foo().bar())"
    ).stdout
    assert stack == (
        "Error: m\n    at cell 1:1:42\n    at Array.map (<anonymous>)\n"
        "    at Foo.bar (cell 1:1:32)\n    at cell 1:2:23\n"
    )


def test_runtime_frames_are_hidden(context: LocalContext) -> None:
    """An error that the runtime throws is shown at the user's call."""
    error = describe(context, "setTimeout(null)")
    assert [(f["line"], f["column"]) for f in error["frames"]] == [(1, 1)]
    assert "isokernel" not in error["text"]


def test_async_frames(context: LocalContext) -> None:
    """Frames go over awaits."""
    error = describe(context, "const f = async () => { await null; null.x }; await f()")
    assert [f["function"] for f in error["frames"]] == ["f", ""]


def test_eval(context: LocalContext) -> None:
    """Code that was made at run time has frames without a cell."""
    error = describe(context, "eval('null.x')")
    assert "at eval (eval at <anonymous>, <anonymous>:1:6)" in error["text"]
    assert [f["script"] for f in error["frames"]] == ["cell-1"]


def test_user_preparer(context: LocalContext) -> None:
    """A user's Error.prepareStackTrace is honoured, and gets the user's call sites."""
    context.run("Error.prepareStackTrace = (error, sites) => sites.length")
    assert context.value("new Error('x').stack") == "1"
    context.run("Error.prepareStackTrace = () => { throw 1 }")
    assert describe(context, "throw new Error('m')")["evalue"] == "m"


def test_causes(context: LocalContext) -> None:
    """Causes are told, up to where they go round."""
    error = describe(
        context, "throw new Error('a', {cause: new RangeError('b', {cause: 'why'})})"
    )
    assert error["cause"]["ename"] == "RangeError"
    assert error["cause"]["cause"]["evalue"] == "'why'"
    round_ = describe(context, "const e = new Error('x'); e.cause = e; throw e")
    assert "cause" not in round_


def test_deep_causes_are_bounded(context: LocalContext) -> None:
    """A very long chain of causes is cut."""
    error = describe(
        context,
        "let e; for (let i = 0; i < 1000; i++) e = new Error(i, {cause: e}); throw e",
    )
    depth = 0
    while "cause" in error:
        error, depth = error["cause"], depth + 1
    assert depth == 5


def test_aggregate(context: LocalContext) -> None:
    """The errors of an AggregateError are told, the first ten."""
    error = describe(context, "await Promise.any([Promise.reject(new TypeError('a'))])")
    assert [e["evalue"] for e in error["errors"]] == ["a"]
    many = describe(context, "throw new AggregateError(Array(50).fill(1), 'many')")
    assert len(many["errors"]) == 10


@pytest.mark.parametrize(
    ("thrown", "ename", "evalue"),
    [
        ("'text'", "string", "'text'"),
        ("42", "number", "42"),
        ("null", "null", "null"),
        ("undefined", "undefined", "undefined"),
        ("Symbol('s')", "symbol", "Symbol(s)"),
        ("{code: 5}", "Object", "{ code: 5 }"),
        ("new (class Foo { x = 1 })", "Foo", "Foo { x: 1 }"),
        ("() => 1", "Function", "[Function (anonymous)]"),
    ],
)
def test_no_error_at_all(
    context: LocalContext, thrown: str, ename: str, evalue: str
) -> None:
    """Values that aren't errors are shown by value."""
    error = describe(context, f"throw {thrown}")
    assert (error["ename"], error["evalue"], error["frames"]) == (ename, evalue, [])


@pytest.mark.parametrize(
    ("code", "ename", "evalue"),
    [
        ("class MyError extends Error {}; throw new MyError('m')", "MyError", "m"),
        ("const e = new Error('m'); e.name = 'Named'; throw e", "Named", "m"),
        ("throw new DOMException('m', 'AbortError')", "AbortError", "m"),
        ("throw Object.create(Error.prototype)", "Error", ""),
        ("throw Object.setPrototypeOf(new Error('m'), null)", "Error", "m"),
        ("const e = new Error(); e.message = {a: 1}; throw e", "Error", "{ a: 1 }"),
        ("throw Object.freeze(new Error('cold'))", "Error", "cold"),
    ],
)
def test_names(context: LocalContext, code: str, ename: str, evalue: str) -> None:
    """Names and messages are those that a person expects."""
    error = describe(context, code)
    assert (error["ename"], error["evalue"]) == (ename, evalue)


TRAP = "new Proxy({}, {get: (_, k) => (() => ran.push(k))})"


def test_proxies_run_no_traps(context: LocalContext) -> None:
    """A thrown proxy, or one that is a cause, is described without its traps."""
    context.run(f"var ran = []; var trap = new Proxy(new Error('t'), {TRAP})")
    describe(context, "throw trap")
    describe(context, "throw new Error('m', {cause: trap})")
    describe(context, "throw new AggregateError([trap])")
    assert context.value("ran") == "[]"


def test_throwing_getters(context: LocalContext) -> None:
    """Getters that throw don't keep an error from being described."""
    error = describe(
        context,
        "const e = new Error('x');"
        "for (const k of ['name', 'message', 'stack', 'cause'])"
        "Object.defineProperty(e, k, {get() { throw new Error('no') }}); throw e",
    )
    assert (error["ename"], error["evalue"]) == ("Error", "")


def test_broken_inspection(context: LocalContext) -> None:
    """An inspection method that throws doesn't, either."""
    error = describe(
        context, "throw {[Symbol.for('nodejs.util.inspect.custom')]() { throw 1 }}"
    )
    assert error["ename"] == "Object"


def test_stack_overflow(context: LocalContext) -> None:
    """Endless recursion is an ordinary error, and the context lives."""
    error = describe(context, "function f() { f() } f()")
    assert error["ename"] == "RangeError"
    assert context.value("1") == "1"


def test_query_names(context: LocalContext) -> None:
    """Cells outside the history have a name, too."""
    error = context.run("null.x", store_history=False).error
    assert error
    assert "query 1:1:6" in "\n".join(error.traceback)


def test_an_errors_own_properties_are_shown(context: LocalContext) -> None:
    error = context.run(
        "throw Object.assign(new Error('x'), { status: 404, body: { a: [1] } })"
    ).failure
    assert error.traceback[-1] == "  { status: 404, body: { a: [ 1 ] } }"
    code = (
        "class E extends Error { code = 'E_X'; get odd() { throw 1 } }\n"
        "throw new Error('y', { cause: Object.defineProperty(new E('z'), 'late', "
        "{ get() { throw 2 }, enumerable: true }) })"
    )
    assert context.run(code).failure.traceback[-1] == (
        "    { code: 'E_X', late: [Getter] }"
    )
    assert "{" not in context.run("throw new Error('plain')").failure.traceback[-1]


def test_output_waits_while_the_stack_is_full(context: LocalContext) -> None:
    """The look at what was printed, every 50 ms, finds no room for a call."""
    error = context.run(
        "let waited = false;\n"
        "function f() {\n"
        "  try { f(); } catch {\n"
        "    if (waited) return;\n"
        "    for (const end = Date.now() + 300; Date.now() < end;);\n"
        "    waited = true;\n"
        "  }\n"
        "}\n"
        "console.log('before'); f(); console.log('after', waited)"
    ).error
    assert error is None
