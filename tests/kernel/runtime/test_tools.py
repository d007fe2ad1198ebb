"""The global `tools`: what crosses, what doesn't, and whose denial counts."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.local_contexts import LocalContext, Outcome

from isokernel.context.cell_run import ExecutionOptions, ToolLimits
from isokernel.context.events import Event, ExecutionDone, Stream, ToolCall
from isokernel.settings import ContextSettings
from isokernel.v8 import writer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FOREVER = 60.0
_IDS = itertools.count(100)


class Caller:
    """A session whose cells have tools, and the other end of them."""

    def __init__(self, session: LocalContext, limits: ToolLimits | None = None) -> None:
        self.session = session
        self.context = session.context
        self.limits = limits or ToolLimits()
        self.denied = False
        self._id = 0

    def begin(self, code: str, *, tools: bool = True, **options: Any) -> None:
        """Begin a cell; what it does until its first await has happened then."""
        self._id = next(_IDS)
        del self.session.events[:]
        asked = ExecutionOptions(tools=self.limits if tools else None)
        self.context.begin(code, execution_id=self._id, options=asked, **options)

    def calls(self) -> list[ToolCall]:
        """The calls so far."""
        return [e for e in self.session.events if isinstance(e, ToolCall)]

    def call(self) -> ToolCall:
        """The only call so far."""
        (call,) = self.calls()
        return call

    def give(self, call: ToolCall, value: Any) -> None:
        """Answer a call."""
        self.context.settle_tool(call.call_id, "value", json.dumps(value))

    def throw(self, call: ToolCall, **fields: Any) -> None:
        """Let a call fail."""
        self.context.settle_tool(call.call_id, "error", json.dumps(fields))

    def deny(self, call: ToolCall, reason: str = "no") -> None:
        """Deny a call."""
        fields = {"message": f"denied: {call.path}", "reason": reason}
        self.context.settle_tool(call.call_id, "denied", json.dumps(fields))

    def finish(self) -> Outcome:
        """Wait for the cell's end."""
        self.session.wait(lambda: not self.context.busy)
        outcome = Outcome(self._id, list(self.session.events))
        done = next(e for e in outcome.events if isinstance(e, ExecutionDone))
        self.denied = done.denied
        return outcome

    def text(self, code: str, **options: Any) -> Any:
        """What a cell that calls nothing gives, or its error's first line."""
        self.begin(code, **options)
        outcome = self.finish()
        return outcome.text if outcome.error is None else outcome.error.evalue


@pytest.fixture(scope="module")
def shared() -> Iterator[LocalContext]:
    session = LocalContext()
    session.run("1")  # starts its thread
    yield session
    session.context.close()


@pytest.fixture
def caller(shared: LocalContext) -> Caller:
    """A caller in a context that other tests use as well."""
    return Caller(shared)


@pytest.fixture
def alone(context: LocalContext) -> Caller:
    """A caller in a context that a test may break."""
    return Caller(context)


@pytest.fixture
def limited(sessions: Callable[..., LocalContext]) -> Callable[..., Caller]:
    return lambda **limits: Caller(sessions(), ToolLimits(**limits))


# -- calls -------------------------------------------------------------------------


def test_a_call_goes_out_and_comes_back(caller: Caller) -> None:
    caller.begin("(await tools.git.createIssue({ title: 'a', tags: [1] })).id")
    call = caller.call()
    assert call.path == "git.createIssue"
    assert json.loads(call.input) == {"title": "a", "tags": [1]}
    assert call.execution_id == caller._id
    caller.give(call, {"id": 7})
    assert caller.finish().text == "7"


def test_calls_run_side_by_side_and_are_answered_in_any_order(caller: Caller) -> None:
    caller.begin("await Promise.all([1, 2, 3].map((n) => tools.a.double({ n })))")
    calls = caller.calls()
    assert len(calls) == 3
    for call in reversed(calls):
        caller.give(call, json.loads(call.input)["n"] * 2)
    assert caller.finish().text == "[ 2, 4, 6 ]"


