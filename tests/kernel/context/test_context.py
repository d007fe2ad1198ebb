"""The REPL context: cells, the event loop, stopping, bounds, errors."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.local_contexts import LocalContext

from isokernel.context import Context
from isokernel.context.events import (
    ErrorInfo,
    ExecuteResult,
    ExecutionDone,
    Stream,
)
from isokernel.errors import ContextBusyError, ContextClosedError, InputUnavailableError
from isokernel.settings import ContextSettings

if TYPE_CHECKING:
    from collections.abc import Callable

MIB = 1 << 20


# -- cells -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("1 + 1", "2"),
        ("1 + 1;", "2"),
        ("'a'", "'a'"),
        ("let x = 5", None),
        ("undefined", None),
        ("null", "null"),
        ("x = 9", "9"),
        ("{ a: 1 }", "{ a: 1 }"),
        ("{ a: await 1, b: [2] }", "{ a: 1, b: [ 2 ] }"),
        ("{ let b = 1; b + 1 }", "2"),
        ("{}", "{}"),
        ("await Promise.resolve(7)", "7"),
        ("for (let i = 0; i < 3; i++) i", "2"),
        ("if (true) 'yes'", "'yes'"),
        ("function f() {}", None),
        ("(class A {})", "[class A]"),
        ("1 // with a comment", "1"),
        ("1 /* and\nanother */", "1"),
        ("#!/usr/bin/env node\n5", "5"),
        ("", None),
        ("  \n", None),
        ("// nothing", None),
        ("'use strict'; 5", "5"),
        ("var 变量 = '😀'; 变量", "'😀'"),
        ("eval('1 + 1')", "2"),
        ("new Promise(() => {})", "Promise { <pending> }"),
    ],
)
def test_the_last_expression_is_the_result(
    context: LocalContext, code: str, text: Any
) -> None:
    assert context.value(code) == text


def test_results_are_kept_as_in_ipython(context: LocalContext) -> None:
    context.run("'one'")
    context.run("'two'")
    context.run("'three'")
    assert context.value("[_, __, ___, _1, Out[2], In[3]].join('|')") == (
        "\"three|two|one|one|two|'three'\""
    )
    context.run("var _ = 'mine'")
    context.run("5")
    assert context.value("_") == "'mine'"


def test_silent_and_unstored_cells_count_nothing(context: LocalContext) -> None:
    context.run("'kept'")
    silent = context.run("5; console.log('printed')", silent=True)
    assert silent.result is None
    unstored = context.run("6", store_history=False)
    assert unstored.text == "6"
    assert context.context.execution_count == 1
    assert context.value("_") == "'kept'"


def test_the_events_of_a_cell_are_in_order(context: LocalContext) -> None:
    outcome = context.run("console.log('a'); console.error('b'); console.log('c'); 5")
    assert [
        (type(e).__name__, getattr(e, "text", getattr(e, "name", None)))
        for e in outcome.events
    ] == [
        ("Stream", "a\n"),
        ("Stream", "b\n"),
        ("Stream", "c\n"),
        ("ExecuteResult", None),
        ("ExecutionDone", None),
    ]
    assert all(e.execution_id == outcome.execution_id for e in outcome.events)


def test_one_execution_at_a_time(context: LocalContext) -> None:
    context.context.begin("await new Promise((r) => { go = r })", execution_id=1)
    assert context.context.busy
    with pytest.raises(ContextBusyError):
        context.context.begin("1", execution_id=2)
    context.context.interrupt()
    context.wait(lambda: not context.context.busy)


def test_a_closed_context_says_so() -> None:
    closed = Context(ContextSettings(), lambda _event: None)
    closed.close()
    closed.close()
    closed.interrupt()
    for use in (closed.step, lambda: closed.begin("1", execution_id=1)):
        with pytest.raises(ContextClosedError):
            use()


def test_nothing_of_the_host_is_reachable(context: LocalContext) -> None:
    """No files, network, environment or process; no way to our functions."""
    names = "Deno XMLHttpRequest WebSocket load read host call isokernel"
    for name in names.split():
        assert context.value(f"typeof {name}") == "'undefined'", name
    assert context.value("JSON.stringify(process.env)") == "'{}'"
    for code in (
        "(await import('node:fs')).readFileSync('/etc/passwd')",
        "await fetch('http://localhost/')",
        "await import('d3')",
    ):
        error = context.run(code).failure
        assert "denied" in "".join(error.traceback), code
    own = context.value("Object.keys(globalThis).join()")
    assert own == "''"


# -- the event loop ------------------------------------------------------------------


def test_timers_run_in_the_cell(context: LocalContext) -> None:
    code = """
    const log = [];
    setTimeout(() => log.push('b'), 20);
    setTimeout(() => log.push('a'), 1);
    setImmediate(() => log.push('i'));
    const every = setInterval(() => log.push('x') > 5 && clearInterval(every), 5);
    clearTimeout(setTimeout(() => log.push('never'), 5));
    await new Promise((resolve) => setTimeout(resolve, 60));
    log.filter((entry) => entry !== 'x').join() + log.filter((e) => e === 'x').length
    """
    assert context.value(code).startswith("'i,a,b")


def test_timers_outlive_their_cell_and_print_into_it(context: LocalContext) -> None:
    first = context.run("setTimeout(() => console.log('late'), 30); 'over'")
    assert first.text == "'over'"
    context.run("'another cell'")
    (event,) = context.idle()
    assert event == Stream(first.execution_id, "stdout", "late\n")


def test_async_code_prints_into_its_own_cell(context: LocalContext) -> None:
    """Also when it goes on while another cell runs."""
    first = context.run(
        "var go, turn = new Promise((resolve) => { go = resolve });"
        "var p = (async () => { await turn; console.log('mine') })(); 0"
    )
    second = context.run("console.log('before'); go(); await p; console.log('after')")
    streams = [e for e in second.events if isinstance(e, Stream)]
    assert [(e.execution_id, e.text) for e in streams] == [
        (second.execution_id, "before\n"),
        (first.execution_id, "mine\n"),
        (second.execution_id, "after\n"),
    ]


def test_late_errors_are_shown_and_the_context_lives(context: LocalContext) -> None:
    first = context.run("setTimeout(() => {\n  throw new TypeError('late')\n}, 5); 0")
    (event,) = context.idle()
    assert isinstance(event, Stream)
    assert event.execution_id == first.execution_id
    assert event.name == "stderr"
    assert event.text.startswith("Uncaught TypeError: late\n")
    assert "cell 1:2:9" in event.text
    assert context.value("1 + 1") == "2"


def test_unhandled_rejections_are_shown(context: LocalContext) -> None:
    outcome = context.run("Promise.reject(new Error('lost')); 'fine'")
    assert outcome.text == "'fine'"
    assert outcome.stderr.startswith("Unhandled rejection Error: lost\n    at cell 1:1")
    handled = context.run("const h = Promise.reject(1); h.catch(() => {}); 0")
    assert handled.stderr == ""


def test_the_rejection_of_the_cell_itself_is_its_error(context: LocalContext) -> None:
    outcome = context.run("await Promise.reject(new Error('mine'))")
    assert outcome.error is not None
    assert outcome.stderr == ""


def test_microtasks_and_uncaught_errors_in_them(context: LocalContext) -> None:
    outcome = context.run("queueMicrotask(() => { throw new RangeError('micro') }); 5")
    assert outcome.text == "5"
    assert "Uncaught RangeError: micro" in outcome.stderr


def test_output_flows_while_the_cell_runs(context: LocalContext) -> None:
    """A busy loop's output is there long before its end, also the last line."""
    seen: list[float] = []
    start = time.perf_counter()
    sink = context.events

    class Watch(list[Any]):
        def append(self, event: Any) -> None:
            if isinstance(event, Stream):
                seen.append(time.perf_counter() - start)
            sink.append(event)

    context.context._host.sink = Watch().append
    code = """
    console.log('first'); console.log('second');
    const end = performance.now() + 1000; while (performance.now() < end);
    """
    context.context.begin(code, execution_id=1)
    finished = time.perf_counter() - start
    assert finished > 1
    assert max(seen) < finished - 0.2
    texts = [e.text for e in sink if isinstance(e, Stream)]
    assert "".join(texts) == "first\nsecond\n"


