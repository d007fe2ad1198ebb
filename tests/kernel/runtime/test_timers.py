"""Timers: order, arguments, clearing, owners, bounds, late errors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from isokernel.context.events import Stream

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.local_contexts import LocalContext


def late(context: LocalContext, name: str = "stdout") -> str:
    """What is printed after the cell, until no timer is left."""
    return "".join(
        e.text for e in context.idle() if isinstance(e, Stream) and e.name == name
    )


def test_order(context: LocalContext) -> None:
    """Timers fire by due time, then in the order in which they were set."""
    context.run(
        "for (const ms of [5, 1, 5, 3])"
        "  setTimeout((x) => console.log(x, ms), ms, 'ms');"
        "setImmediate(() => console.log('now')); 0"
    )
    assert late(context) == "now\nms 1\nms 3\nms 5\nms 5\n"


def test_awaited(context: LocalContext) -> None:
    """A cell that awaits a timer goes on when it fires."""
    code = "await new Promise((done) => setTimeout(done, 5, 'value'))"
    assert context.value(code) == "'value'"


def test_interval(context: LocalContext) -> None:
    """An interval goes on until it is cleared, also from its own callback."""
    context.run(
        "let n = 0; const id = setInterval(() => { console.log(++n);"
        "if (n === 3) clearInterval(id) }, 1); typeof id"
    )
    assert late(context) == "1\n2\n3\n"


def test_clear(context: LocalContext) -> None:
    """A cleared timer never fires; clearing anything else does nothing."""
    context.run(
        "clearTimeout(setTimeout(() => console.log('a'), 1));"
        "clearImmediate(setImmediate(() => console.log('b')));"
        "clearTimeout(undefined); clearTimeout(12345); clearTimeout({}); 0"
    )
    assert late(context) == ""


def test_microtasks_between(context: LocalContext) -> None:
    """Microtasks of a callback run before the next callback."""
    context.run(
        "setImmediate(() => { console.log(1);"
        "  Promise.resolve().then(() => console.log(2)) });"
        "setImmediate(() => console.log(3)); 0"
    )
    assert late(context) == "1\n2\n3\n"


@pytest.mark.parametrize("delay", ["-5", "NaN", "'x'", "2 ** 31", "undefined"])
def test_odd_delays(context: LocalContext, delay: str) -> None:
    """Delays out of bounds are taken as 1 ms, as in Node.js."""
    context.run(f"setTimeout(() => console.log('fired'), {delay}); 0")
    assert late(context) == "fired\n"


def test_a_string_is_run_as_a_script(context: LocalContext) -> None:
    """As in a browser: in the global scope, when the time has come."""
    context.run("var seen = 0; setTimeout('seen += 1; var more = 2', 1); 0")
    context.idle()
    assert context.value("[seen, more]") == "[ 1, 2 ]"


@pytest.mark.parametrize("nothing", ["undefined", "null", ""])
def test_nothing_is_no_callback(context: LocalContext, nothing: str) -> None:
    error = context.run(f"setTimeout({nothing})").error
    assert error
    assert error.ename == "TypeError"


def test_owner(context: LocalContext) -> None:
    """Late output belongs to the cell that set the timer, over promises as well."""
    first = context.run(
        "setTimeout(async () => { await null; console.log('mine');"
        "setTimeout(() => console.log('too'), 1) }, 20); 0"
    )
    context.run("console.log('second cell')")
    owners = {e.execution_id for e in context.idle() if isinstance(e, Stream)}
    assert owners == {first.execution_id}


def test_late_error(context: LocalContext) -> None:
    """An error in a callback is shown with its place, and later timers still fire."""
    context.run(
        "setTimeout(() => null.x, 1); setTimeout(() => console.log('on'), 2); 0"
    )
    events = context.idle()
    stderr = "".join(
        e.text for e in events if isinstance(e, Stream) and e.name == "stderr"
    )
    stdout = "".join(
        e.text for e in events if isinstance(e, Stream) and e.name == "stdout"
    )
    assert "TypeError" in stderr
    assert "cell 1:1:23" in stderr
    assert stdout == "on\n"


def test_many(context: LocalContext) -> None:
    """100,000 timers are set, fired in order, and cleared quickly."""
    context.run(
        "let sorted = true, fired = 0; const last = [];"
        "for (let i = 0; i < 50000; i++) {"
        "  const ms = 100 + (i * 7919) % 200;"
        "  const check = () => { fired++; sorted &&= !(last[ms] > i); last[ms] = i };"
        "  setTimeout(check, ms) }"
        "const ids = [];"
        "for (let i = 0; i < 49000; i++) ids.push(setTimeout(() => {}, 9e6));"
        "ids.forEach(clearTimeout)"
    )
    context.idle()
    assert context.value("[fired, sorted]") == "[ 50000, true ]"


def test_bound(sessions: Callable[..., LocalContext]) -> None:
    """More timers than the setting allows are refused."""
    context = sessions(timers_max=3)
    error = context.run("for (;;) setTimeout(() => {}, 1)").error
    assert error
    assert error.ename == "RangeError"
    context.idle()
    assert context.run("setTimeout(() => {}, 1); 1").text == "1"


def test_next_tick(context: LocalContext) -> None:
    """process.nextTick calls back before timers, with its arguments."""
    outcome = context.run(
        "process.nextTick((x) => console.log(x), 'tick'); setImmediate(() => {});"
        "await null; process.hrtime.bigint() > 0n"
    )
    assert (outcome.stdout, outcome.text) == ("tick\n", "true")


def test_remaining_time_is_kept(context: LocalContext) -> None:
    """A saved heap keeps what is left of each timer, whatever the clock says later."""
    context.run("setTimeout(() => console.log('fired'), 200); 0")
    bridge = context.context.bridge
    bridge.call("suspend", "")
    left = bridge.call("nextTimer")
    assert left == 0  # counted from the clock's own zero: due long ago
    bridge.call("resume")
    assert 0 < bridge.call("nextTimer") <= 200
    assert late(context) == "fired\n"


def test_a_stopped_interval_does_not_fire_again(
    sessions: Callable[..., LocalContext],
) -> None:
    """Its callback never ends, so it would have to be stopped again and again."""
    session = sessions(cell_timeout_seconds=0.5)
    begun = session.run("let fired = 0; setInterval(() => { fired++; for (;;); }, 1)")
    assert begun.error is None
    outcome = session.run("await new Promise(() => {})")
    assert outcome.error
    session.run("await new Promise((resolve) => setTimeout(resolve, 20))")
    assert session.value("fired") == "1"


def test_writes_call_back(context: LocalContext) -> None:
    outcome = context.run(
        "await new Promise((resolve) => process.stdout.write('text', resolve)); 5"
    )
    assert (outcome.stdout, outcome.text) == ("text", "5")


def test_what_nextTick_throws_is_no_rejection(context: LocalContext) -> None:  # noqa: N802
    outcome = context.run("process.nextTick(() => { throw new Error('here') }); 0")
    assert outcome.stderr.startswith("Uncaught Error: here\n")


def test_what_a_timer_is(context: LocalContext) -> None:
    """A number to whoever wants one, with Node.js's methods."""
    code = (
        "const t = setTimeout(() => console.log('fired'), 60_000);"
        "[+t > 0, `${t}` === `${+t}`, JSON.stringify(t) === `${+t}`, t.hasRef(),"
        " t.unref().hasRef(), t.ref().hasRef(), t.close().hasRef()]"
    )
    values = "true, true, true, true, false, true, false"
    assert f"[ {values} ]" == " ".join(context.value(code).split()).replace("[ ", "[ ")
    assert context.value("setTimeout(() => {}, 1)").startswith("Timeout (")


def test_refresh(context: LocalContext) -> None:
    """Its delay begins anew: what was due later comes first."""
    context.run(
        "const t = setTimeout(() => console.log('first'), 20);"
        "setTimeout(() => t.refresh(), 10);"
        "setTimeout(() => console.log('second'), 25); 0"
    )
    assert late(context) == "second\nfirst\n"