def test_timers_of_the_execution_have_tools(caller: Caller) -> None:
    caller.begin("await new Promise((r) => setTimeout(() => r(tools.late()), 1))")
    caller.session.wait(lambda: bool(caller.calls()))
    caller.give(caller.call(), "done")
    assert caller.finish().text == "'done'"


@pytest.mark.parametrize("value", [None, True, 1.5, "ü😀", [], {"a": [{}]}])
def test_plain_data_comes_back_as_it_is(caller: Caller, value: Any) -> None:
    caller.begin("JSON.stringify(await tools.echo({}))")
    caller.give(caller.call(), value)
    text = caller.finish().text
    assert json.loads(text[1:-1]) == value


def test_nothing_comes_back_as_undefined(caller: Caller) -> None:
    caller.begin("typeof (await tools.nothing())")
    caller.context.settle_tool(caller.call().call_id, "value", "")
    assert caller.finish().text == "'undefined'"


@pytest.mark.parametrize(
    ("code", "path", "given"),
    [
        ("tools.a.b()", "a.b", {}),
        ("tools.a.b(undefined, 2)", "a.b", {}),
        ("tools['a.b'].c({ x: undefined })", "a.b.c", {}),
        ("tools.discover('mail')", "discover", {"query": "mail"}),
        ("tools.describe(tools.a.b)", "describe", {"path": "a.b"}),
        (
            "tools.a.b({ d: new Date(0) })",
            "a.b",
            {"d": "1970-01-01T00:00:00.000Z"},
        ),
    ],
)
def test_inputs(caller: Caller, code: str, path: str, given: object) -> None:
    caller.begin(f"await {code}")
    call = caller.call()
    assert (call.path, json.loads(call.input)) == (path, given)
    caller.give(call, None)
    caller.finish()


@pytest.mark.parametrize(
    "given", ["3", "'text'", "[1]", "null", "() => 1", "tools.a", "{ a: 1n }", "cycle"]
)
def test_what_is_no_plain_data_is_refused(caller: Caller, given: str) -> None:
    code = f"const cycle = {{}}; cycle.c = cycle; await tools.a.b({given})"
    assert "tools.a.b: the input" in caller.text(code)
    assert not caller.calls()


def test_only_what_would_confuse_the_language_is_no_tool(caller: Caller) -> None:
    code = """
        const waited = await tools.a;
        [typeof tools, typeof tools.a, tools.then, JSON.stringify({ a: tools }),
         `${tools.a.b}`, typeof waited, Object.keys(tools), 'a' in tools]
    """
    shown = caller.text(code)
    assert "'object'" in shown
    assert "'tools.a.b'" in shown
    assert not caller.calls()


@pytest.mark.parametrize(
    "change", ["tools.a = 1", "delete tools.a", "Object.setPrototypeOf(tools, null)"]
)
def test_tools_can_not_be_changed(caller: Caller, change: str) -> None:
    assert caller.text(change) == "tools can't be changed"


# -- who has them ------------------------------------------------------------------


def test_only_executions_that_were_given_tools_have_them(caller: Caller) -> None:
    names = "[typeof tools, typeof ToolError, typeof ApprovalDeniedError]"
    assert caller.text(names) == "[ 'object', 'function', 'function' ]"
    without = caller.text(names, tools=False)
    assert without == "[ 'undefined', 'undefined', 'undefined' ]"


def test_kept_tools_are_of_no_use_to_other_executions(caller: Caller) -> None:
    caller.text("globalThis.kept = tools; globalThis.Kept = ToolError")
    code = "try { await kept.a.b() } catch (e) { [e instanceof Kept, e.code] }"
    assert caller.text(code, tools=False) == "[ true, 'no_tools' ]"
    assert not caller.calls()


def test_a_timer_of_an_execution_that_is_over_calls_nothing(caller: Caller) -> None:
    caller.text(
        "void setTimeout(() => tools.a.b().catch((e) => console.log(e.code)), 1)"
    )
    events: list[Event] = caller.session.idle()
    assert not [e for e in events if isinstance(e, ToolCall)]