def test_many_lines_are_few_events_and_none_is_lost(context: LocalContext) -> None:
    outcome = context.run("for (let i = 0; i < 20000; i++) console.log('line', i)")
    assert outcome.stdout == "".join(f"line {i}\n" for i in range(20000))
    assert len(outcome.events) < 200


def test_output_is_bounded(sessions: Callable[..., LocalContext]) -> None:
    session = sessions(output_bytes_max=10_000)
    outcome = session.run("for (let i = 0; i < 1e4; i++) console.log('x'.repeat(99))")
    assert len(outcome.stdout) <= 10_100
    assert "output cut" in outcome.stderr
    assert session.run("console.log('again')").stdout == "again\n"


# -- stopping ------------------------------------------------------------------------


def _interrupt_later(context: LocalContext, seconds: float) -> threading.Timer:
    timer = threading.Timer(seconds, context.context.interrupt)
    timer.start()
    return timer


@pytest.mark.parametrize(
    "code",
    [
        "for (;;) {}",
        "await new Promise(() => {})",
        "await new Promise((r) => setTimeout(r, 60000))",
        "for (;;) await null",
        "async function f() { for (;;) await null }; f(); await new Promise(() => {})",
        "try { for (;;) {} } catch { console.log('caught') }",
        "/(a+)+b/.test('a'.repeat(40))",
        "setTimeout(() => { for (;;) {} }, 1); await new Promise(() => {})",
        "[1].map(() => { for (;;) {} })",
        "({ [Symbol.for('Jupyter.display')]() { for (;;) {} } })",
    ],
)
def test_interrupt_stops_anything_and_keeps_state(
    context: LocalContext, code: str
) -> None:
    context.run("let kept = 'state'")
    timer = _interrupt_later(context, 0.1)
    start = time.perf_counter()
    outcome = context.run(code)
    timer.join()
    assert time.perf_counter() - start < 5
    assert outcome.error is not None
    assert outcome.error.ename == "KeyboardInterrupt"
    assert "caught" not in outcome.stdout
    assert context.value("kept") == "'state'"


