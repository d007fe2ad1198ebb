"""What an execution may be asked for beyond a notebook's cell."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from isokernel.context.cell_run import ExecutionOptions
from isokernel.context.events import ErrorInfo, ExecuteResult, ExecutionDone, ResultJson

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.local_contexts import LocalContext, Outcome

JSON = ExecutionOptions(result_json=True)
LEVELS = ExecutionOptions(levels=True)
DRAIN = ExecutionOptions(drain=True)


def _json(outcome: Outcome) -> ResultJson | None:
    found = [event for event in outcome.events if isinstance(event, ResultJson)]
    return found[0] if found else None


def _text(session: LocalContext, code: str, **options: Any) -> str | None:
    outcome = session.run(code, options=JSON, **options)
    assert outcome.error is None, outcome.error
    result = _json(outcome)
    return None if result is None else result.text


# -- the result as JSON ------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("6 * 7", "42"),
        ("({ a: [1, 'é', null], b: undefined })", '{"a":[1,"é",null]}'),
        ("null", "null"),
        ("NaN", "null"),
        ("new Date(0)", '"1970-01-01T00:00:00.000Z"'),
        ("({ toJSON() { return 'mine' } })", '"mine"'),
        ("Promise.resolve({ later: 1 })", '{"later":1}'),
        ("new Promise(r => setTimeout(r, 5, 'timer'))", '"timer"'),
        ("await Promise.resolve([1])", "[1]"),
        ("undefined", None),
        ("() => 1", None),
        ("Symbol('s')", None),
        ("let declared = 1", None),
        ("display('shown')", None),
        ("Promise.resolve()", None),
    ],
)
def test_a_result_is_given_as_json(
    context: LocalContext, code: str, text: str | None
) -> None:
    assert _text(context, code) == text


@pytest.mark.parametrize(
    ("code", "shown"),
    [
        ("const ring = {}; ring.self = ring; ring", "<ref *1> { self: [Circular *1] }"),
        ("10n ** 20n", "100000000000000000000n"),
        ("[1n]", "[ 1n ]"),
        ("({ a: 1, toJSON() { throw new Error('no') } })", "{ a: 1, toJSON: "),
    ],
)
def test_what_json_refuses_is_inspected(
    context: LocalContext, code: str, shown: str
) -> None:
    assert json.loads(_text(context, code) or "").startswith(shown)


def test_it_is_shown_and_kept_as_ever(context: LocalContext) -> None:
    outcome = context.run("({ a: 1 })", options=JSON)
    kinds = [type(event) for event in outcome.events]
    assert kinds == [ResultJson, ExecuteResult, ExecutionDone]
    assert context.value("[_, Out[1].a]") == "[ { a: 1 }, 1 ]"


def test_a_silent_execution_has_it_too(context: LocalContext) -> None:
    outcome = context.run("[1]", options=JSON, silent=True)
    assert [type(event) for event in outcome.events] == [ResultJson, ExecutionDone]
    assert context.context.execution_count == 0


def test_a_rejected_promise_fails_the_execution(context: LocalContext) -> None:
    outcome = context.run("Promise.reject(new RangeError('late'))", options=JSON)
    assert outcome.error is not None
    assert (outcome.error.ename, outcome.stderr) == ("RangeError", "")
    assert _json(outcome) is None


def test_a_promise_is_awaited_up_to_the_deadline(context: LocalContext) -> None:
    outcome = context.run("new Promise(() => {})", options=JSON, deadline=0.05)
    assert outcome.error is not None
    assert outcome.error.ename == "TimeoutError"


def test_a_long_result_is_cut(sessions: Callable[..., LocalContext]) -> None:
    outcome = sessions(output_bytes_max=1000).run("'x'.repeat(2000)", options=JSON)
    result = _json(outcome)
    assert result is not None
    assert result.cut
    assert len(result.text or "") <= 1000
    assert re.fullmatch(
        r"x{700,}… \d+ characters …x{200,}", json.loads(result.text or "")
    )
    assert result.note == "cut to at most 1000 characters"


@pytest.mark.parametrize(
    ("code", "head", "gone", "tail"),
    [
        ("Array.from({ length: 9999 }, (_, i) => i)", "[0,1,2,", "items", ",9998]"),
        (
            "Object.fromEntries(Array(999).keys().map((i) => ['k' + i, i]))",
            '{"k0":0,',
            "properties",
            ',"k998":998}',
        ),
        ("[{ deep: ['é'.repeat(5000)] }, 1, 2]", '[{"deep":["éé', "characters", ",2]"),
        ("['\\u0000'.repeat(5000)]", '["', "characters", '"]'),
    ],
)
def test_what_is_cut_is_json(
    context: LocalContext, code: str, head: str, gone: str, tail: str
) -> None:
    options = JSON._replace(result_max=400)
    result = _json(context.run(code, options=options))
    assert result is not None
    text = result.text or ""
    assert json.loads(text)
    assert result.cut
    assert 60 < len(text) <= 400
    assert text.startswith(head)
    assert text.endswith(tail)
    assert gone in text


@pytest.mark.parametrize(
    ("code", "text", "shown", "note"),
    [
        ("new Map([[1, 2]])", "{}", "Map(1) { 1 => 2 }", "$ (Map)"),
        ("NaN", "null", "NaN", "$ (NaN)"),
        ("-0", "0", "-0", "$ (-0)"),
        ("() => 1", None, "[Function (anonymous)]", "$ (function)"),
        (
            "({ a: [1, /x/], 'b c': { d: 1 / 0 } })",
            '{"a":[1,{}],"b c":{"d":null}}',
            "{ a: [ 1, /x/ ], 'b c': { d: Infinity } }",
            '$.a[1] (RegExp), $["b c"].d (Infinity)',
        ),
        (
            "Array(9)",
            "[null,null,null,null,null,null,null,null,null]",
            "[ <9 empty items> ]",
            "$[4] (undefined) and 4 more",
        ),
        (
            "new Uint8Array(2)",
            '"[Uint8Array of 2 bytes]"',
            "Uint8Array(2) [ 0, 0 ]",
            "$ (Uint8Array)",
        ),
        ("[1n]", '"[ 1n ]"', "[ 1n ]", "$[0] (bigint)"),
    ],
)
def test_what_json_does_not_hold_is_told(
    context: LocalContext, code: str, text: str | None, shown: str, note: str
) -> None:
    result = _json(context.run(code, options=JSON))
    assert result is not None
    assert (result.text, result.shown) == (text, shown)
    assert (result.note or "").endswith(note)


@pytest.mark.parametrize(("levels", "fits"), [(99, True), (101, False), (5000, False)])
def test_nesting_has_a_bound(
    context: LocalContext,
    levels: int,
    fits: bool,  # noqa: FBT001
) -> None:
    code = f"let d = 1; for (let i = 0; i < {levels}; i++) d = [d]; d"
    result = _json(context.run(code, options=JSON))
    assert result is not None
    assert ((result.text or "").startswith("[[[[")) is fits
    assert ("deeper than 100 levels" in (result.note or "")) is not fits


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("async () => 7", "7"),
        ("return () => ({ a: 1 })", '{"a":1}'),
        ("async function main() { return [1] }; main", "[1]"),
        ("(x) => x", None),
        ("return class A {}", None),
    ],
)
def test_a_function_as_the_value_of_a_body_is_called(
    context: LocalContext, code: str, text: str | None
) -> None:
    options = ExecutionOptions(result_json=True, body=True)
    result = _json(context.run(code, options=options))
    assert result is not None
    assert result.text == text


def test_it_costs_nothing_unless_asked_for(context: LocalContext) -> None:
    outcome = context.run("({ toJSON() { throw new Error('called') } })")
    assert (outcome.error, _json(outcome)) == (None, None)


# -- levels ------------------------------------------------------------------------


def test_levels_are_shown(context: LocalContext) -> None:
    outcome = context.run(
        "console.log('a'); console.info('b\\nc'); console.debug('d');"
        "console.warn('e %d', 1); console.error({ f: 1 }); console.trace('g');"
        "console.dir('h'); console.table([1]); console.info()",
        options=LEVELS,
    )
    lines = outcome.stdout.split("\n")
    assert lines[:5] == ["a", "[INFO] b", "c", "d", "'h'"]
    assert lines[-2] == "[INFO] "
    assert outcome.stderr.startswith("[WARN] e 1\n[ERROR] { f: 1 }\nTrace: g\n")


def test_levels_are_those_of_one_execution(context: LocalContext) -> None:
    context.run(
        "setTimeout(() => console.warn('timer'), 1); let later;"
        "new Promise(r => later = r).then(() => console.info('reaction'))",
        options=LEVELS,
    )
    texts = [event.text for event in context.idle()]  # type: ignore[union-attr]
    assert texts == ["[WARN] timer\n"]
    outcome = context.run("console.info('plain'); later()")
    assert outcome.stdout.startswith("plain\n[INFO] reaction")


# -- drain -------------------------------------------------------------------------


def test_it_goes_on_until_no_timer_waits(context: LocalContext) -> None:
    outcome = context.run(
        "let n = 0;"
        "setTimeout(() => { n++; setTimeout(() => console.log(++n), 5) }, 5);"
        "'value'",
        options=DRAIN,
    )
    assert outcome.stdout == "2\n"
    assert outcome.text == "'value'"
    kinds = [type(event).__name__ for event in outcome.events]
    assert kinds == ["ExecuteResult", "Stream", "ExecutionDone"]


def test_without_timers_it_ends_at_once(context: LocalContext) -> None:
    assert context.run("1", options=DRAIN).text == "1"
    assert context.run("new Promise(() => {})", options=DRAIN).error is None


def test_only_its_own_timers_are_waited_for(context: LocalContext) -> None:
    context.run("setTimeout(() => { globalThis.fired = true }, 60_000)")
    context.run("1", options=DRAIN, deadline=20.0)
    assert context.context.wait_time() is not None


def test_code_that_nobody_awaits_runs_to_its_end(context: LocalContext) -> None:
    """As a script's `main()` does."""
    outcome = context.run(
        "async function main() {"
        "  await new Promise((done) => setTimeout(done, 5)); console.log('done') }"
        "main(); console.log('started')",
        options=DRAIN,
    )
    assert outcome.stdout == "started\ndone\n"