def test_globals_of_the_user_come_back(alone: Caller) -> None:
    alone.text("var tools = 'mine'; globalThis.ToolError = 'mine too'", tools=False)
    assert alone.text("typeof tools") == "'object'"
    assert alone.text("[tools, ToolError]", tools=False) == "[ 'mine', 'mine too' ]"


def test_an_answer_after_the_end_is_dropped(caller: Caller) -> None:
    caller.begin("globalThis.late = 'no'; void tools.a().then((v) => { late = v })")
    caller.finish()
    caller.give(caller.call(), "something")
    assert caller.text("late") == "'no'"


# -- bounds ------------------------------------------------------------------------


def test_calls_in_flight_have_a_bound(limited: Callable[..., Caller]) -> None:
    caller = limited(calls_max=2)
    caller.begin("""
        const given = [tools.a(), tools.b()];
        let refused;
        try { await tools.c() } catch (e) { refused = [e.name, e.code, e.retryable] }
        await given[0];
        [refused, await tools.c()]
    """)
    first, _ = caller.calls()
    caller.give(first, 1)
    caller.give(caller.calls()[-1], 3)
    assert caller.finish().text == "[ [ 'ToolError', 'too_many_calls', true ], 3 ]"


@pytest.mark.parametrize("letter", ["a", "é", "中", "😀"])
def test_inputs_have_a_bound_in_bytes(
    limited: Callable[..., Caller], letter: str
) -> None:
    fits = len(json.dumps({"t": letter * 100}, ensure_ascii=False).encode()) - 1
    caller = limited(input_max=fits)
    caller.begin(f"await tools.a({{t:'{letter}'.repeat(100)}})")
    caller.give(caller.call(), None)
    assert caller.finish().error is None
    refused = caller.text(f"await tools.a({{t:'{letter}x'.repeat(100)}})")
    assert f"{fits} are allowed" in refused


def test_names_have_a_bound(caller: Caller) -> None:
    assert "600 characters" in caller.text("await tools['x'.repeat(600)]()")


# -- errors ------------------------------------------------------------------------


def test_errors_say_what_the_source_said(caller: Caller) -> None:
    caller.begin("""
        try { await tools.web.get() } catch (e) {
          [e instanceof ToolError, e instanceof Error, e.name, e.message, e.code,
           e.status, e.details.body, e.retryable, e instanceof ApprovalDeniedError]
        }
    """)
    fields = {"code": "http", "status": 503, "details": {"body": "x"}}
    caller.throw(caller.call(), message="busy", retryable=True, **fields)
    shown = caller.finish().text
    expected = "true true 'ToolError' 'busy' 'http' 503 'x' true false"
    assert " ".join(shown.strip("[]").replace(",", "").split()) == expected
    assert not caller.denied


def test_an_uncaught_error_points_to_the_call(caller: Caller) -> None:
    caller.begin("const a = 1;\nawait tools.web.get();")
    caller.throw(caller.call(), message="busy", code="http")
    error = caller.finish().error
    assert error is not None
    assert (error.ename, error.evalue) == ("ToolError", "busy")
    assert any("await tools.web.get();" in line for line in error.traceback)
    assert not caller.denied


def test_a_broken_environment_breaks_no_call(alone: Caller) -> None:
    alone.text(
        """
        for (const kind of [Array, Map, WeakMap, Promise, String, JSON, Reflect])
          for (const holder of [kind, kind.prototype ?? {}])
            for (const key of Reflect.ownKeys(holder))
              try { if (key !== 'ownKeys') holder[key] = () => { throw 'broken' } }
              catch {}
        globalThis.Proxy = globalThis.WeakMap = globalThis.Error = undefined;
        Object.prototype.denied = Object.prototype.kind = 'denied';
        0
    """,
        tools=False,
    )
    alone.begin("tools.a.b({ x: 1 }).then; await tools.a.c({ x: 2 })")
    alone.deny(alone.calls()[1])
    assert alone.finish().error is not None
    assert alone.denied


# -- denials -----------------------------------------------------------------------