def test_interrupt_clears_the_cells_timers_and_no_others(context: LocalContext) -> None:
    context.run("var other = 0; var id = setInterval(() => other++, 5); 0")
    timer = _interrupt_later(context, 0.05)
    context.run("setInterval(() => { mine++ }, 1); var mine = 0; for (;;) {}")
    timer.join()
    context.run("var before = [mine, other]")
    context.run("await new Promise((r) => setTimeout(r, 40))")
    mine, other = context.value("[mine - before[0], other - before[1]].join()")[
        1:-1
    ].split(",")
    assert int(mine) == 0
    assert int(other) > 0
    context.run("clearInterval(id)")


def test_interrupt_when_idle_does_nothing(context: LocalContext) -> None:
    context.context.interrupt()
    assert context.value("1 + 1") == "2"


def test_a_timer_that_never_ends_can_be_interrupted(context: LocalContext) -> None:
    context.run("setTimeout(() => { for (;;) {} }, 1); let kept = 1; 0")
    timer = _interrupt_later(context, 0.1)
    (event,) = context.idle()
    timer.join()
    assert isinstance(event, Stream)
    assert event.name == "stderr"
    assert "KeyboardInterrupt" in event.text
    assert context.value("kept") == "1"


@pytest.mark.parametrize("code", ["for (;;) {}", "await new Promise(() => {})"])
def test_deadline(context: LocalContext, code: str) -> None:
    start = time.perf_counter()
    outcome = context.run(code, deadline=0.2)
    assert 0.15 < time.perf_counter() - start < 5
    assert outcome.failure.ename == "TimeoutError"
    assert "0.2 s" in outcome.failure.evalue
    assert context.value("1 + 1") == "2"


@pytest.mark.parametrize(
    "code",
    [
        "throw Object.defineProperty(new Error(), 'stack', {get() { for (;;); }})",
        "throw Object.defineProperty(new Error(), 'message', {get() { for (;;); }})",
        "throw new (class extends Error { get name() { for (;;); } })()",
        "Promise.reject(new (class extends Error { get name() { for (;;); } })()); 1",
        "Error.prepareStackTrace = () => { for (;;); }; throw new Error()",
    ],
)
def test_what_describes_an_error_ends_at_the_deadline(
    context: LocalContext, code: str
) -> None:
    # Without one, it went on until the grace period of whoever runs the context.
    outcome = context.run(code, deadline=0.2)
    assert outcome.failure.ename == "TimeoutError"
    assert context.value("delete Error.prepareStackTrace, 1 + 1") == "2"


def test_deadline_of_the_settings(sessions: Callable[..., LocalContext]) -> None:
    session = sessions(cell_timeout_seconds=0.1)
    assert session.run("for (;;) {}").failure.ename == "TimeoutError"
    assert session.value("'alive'") == "'alive'"


@pytest.mark.parametrize(
    "code",
    [
        "const all = []; for (;;) all.push({ x: [1, 2, 3] })",
        "for (const a = [];;) { a.push('x'.repeat(1e5) + a.length); a.at(-1)[5] }",
        "const all = []; for (;;) { all.push(new Array(1e4).fill(0.5)); await null }",
    ],
)
def test_out_of_memory_keeps_the_context(
    sessions: Callable[..., LocalContext], code: str
) -> None:
    session = sessions(v8_heap_bytes_max=32 * MIB)
    session.run("let kept = 'state'")
    outcome = session.run(f"{{ {code} }}")
    assert outcome.failure.ename == "OutOfMemoryError"
    assert "32 MiB" in outcome.failure.evalue
    assert session.value("kept") == "'state'"
    again = session.run("{ const all = []; for (;;) all.push([1]) }")
    assert again.failure.ename == "OutOfMemoryError"