@pytest.mark.parametrize(
    "code",
    [
        "setTimeout(() => {}, 60_000).unref()",
        "setInterval(() => {}, 60_000).ref().unref()",
        "setImmediate(() => {}).close()",
        "clearTimeout(setTimeout(() => {}, 60_000))",
        "clearTimeout(+setTimeout(() => {}, 60_000))",
        "AbortSignal.timeout(60_000)",
    ],
)
def test_what_does_not_hold_is_not_waited_for(context: LocalContext, code: str) -> None:
    outcome = context.run(f"{code}; 1", options=DRAIN, deadline=20.0)
    assert outcome.text == "1"


def test_an_interval_ends_at_the_deadline(context: LocalContext) -> None:
    outcome = context.run("setInterval(() => {}, 1)", options=DRAIN, deadline=0.05)
    assert outcome.error is not None
    assert outcome.error.ename == "TimeoutError"
    assert context.context.wait_time() is None, "its timers are cleared"
    assert context.value("1") == "1"


def test_a_busy_timer_ends_at_the_deadline(context: LocalContext) -> None:
    outcome = context.run(
        "setTimeout(() => { for (;;); }, 1)", options=DRAIN, deadline=0.1
    )
    assert outcome.error is not None
    assert outcome.error.ename == "TimeoutError"