def test_an_uncaught_denial_is_told_apart(caller: Caller) -> None:
    caller.begin("await tools.mail.send({ to: 'all' })")
    caller.deny(caller.call(), "not today")
    error = caller.finish().error
    assert error is not None
    assert error.ename == "ApprovalDeniedError"
    assert caller.denied


@pytest.mark.parametrize(
    "code",
    [
        "try { await tools.a() } catch (e) { throw e }",
        "await (async () => { try { await tools.a() } finally { 0 } })()",
        "let mine; try { await tools.a() } catch (e) { mine = e }; await 1; throw mine",
        "try { await tools.a() } catch (e) { e.name = e.message = 'x'; throw e }",
        "try { await tools.a() } catch (e) { throw Object.setPrototypeOf(e, null) }",
        "try { await tools.a() } catch (e) { throw Object.freeze(e) }",
        "await Promise.all([tools.a(), 1])",
    ],
)
def test_the_same_object_thrown_again_is_the_denial(caller: Caller, code: str) -> None:
    caller.begin(code)
    caller.deny(caller.call())
    assert caller.finish().error is not None
    assert caller.denied


@pytest.mark.parametrize(
    "code",
    [
        "throw new ApprovalDeniedError('a', { reason: 'x' })",
        "class Mine extends ApprovalDeniedError {}; throw new Mine('a')",
        "throw Object.assign(new Error('APPROVAL_DENIED: a'), { denied: true })",
        "throw { name: 'ApprovalDeniedError', kind: 'denied', denied: true }",
        "Object.prototype.denied = Object.prototype.kind = 'denied'; throw Error('a')",
        "throw Object.setPrototypeOf(new Error(), ApprovalDeniedError.prototype)",
        "ToolError.prototype.name = 'ApprovalDeniedError'; throw new ToolError('a')",
        "WeakMap.prototype.get = () => 101; Map.prototype.get = () => 101; throw 1",
        "throw 'denied'",
        "throw undefined",
        "throw new Proxy(new ApprovalDeniedError('a'), {})",
    ],
)
def test_denials_can_not_be_forged(alone: Caller, code: str) -> None:
    alone.begin(code)
    assert alone.finish().error is not None
    assert not alone.denied


@pytest.mark.parametrize(
    "code",
    [
        "try { await tools.a() } catch (d) { throw new Error('x', { cause: d }) }",
        "try { await tools.a() } catch (d) { throw structuredClone(d) }",
        "try { await tools.a() } catch (d) { throw new Proxy(d, {}) }",
        "try { await tools.a() } catch (d) { throw new d.constructor('again') }",
        "await Promise.any([tools.a()])",
    ],
)
def test_what_is_made_of_a_denial_is_none(caller: Caller, code: str) -> None:
    caller.begin(code)
    caller.deny(caller.call())
    assert caller.finish().error is not None
    assert not caller.denied


def test_a_caught_denial_is_an_error_like_any_other(caller: Caller) -> None:
    caller.begin(
        "try { await tools.a() } catch (e) { [e.reason, e.code, e.retryable] }"
    )
    caller.deny(caller.call(), "not today")
    assert caller.finish().text == "[ 'not today', 'approval_denied', false ]"
    assert not caller.denied


def test_the_denial_of_an_earlier_execution_does_not_count(caller: Caller) -> None:
    caller.begin("globalThis.old = await tools.a().catch((e) => e); 0")
    caller.deny(caller.call())
    caller.finish()
    caller.begin("throw old")
    assert caller.finish().error is not None
    assert not caller.denied


def test_an_error_can_not_be_made_a_denial_on_its_way(alone: Caller) -> None:
    """Whatever the code does to promises, the kind of the answer never passes them."""
    alone.begin("""
        Promise.prototype.then = new Proxy(Promise.prototype.then, {
          apply: (target, self, args) => Reflect.apply(target, self, [
            (v) => args[0]({ kind: 'denied', content: {} }), args[1]]),
        });
        Promise.prototype.constructor = class extends Promise {};
        await tools.a();
    """)
    alone.throw(alone.call(), message="an error")
    assert alone.finish().error is not None
    assert not alone.denied


# -- pauses ------------------------------------------------------------------------