def test_out_of_buffers_is_an_ordinary_error(
    sessions: Callable[..., LocalContext],
) -> None:
    session = sessions(array_buffer_bytes_max=16 * MIB)
    error = session.run("new Uint8Array(2 ** 25)").failure
    assert (error.ename, error.evalue) == (
        "RangeError",
        "Array buffer allocation failed",
    )


@pytest.mark.parametrize(
    "code",
    [
        "new Uint8Array(2 ** 25)",
        "new SharedArrayBuffer(2 ** 25)",
        "new ArrayBuffer(0, { maxByteLength: 2 ** 26 }).resize(2 ** 25)",
        "new WebAssembly.Memory({ initial: 2 ** 9 })",
        "new WebAssembly.Memory({ initial: 1, maximum: 2 ** 9 }).grow(2 ** 8)",
    ],
)
def test_a_refused_buffer_names_the_setting(
    sessions: Callable[..., LocalContext], code: str
) -> None:
    session = sessions(array_buffer_bytes_max=16 * MIB)
    hint = session.run(code).failure.traceback[-1]
    assert "16 MiB" in hint
    assert "array_buffer_bytes_max" in hint
    other = session.run("try { new Uint8Array(2 ** 25) } catch {} (1).toFixed(200)")
    assert "MiB" not in other.failure.traceback[-1]


def test_a_buffer_that_could_not_grow_is_counted_no_longer_than_it_lives(
    sessions: Callable[..., LocalContext],
) -> None:
    session = sessions(array_buffer_bytes_max=16 * MIB)
    grow = """{ const b = new ArrayBuffer(0, { maxByteLength: 2 ** 30 });
        try { for (;;) b.resize(b.byteLength + 2 ** 20) } catch { b.byteLength } }"""
    for _ in range(3):  # each has room only once that of the one before is free
        assert session.value(grow) == str(16 * MIB)


def test_a_context_that_cannot_be_stopped_says_so() -> None:
    """One of V8's own functions that never looks: the front is told, to end it all."""
    stuck = threading.Event()
    session = LocalContext(
        ContextSettings(interrupt_grace_seconds=0.1), on_stuck=stuck.set
    )
    try:
        session.run("var big = new Float64Array(8e6).map(Math.random); 0")
        timer = _interrupt_later(session, 0.05)
        session.run("big.sort()")
        timer.join()
        assert stuck.is_set()
    finally:
        session.context.close()


# -- errors ----------------------------------------------------------------------------


def _traceback(session: LocalContext, code: str) -> str:
    error = session.run(code).error
    assert error is not None
    return "\n".join(error.traceback)


def test_a_traceback_has_frames_source_and_caret(context: LocalContext) -> None:
    code = "function inner() {\n\tthrow new TypeError('boom')\n}\n\ninner()"
    assert _traceback(context, code) == (
        "TypeError: boom\n"
        "    at inner (cell 1:2:8)\n"
        "     2 | \tthrow new TypeError('boom')\n"
        "       | \t      ^\n"
        "    at cell 1:5:1"
    )


def test_frames_of_earlier_cells(context: LocalContext) -> None:
    context.run("function f(callback) {\n  return callback()\n}")
    text = _traceback(context, "[1].forEach(() => f(() => nowhere))")
    assert "cell 2:1:27" in text
    assert "at f (cell 1:2:10)" in text
    assert "isokernel" not in text


def test_causes_and_aggregates(context: LocalContext) -> None:
    text = _traceback(
        context, "throw new Error('a', { cause: new RangeError('b', { cause: 'c' }) })"
    )
    assert "caused by RangeError: b" in text
    assert "caused by string: 'c'" in text
    text = _traceback(context, "await Promise.any([Promise.reject(new Error('one'))])")
    assert "AggregateError: All promises were rejected" in text
    assert "[1] Error: one" in text