def test_it_is_interrupted(context: LocalContext) -> None:
    context.context.begin(
        "setInterval(() => { globalThis.ticks = 1 }, 1)",
        execution_id=1,
        options=DRAIN,
    )
    assert context.context.busy
    context.context.interrupt()
    context.wait(lambda: not context.context.busy)
    done = context.events[-1]
    assert isinstance(done, ExecutionDone)
    assert isinstance(done.error, ErrorInfo)
    assert done.error.ename == "KeyboardInterrupt"


@pytest.mark.parametrize(
    ("code", "name", "told"),
    [
        ("setTimeout(() => nope(), 1); 1", "ReferenceError", "Uncaught"),
        ("Promise.reject(new TypeError('x')); 1", "TypeError", "Unhandled rejection"),
        (
            "(async () => { throw new Mine() })(); class Mine extends Error {}; 1",
            "ReferenceError",
            "Unhandled rejection",
        ),
        ("queueMicrotask(() => { throw new RangeError() })", "RangeError", "Uncaught"),
        (
            "await new Promise((d) => {setTimeout(() => { throw new EvalError() }, 1);"
            "setTimeout(d, 60_000)})",
            "EvalError",
            "Uncaught",
        ),
    ],
)
def test_an_error_that_nobody_catches_ends_it(
    context: LocalContext, code: str, name: str, told: str
) -> None:
    options = ExecutionOptions(drain=True, levels=True)
    outcome = context.run(
        f"setTimeout(() => console.log('never'), 9000); {code}",
        options=options,
        deadline=20.0,
    )
    assert outcome.failure.ename == name
    assert outcome.stderr.startswith(f"[ERROR] {told} {name}")
    assert context.context.wait_time() is None, "its timers are cleared"


def test_an_error_that_nobody_catches_fails_no_cell(context: LocalContext) -> None:
    """Only scripts end with it; and one of an earlier cell is not theirs."""
    outcome = context.run("setTimeout(() => nope(), 1); 1")
    assert outcome.error is None
    outcome = context.run(
        "await new Promise((done) => setTimeout(done, 20))", options=DRAIN
    )
    assert outcome.error is None


def test_a_display_that_fails_does_not_end_it(context: LocalContext) -> None:
    outcome = context.run(
        "({ _repr_html_() { throw new Error('in it') } })", options=DRAIN
    )
    assert outcome.error is None
    assert "in it" in outcome.stderr


def test_all_together(context: LocalContext) -> None:
    outcome = context.run(
        "setTimeout(() => console.warn('w'), 1); ({ a: 1 })",
        options=ExecutionOptions(result_json=True, levels=True, drain=True),
    )
    result = _json(outcome)
    assert result is not None
    assert (result.text, outcome.stderr) == ('{"a":1}', "[WARN] w\n")
