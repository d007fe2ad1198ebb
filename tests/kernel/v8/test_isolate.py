"""Running JavaScript: the REPL, errors, stopping, threads."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest

from isokernel.errors import (
    IsolateClosedError,
    IsolateThreadError,
    ScriptError,
    TerminatedError,
)
from isokernel.v8 import optimizer
from isokernel.v8.isolate import Isolate, Thrown
from isokernel.v8.scopes import TryCatch
from isokernel.v8.values import new_string

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.isolates import HostedIsolate


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("let a = 1", "let a = 2; a"),
        ("const a = 1", "const a = 2; a"),
        ("class a {}", "class a { static two = 2 }; a.two"),
        ("function a() {}", "function a() { return 2 }; a()"),
        ("class a {}", "let a = 2; a"),
        ("var a = 1", "var a = 2; a"),
    ],
)
def test_declarations_can_be_repeated(
    bench: HostedIsolate, first: str, second: str
) -> None:
    bench.cell(first)
    assert bench.cell(second) == 2


def test_a_message_is_made_only_when_it_is_wanted(bench: HostedIsolate) -> None:
    """V8 would make one for each value that is thrown, caught ones as well."""
    isolate, library = bench.isolate, bench.isolate.library
    made_by_v8 = library.lookup("_ZNK2v88TryCatch7MessageEv", "p", "p")
    with isolate.entered(), TryCatch(library, isolate.pointer) as caught:
        text = new_string(library, isolate.pointer, "\n  let = ;")
        assert not library.compile(isolate.context, text, None)
        assert made_by_v8(caught._address) is None
        assert library.message_column(caught.message) == 8
        thrown = isolate.thrown(caught)
    assert (thrown.line, thrown.column, thrown.end_column) == (2, 8, 9)


def test_where_something_was_thrown(bench: HostedIsolate) -> None:
    """Errors have the place of their stack, other values have none."""
    function = bench.cell("(kind) => {\n  throw kind ? new Error('no') : 5;\n}")
    thrown = bench.isolate.try_call(function, 1)
    assert (thrown.line, thrown.column) == (2, 15)
    thrown = bench.isolate.try_call(function, 0)
    assert (thrown.line, thrown.position) == (0, -1)


def test_top_level_await_and_stray_assignment(bench: HostedIsolate) -> None:
    assert bench.cell("stray = await Promise.resolve(5); stray + 1") == 6
    assert bench.cell("stray;") == 5


def test_a_pending_cell_is_pending_until_its_promise_is_settled(
    bench: HostedIsolate,
) -> None:
    promise = bench.isolate.evaluate("await new Promise((r) => { go = r }); 7", "c")
    assert not isinstance(promise, Thrown)
    bench.isolate.run_microtasks()
    assert bench.isolate.promise(promise) == (0, None)
    bench.cell("go()")
    state, result = bench.isolate.promise(promise)
    assert state == 1
    assert bench.isolate.get(result, ".repl_result") == 7


def test_a_syntax_error_has_its_place(bench: HostedIsolate) -> None:
    thrown = bench.isolate.evaluate("let ok = 1\n  let = ;", "cell-1")
    assert isinstance(thrown, Thrown)
    assert (thrown.line, thrown.column, thrown.end_column) == (2, 8, 9)
    assert bench.text(thrown.value).startswith("SyntaxError")
    assert bench.text(bench.cell("typeof ok")) == "undefined", "nothing ran"


def test_positions_count_utf16_units(bench: HostedIsolate) -> None:
    thrown = bench.isolate.evaluate("'😀'; let = ;", "cell-1")
    assert isinstance(thrown, Thrown)
    assert thrown.column == 12


def test_compile_error_runs_nothing(bench: HostedIsolate) -> None:
    assert bench.isolate.compile_error("note(1)") is None
    error = bench.isolate.compile_error("function f() {")
    assert error is not None
    assert error.position == 14
    assert bench.notes == []


def test_scripts_are_named_in_stacks(bench: HostedIsolate) -> None:
    stack = bench.cell(
        "function f() {\n  return new Error('x').stack\n}\nf()", "cell-3"
    )
    assert "cell-3:2:10" in stack
    assert "cell-3:4:1" in stack


def test_the_users_own_source_url_does_not_win(bench: HostedIsolate) -> None:
    stack = bench.cell("new Error('x').stack //# sourceURL=mine.js", "cell-3")
    assert "cell-3:1:1" in stack
    assert "mine" not in stack


def test_stack_overflow_is_an_ordinary_error(bench: HostedIsolate) -> None:
    thrown = bench.cell("function f() { return f() + 1 }; f()")
    assert bench.text(thrown.value).startswith("RangeError: Maximum call stack")
    assert bench.cell("1 + 1") == 2


@pytest.mark.parametrize(
    "code",
    [
        "for (;;) {}",
        "function f() { for (;;) {} }; f()",
        "/(a+)+b/.test('a'.repeat(40))",
        "JSON.stringify(Array(3e7).fill({ a: [1, 2, 3] })); for (;;) {}",
        "(function again() { return Promise.resolve().then(again) })()",
        "try { for (;;) {} } finally { for (;;) {} }",
    ],
)
def test_terminate_stops_from_another_thread(bench: HostedIsolate, code: str) -> None:
    """Also loops in microtasks, regular expressions and finally blocks."""
    bench.cell("let kept = 'state'")
    timer = threading.Timer(0.1, bench.isolate.terminate)
    timer.start()
    promise = bench.isolate.evaluate(code, "cell-1")
    if not isinstance(promise, Thrown):
        assert not bench.isolate.run_microtasks()
    else:
        assert promise.terminated
    timer.join()
    bench.isolate.resume()
    assert bench.cell("kept") == "state"


def test_terminate_a_call_raises(bench: HostedIsolate) -> None:
    loop = bench.isolate.run_script("() => { for (;;) {} }", "loop")
    timer = threading.Timer(0.05, bench.isolate.terminate)
    timer.start()
    with pytest.raises(TerminatedError):
        bench.isolate.call(loop)
    timer.join()
    bench.isolate.resume()
    assert bench.cell("1") == 1


def test_request_runs_amid_a_busy_loop(bench: HostedIsolate) -> None:
    """And may itself run JavaScript."""
    bench.cell("let rounds = 0; function look() { return rounds }")
    look = bench.cell("look")
    seen: list[int] = []

    def inside() -> None:
        seen.append(bench.isolate.call(look))
        bench.isolate.terminate()

    timer = threading.Timer(0.05, bench.isolate.request, (inside,))
    timer.start()
    thrown = bench.isolate.evaluate("for (;;) rounds++", "cell-1")
    assert isinstance(thrown, Thrown)
    assert thrown.terminated
    timer.join()
    bench.isolate.resume()
    assert seen[0] > 1000


def test_scripts_of_ours_that_throw_raise(bench: HostedIsolate) -> None:
    with pytest.raises(ScriptError, match=r"TypeError: no[\s\S]*ours:1"):
        bench.isolate.run_script("throw new TypeError('no')", "ours")
    with pytest.raises(ScriptError, match="Unexpected end of input"):
        bench.isolate.run_script("(", "ours")
    thrown = bench.isolate.try_call(bench.cell("() => { throw 5 }"))
    assert bench.text(thrown.value) == "5"


def test_unhandled_rejections_are_told_once(bench: HostedIsolate) -> None:
    bench.cell("Promise.reject(new Error('lost')); 1")
    ((reason, owner),) = bench.isolate.rejections.take()
    assert bench.text(reason) == "Error: lost"
    assert owner == 0
    assert bench.isolate.rejections.take() == []


def test_a_handler_that_comes_later_counts(bench: HostedIsolate) -> None:
    bench.cell("const p = Promise.reject(1); p.catch(() => {}); 1")
    assert bench.isolate.rejections.take() == []


def test_an_isolate_belongs_to_its_thread(bench: HostedIsolate) -> None:
    errors: list[BaseException] = []

    def use() -> None:
        try:
            bench.isolate.evaluate("1", "c")
        except IsolateThreadError as error:
            errors.append(error)

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert len(errors) == 1
    assert bench.cell("1 + 1") == 2


def test_several_isolates_take_turns(benches: Callable[..., HostedIsolate]) -> None:
    one, two = benches(), benches()
    one.cell("let who = 'one'")
    two.cell("let who = 'two'")
    assert (one.cell("who"), two.cell("who")) == ("one", "two")


def test_a_closed_isolate_says_so() -> None:
    isolate = Isolate()
    isolate.close()
    isolate.close()
    with pytest.raises(IsolateClosedError):
        isolate.evaluate("1", "c")


def test_lexical_names_and_values(bench: HostedIsolate) -> None:
    bench.cell("let a = 1; const b = { c: 2 }; class D {}; var e = 3")
    assert bench.cell("lexicalNames().join()") == "a,b,D"
    assert bench.cell("lexicalValue('b')[0].c") == 2
    assert bench.text(bench.cell("String(lexicalValue('e'))")) == "undefined"
    assert bench.isolate.lexical_names() == ["a", "b", "D"], "and from outside"


def test_natives_see_through_disguises(bench: HostedIsolate) -> None:
    code = """
    const trap = new Proxy([1], { get() { throw 1 }, getPrototypeOf() { throw 2 } });
    const map = Object.setPrototypeOf(new Map([[1, 2]]), null);
    JSON.stringify([brand(trap), proxyDetails(trap)[0], brand(map), previewEntries(map),
      brand(Object.create(Map.prototype)), promiseDetails(Promise.reject(5).finally()),
      constructorName(new (class Foo {})), constructorName(map)])
    """
    assert bench.cell(code) == (
        '["Proxy",[1],"Map",[[1,2],true],"Object",[0,null,0],"Foo","Map"]'
    )
    bench.isolate.rejections.take()


def test_structured_clone(bench: HostedIsolate) -> None:
    code = """
    const a = { date: new Date(5), map: new Map([[1, new Set([2])]]) };
    a.bytes = new Uint8Array(3);
    a.self = a;
    const b = clone(a);
    [b !== a, b.self === b, +b.date, b.map.get(1).has(2), b.bytes.length].join()
    """
    assert bench.cell(code) == "true,true,5,true,3"
    thrown = bench.cell("clone(() => 1)")
    assert "could not be cloned" in bench.text(thrown.value)


def shortest(bench: HostedIsolate, code: str) -> float:
    """Seconds that a cell takes when nothing else wants the processor."""

    def once() -> float:
        start = time.perf_counter()
        bench.cell(code)
        return time.perf_counter() - start

    return min(once() for _ in range(7))


def test_the_optimizer_is_on(bench: HostedIsolate) -> None:
    """fib(27) with the interpreter alone takes about 60 ms; compiled about 3."""
    assert bench.isolate.optimizer.found
    fib = "function fib(n) { return n < 2 ? n : fib(n - 1) + fib(n - 2) }"
    bench.cell(f"{fib}; fib(27)")
    fast = shortest(bench, "fib(27)")
    bench.isolate.optimizer.set()
    bench.cell("function slow(n) { return n < 2 ? n : slow(n - 1) + slow(n - 2) }")
    slow = shortest(bench, "slow(27)")
    bench.isolate.optimizer.clear()
    assert slow > 2 * fast


def test_a_library_that_is_not_known_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    places = []
    for known in (optimizer._KNOWN, {}):
        monkeypatch.setattr(optimizer, "_KNOWN", known)
        monkeypatch.setattr(optimizer, "_FOUND", {})
        isolate = Isolate()
        places.append(optimizer._FOUND["offset"])
        assert isolate.library.use_optimizer(isolate.pointer)
        isolate.close()
    assert places[0]
    assert places[0] == places[1]