@pytest.mark.parametrize(
    ("code", "ename", "evalue"),
    [
        ("throw 'text'", "string", "'text'"),
        ("throw 5", "number", "5"),
        ("throw null", "null", "null"),
        ("throw undefined", "undefined", "undefined"),
        ("throw { code: 5 }", "Object", "{ code: 5 }"),
        ("throw Symbol('s')", "symbol", "Symbol(s)"),
        ("class Mine extends Error {}; throw new Mine('m')", "Mine", "m"),
        ("throw new Error", "Error", ""),
        ("throw new Proxy({}, { get() { throw 1 } })", "Object", "Proxy({})"),
        ("nope", "ReferenceError", "nope is not defined"),
    ],
)
def test_what_is_thrown_is_shown(
    context: LocalContext, code: str, ename: str, evalue: str
) -> None:
    error = context.run(code).failure
    assert (error.ename, error.evalue) == (ename, evalue)
    assert context.value("1") == "1"


def test_hostile_errors_do_no_harm(context: LocalContext) -> None:
    for code in (
        "throw Object.defineProperty(new Error('x'), 'message', { get() { throw 1 } })",
        "throw Object.defineProperty(new Error('x'), 'stack', { get() { throw 1 } })",
        "const loop = new Error('l'); loop.cause = loop; throw loop",
        "Error.prepareStackTrace = () => { throw 1 }; throw new Error('p')",
        "Error.stackTraceLimit = 0; throw new Error('q')",
    ):
        assert context.run(code).error is not None
        assert context.value("1") == "1"


@pytest.mark.parametrize(
    ("code", "place", "marked"),
    [
        ("let ok = 1\nlet = ;", "cell 1:2:7", "let = ;"),
        ("foo(\n\n", "cell 1:1:5", "foo("),
        ("'unterminated", "cell 1:1:1", "'unterminated"),
        ("{ a: 1, b: }", "cell 1:1:10", "{ a: 1, b: }"),
        ("const é = '😀' +* 2", "cell 1:1:17", "const é"),
    ],
)
def test_syntax_errors_point_at_the_place(
    context: LocalContext, code: str, place: str, marked: str
) -> None:
    error = context.run(code).failure
    text = "\n".join(error.traceback)
    assert error.ename == "SyntaxError"
    assert place in text
    assert marked in text
    assert "^" in text


def test_a_name_that_changes_its_kind_is_explained(context: LocalContext) -> None:
    context.run("const a = 1")
    text = _traceback(context, "let a = 2; a += 1")
    assert "Identifier 'a' has already been declared" in text
    assert "An earlier cell made it a constant" in text


# -- questions -------------------------------------------------------------------------


def test_evaluate_for_user_expressions(context: LocalContext) -> None:
    context.run("let n = 5")
    assert context.context.evaluate("n * 2") == ({"text/plain": "10"}, {})
    assert context.context.evaluate("await n") == ({"text/plain": "5"}, {})
    failed = context.context.evaluate("nope")
    assert isinstance(failed, ErrorInfo)
    assert failed.ename == "ReferenceError"
    pending = context.context.evaluate("await new Promise(() => {})")
    assert isinstance(pending, ErrorInfo)
    assert context.value("n") == "5"
    assert context.context.execution_count == 2


def test_input(sessions: Callable[..., LocalContext]) -> None:
    asked: list[tuple[str, bool]] = []

    def answer(prompt: str, password: bool) -> str:  # noqa: FBT001 -- the contract
        asked.append((prompt, password))
        return "42"

    session = sessions(answer)
    assert session.value("prompt('How many?')") == "'42'"
    assert session.value("Jupyter.getpass('Key:')") == "'42'"
    assert asked[0][1] is False
    assert asked[1][1] is True


def test_input_that_cannot_be_had(
    sessions: Callable[..., LocalContext], context: LocalContext
) -> None:
    def refuse(_prompt: str, _password: bool) -> str:  # noqa: FBT001 -- the contract
        message = "the front doesn't allow input"
        raise InputUnavailableError(message)

    error = sessions(refuse).run("prompt('?')").failure
    assert "doesn't allow input" in error.evalue
    assert "can't be asked" in context.run("prompt('?')").failure.evalue


def test_the_result_comes_before_done(context: LocalContext) -> None:
    events = context.run("5").events
    assert isinstance(events[-2], ExecuteResult)
    assert events[-1] == ExecutionDone(1, 1, None)


def test_a_defect_of_ours_leaves_the_context_usable(
    context: LocalContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        message = "a defect"
        raise LookupError(message)

    with monkeypatch.context() as patch:
        patch.setattr("isokernel.context.cell_run.compile_cell", fail)
        with pytest.raises(LookupError):
            context.context.begin("1", execution_id=1)
    assert not context.context.busy
    assert context.value("1 + 1") == "2"


def test_a_script_can_have_a_name(context: LocalContext) -> None:
    error = context.run("throw new Error('x')", script="main.js").failure
    assert error.traceback[1] == "    at main.js:1:7"