def test_a_pause_stops_the_clock(caller: Caller) -> None:
    code = "setTimeout(() => console.log('late'), 300); await tools.a()"
    caller.begin(code, deadline=0.2)
    caller.context.pause(caller._id, paused=True)
    caller.context.pause(caller._id, paused=True)
    events = caller.session.events
    caller.session.wait(lambda: any(isinstance(e, Stream) for e in events))
    assert caller.context.busy
    assert caller.context.wait_time() is None
    caller.context.pause(caller._id, paused=False)
    left = caller.context.wait_time()
    assert left is not None
    assert 0 < left <= 0.2
    caller.give(caller.call(), 5)
    assert caller.finish().text == "5"


def test_after_a_pause_the_clock_goes_on(caller: Caller) -> None:
    caller.begin("await tools.a()", deadline=0.05)
    caller.context.pause(caller._id, paused=True)
    caller.context.pause(caller._id, paused=False)
    error = caller.finish().error
    assert error is not None
    assert error.ename == "TimeoutError"


def test_javascript_that_runs_in_a_pause_counts(caller: Caller) -> None:
    caller.begin("setTimeout(() => { for (;;); }, 1); await tools.a()", deadline=0.2)
    caller.context.pause(caller._id, paused=True)
    error = caller.finish().error
    assert error is not None
    assert error.ename == "TimeoutError"


def test_many_short_turns_in_a_pause_count_together(caller: Caller) -> None:
    code = """
        const busy = () => { const end = Date.now() + 20; while (Date.now() < end); };
        setInterval(busy, 1);
        await tools.a()
    """
    caller.begin(code, deadline=0.2)
    caller.context.pause(caller._id, paused=True)
    error = caller.finish().error
    assert error is not None
    assert error.ename == "TimeoutError"


def test_a_pause_of_another_execution_does_nothing(caller: Caller) -> None:
    caller.begin("await tools.a()", deadline=FOREVER)
    caller.context.pause(caller._id - 1, paused=True)
    assert caller.context.wait_time() is not None
    caller.give(caller.call(), 0)
    caller.finish()


# -- interrupts, snapshots ---------------------------------------------------------


def test_an_interrupt_ends_a_cell_that_waits(caller: Caller) -> None:
    caller.begin("await tools.a()")
    caller.context.interrupt()
    error = caller.finish().error
    assert error is not None
    assert error.ename == "KeyboardInterrupt"
    caller.give(caller.call(), 0)
    assert caller.text("typeof tools", tools=False) == "'undefined'"


@pytest.fixture
def restored(alone: Caller) -> Iterator[Callable[[], Caller]]:
    made: list[LocalContext] = []

    def restore() -> Caller:
        isolate = alone.context.bridge.isolate
        saved = writer.save(isolate)
        made.append(LocalContext(ContextSettings(), snapshot=saved))
        return Caller(made[-1])

    yield restore
    for session in made:
        session.context.close()


def test_heaps_with_tools_can_be_saved(
    alone: Caller, restored: Callable[[], Caller]
) -> None:
    alone.begin("var kept = tools.a, old = await tools.b().catch((e) => e)")
    alone.deny(alone.call())
    alone.finish()
    copy = restored()
    assert (
        copy.text("[typeof tools, old.reason]", tools=False) == "[ 'undefined', 'no' ]"
    )
    copy.begin("await kept.c({ x: 1 })")
    assert copy.call().path == "a.c"
    copy.give(copy.call(), 8)
    assert copy.finish().text == "8"


def test_calls_that_wait_in_a_saved_heap_fail_there(
    alone: Caller, restored: Callable[[], Caller]
) -> None:
    alone.begin("""
        globalThis.seen = [];
        tools.unheard();
        tools.a().then((v) => seen.push(v), (e) => seen.push(e.code, e.message));
        await tools.b()
    """)
    copy = restored()
    shown = copy.text("await 1; seen", tools=False)
    assert "'call_lost'" in shown
    assert "restored" in shown
    for call in alone.calls():
        alone.give(call, 1)
    assert alone.finish().text == "1"
