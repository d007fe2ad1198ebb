"""Calls for what is beyond a context, answered by the tests themselves."""

from __future__ import annotations

import json
import os
import threading
import time
from typing import TYPE_CHECKING, Any, Literal

import pytest
from tests.support.capabilities import expose, heap_with_calls
from tests.support.local_contexts import LocalContext

from isokernel.context.cell_run import ExecutionOptions
from isokernel.context.events import (
    CallAnswer,
    CapabilityCall,
    CapabilityDrop,
    ExecutionError,
    Stream,
)
from isokernel.errors import CapabilityError
from isokernel.settings import ContextSettings
from isokernel.v8.snapshot import Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DONE = CallAnswer("value", '"done"')


class Asked(LocalContext):
    """A context whose calls wait until the test answers them."""

    def __init__(
        self,
        answer_now: Callable[[CapabilityCall], CallAnswer] = lambda _call: DONE,
        **options: Any,
    ) -> None:
        super().__init__(call_now=answer_now, **options)
        expose(self.context)

    def begin(self, code: str) -> list[CapabilityCall]:
        """Begin a cell; the calls that it has made."""
        del self.events[:]
        self.context.begin(code, execution_id=next(self._ids))
        return self.calls()

    def calls(self) -> list[CapabilityCall]:
        return [event for event in self.events if isinstance(event, CapabilityCall)]

    def settle(self, call: CapabilityCall, answer: CallAnswer = DONE) -> None:
        self.context.settle_call(call.call_id, answer)

    def printed(self) -> str:
        self.context.step()
        return "".join(getattr(event, "text", "") for event in self.events)


@pytest.fixture
def asked() -> Iterator[Callable[..., Asked]]:
    made: list[Asked] = []

    def make(*arguments: Any, **options: Any) -> Asked:
        made.append(Asked(*arguments, **options))
        return made[-1]

    yield make
    for session in made:
        session.context.close()


@pytest.mark.parametrize("ask", ["await call", "callNow"])
def test_a_sealed_context_says_so(context: LocalContext, ask: str) -> None:
    expose(context.context)
    code = f"try {{ {ask}('net.open', {{url: 'x'}}) }} catch (e) {{ caught = e }}"
    code += "; [caught instanceof Error, caught.name, caught.code, caught.capability]"
    assert context.value(code) == (
        "[ true, 'CapabilityDeniedError', 'capability_denied', 'net' ]"
    )
    assert "net.open is denied: nobody here holds anything" in context.value(
        "caught.message"
    )


def test_a_call_goes_out_and_its_answer_comes_in(
    asked: Callable[..., Asked],
) -> None:
    session = asked()
    (call,) = session.begin(
        "const { value, data } = await call('x.do', {a: [1]}, Uint8Array.of(7, 8));"
        "[value, data]"
    )
    assert call == CapabilityCall(call.execution_id, 1, "x.do", '{"a":[1]}', b"\7\x08")
    session.settle(call, CallAnswer("value", '{"b":2}', b"\1\2"))
    assert not session.context.busy
    assert session.value("[value, data instanceof ArrayBuffer, data.byteLength]") == (
        "[ { b: 2 }, true, 2 ]"
    )


def test_a_call_that_is_waited_for_has_its_answer_at_once(
    asked: Callable[..., Asked],
) -> None:
    def answer(call: CapabilityCall) -> CallAnswer:
        return CallAnswer("value", call.arguments, (call.data or b"")[::-1])

    session = asked(answer)
    session.run("r = callNow('x.do', {a: 1}, Uint8Array.of(1, 2))")
    code = "[r.value, ...new Uint8Array(r.data)]"
    assert session.value(code) == "[ { a: 1 }, 2, 1 ]"
    assert session.value("callNow('x.do').value") == "{}"


def test_answers_come_in_any_order_and_once(asked: Callable[..., Asked]) -> None:
    session = asked()
    first, second = session.begin(
        "Promise.all([call('a.b'), call('c.d')]).then(r => r.map(x => x.value))"
        ".then(r => console.log(r)); 0"
    )
    session.settle(second, CallAnswer("value", "2"))
    session.settle(second, CallAnswer("value", "3"))
    session.settle(first, CallAnswer("value", "1"))
    session.settle(first, CallAnswer("value", "4"))
    session.context.settle_call(99, DONE)
    assert session.printed().endswith("[ 1, 2 ]\n")


def test_an_error_has_the_fields_that_came(asked: Callable[..., Asked]) -> None:
    session = asked()
    code = """
    async function load() {
      await call('files.read', {path: 'x'});
    }
    await load()"""
    (call,) = session.begin(code)
    fields = {"name": "Error", "message": "no file", "code": "ENOENT", "errno": -2}
    session.settle(call, CallAnswer("error", json.dumps(fields)))
    (error,) = [e.error for e in session.events if isinstance(e, ExecutionError)]
    assert error.evalue == "no file"
    assert any("load" in line and "3" in line for line in error.traceback)
    assert session.value("call('x.y').catch(e => { kept = e }); 0")
    session.settle(session.calls()[-1], CallAnswer("error", json.dumps(fields)))
    assert session.value("[kept.code, kept.errno, Object.keys(kept)]") == (
        "[ 'ENOENT', -2, [ 'code', 'errno' ] ]"
    )


def test_who_answers_at_once_may_fail(asked: Callable[..., Asked]) -> None:
    def answer(_call: CapabilityCall) -> CallAnswer:
        message = "there is none"
        raise CapabilityError(message, code="ENOENT", path="a.csv")

    session = asked(answer)
    code = "try { callNow('x.y') } catch (e) { [e.message, e.code, e.path] }"
    assert session.value(code) == "[ 'there is none', 'ENOENT', 'a.csv' ]"


def test_an_answer_may_come_when_its_cell_is_over(
    asked: Callable[..., Asked],
) -> None:
    session = asked()
    (call,) = session.begin("call('a.b').then(r => console.log(r.value)); 0")
    assert not session.context.busy
    session.run("1")
    del session.events[:]
    session.settle(call)
    (printed,) = session.events
    assert (printed.text, printed.execution_id) == ("done\n", call.execution_id)  # type: ignore[union-attr]


def test_more_calls_than_may_wait_have_their_turn_later(
    asked: Callable[..., Asked],
) -> None:
    session = asked(settings=ContextSettings(calls_max=2, call_bytes_max=100))
    session.begin(
        "const bytes = Uint8Array.of(1);"
        "for (let i = 0; i < 5; i++) { bytes[0] = i;"
        "  call('a.b', {i}, bytes).then(r => console.log(i)) }; 0"
    )
    seen = []
    for _ in range(5):
        assert len(session.calls()) <= 2
        call = session.calls()[0]
        seen.append((json.loads(call.arguments)["i"], call.data))
        session.events.remove(call)
        session.settle(call)
    assert seen == [(i, bytes([i])) for i in range(5)]
    assert session.printed() == "0\n1\n2\n3\n4\n"


def test_bytes_that_wait_have_a_bound(asked: Callable[..., Asked]) -> None:
    session = asked(settings=ContextSettings(call_bytes_max=100))
    code = "for (let i = 0; i < 5; i++) call('a.b', {}, new Uint8Array(60)); 0"
    first, *others = session.begin(code)
    assert len(others) == 2
    session.settle(first)
    assert len(session.calls()) == 4
    for ask in ("await call", "callNow"):
        failure = session.run(f"{ask}('a.b', {{}}, new Uint8Array(99))").failure
        assert failure.evalue == (
            "a.b: arguments and data have 101 bytes, 100 are allowed"
        )


def test_sixteen_megabytes_go_out_and_come_in(asked: Callable[..., Asked]) -> None:
    session = asked(lambda call: CallAnswer("value", "", call.data))
    size = (16 << 20) - 2
    session.run(f"big = new Uint8Array({size}); big[{size - 1}] = 7")
    session.run("back = new Uint8Array(callNow('a.b', {}, big).data)")
    assert session.value(f"[back.length, back[{size - 1}]]") == f"[ {size}, 7 ]"


def test_an_answer_without_room_is_an_error(asked: Callable[..., Asked]) -> None:
    size = 1 << 20
    session = asked(
        lambda _call: CallAnswer("value", "", bytes(2 * size)),
        settings=ContextSettings(array_buffer_bytes_max=size),
    )
    failure = session.run("callNow('a.b')").failure
    assert failure.evalue == "there is no room for the 2097152 bytes of the answer"
    (call,) = session.begin("await call('a.b')")
    session.settle(call, CallAnswer("value", "", bytes(2 * size)))
    assert not session.context.busy
    assert session.value("6 * 7") == "42"


# -- stopping ----------------------------------------------------------------------


@pytest.mark.parametrize("why", ["interrupt", "deadline"])
def test_a_stopped_execution_has_no_more_calls(
    asked: Callable[..., Asked], why: str
) -> None:
    """What it awaits, what it doesn't, what has yet to go out; others go on."""
    session = asked(settings=ContextSettings(calls_max=4))
    (other,) = session.begin("call('a.b').then(r => console.log('other')); 0")
    code = (
        "const say = () => console.log('went on');"
        "for (let i = 0; i < 5; i++) call('c.d').then(say, say);"
        "try { await call('e.f') } finally { say() }"
    )
    session.context.begin(
        code,
        execution_id=next(session._ids),
        deadline=0.2 if why == "deadline" else None,
    )
    mine = [call for call in session.calls() if call is not other]
    assert len(mine) == 3
    if why == "interrupt":
        session.context.interrupt()
    session.wait(lambda: not session.context.busy)
    dropped = [each for each in session.events if isinstance(each, CapabilityDrop)]
    assert [(d.execution_id, d.call_id) for d in dropped] == [
        (call.execution_id, call.call_id) for call in mine
    ]
    # Their places are free when whoever answers has ended them, not before.
    assert len(session.begin("for (let i = 0; i < 3; i++) call('g.h'); 0")) == 0
    for call in mine:
        session.settle(call, CallAnswer("error", '{"message":"","code":"x"}'))
    assert len(session.calls()) == 3
    session.settle(other)
    assert session.printed() == "other\n"


def test_a_script_that_fails_has_no_more_calls(asked: Callable[..., Asked]) -> None:
    session = asked()
    for drains in (True, False):
        del session.events[:]
        session.context.begin(
            "call('a.b'); throw new Error('no')",
            execution_id=next(session._ids),
            options=ExecutionOptions(drain=drains),
        )
        session.wait(lambda: not session.context.busy)
        dropped = [e for e in session.events if isinstance(e, CapabilityDrop)]
        # A cell's calls, like its timers, outlive its failure.
        assert len(dropped) == (1 if drains else 0)


@pytest.mark.parametrize("kind", ["value", "error"])
def test_a_response_that_comes_too_late_is_closed(
    asked: Callable[..., Asked], kind: Literal["value", "error"]
) -> None:
    """Whoever connects had answered before it was told that nobody waits."""
    session = asked()
    (opened,) = session.begin("await (await fetch('http://a.com/')).text()")
    session.context.interrupt()
    session.wait(lambda: not session.context.busy)
    head = {"status": 200, "statusText": "OK", "headers": [], "done": False}
    session.settle(opened, CallAnswer(kind, json.dumps(head)))
    told = [
        (call.name, json.loads(call.arguments)["handle"]) for call in session.calls()
    ]
    assert told[0][0] == "net.open"
    assert told[1:] == ([("net.close", told[0][1])] if kind == "value" else [])


class Slow:
    """Answers when it is told to, waiting as a front does."""

    def __init__(self) -> None:
        self.context: Any = None
        self.reader, self.writer = os.pipe()
        self.waits = threading.Event()

    def __call__(self, _call: CapabilityCall) -> CallAnswer:
        self.waits.set()

        def look() -> CallAnswer | None:
            return None

        answer: CallAnswer = self.context.turns.block(self.reader, look)
        return answer

    def close(self) -> None:
        os.close(self.reader)
        os.close(self.writer)


@pytest.fixture
def slow(asked: Callable[..., Asked]) -> Iterator[tuple[Asked, Slow]]:
    answers = Slow()
    session = asked(answers)
    answers.context = session.context
    yield session, answers
    answers.close()


def test_an_interrupt_ends_a_wait(slow: tuple[Asked, Slow]) -> None:
    session, answers = slow

    def interrupt() -> None:
        answers.waits.wait(10)
        session.context.interrupt()

    thread = threading.Thread(target=interrupt)
    thread.start()
    outcome = session.run("try { callNow('a.b') } catch { console.log('caught') }; 1")
    thread.join()
    assert outcome.failure.ename == "KeyboardInterrupt"
    assert not outcome.stdout
    assert session.value("6 * 7") == "42"


def test_the_deadline_ends_a_wait(slow: tuple[Asked, Slow]) -> None:
    session, _ = slow
    start = time.monotonic()
    outcome = session.run("callNow('a.b')", deadline=0.3)
    assert outcome.failure.ename == "TimeoutError"
    assert time.monotonic() - start < 5
    assert session.value("6 * 7") == "42"


def test_what_was_printed_is_seen_during_a_wait(slow: tuple[Asked, Slow]) -> None:
    session, _ = slow
    seen: list[str] = []

    def interrupt_when_seen() -> None:
        end = time.monotonic() + 10
        while time.monotonic() < end:
            texts = [e.text for e in session.events if isinstance(e, Stream)]
            if texts:
                seen.extend(texts)
                break
            time.sleep(0.01)
        session.context.interrupt()

    thread = threading.Thread(target=interrupt_when_seen)
    thread.start()
    session.run("console.log('loading'); callNow('a.b')")
    thread.join()
    assert seen == ["loading\n"]


# -- saved, cloned -----------------------------------------------------------------


def test_calls_that_wait_in_a_heap_are_lost(asked: Callable[..., Asked]) -> None:
    session = asked(settings=ContextSettings(calls_max=1))
    session.begin(
        "failures = []; const note = e => failures.push([e.code, e.retryable]);"
        "call('a.b').catch(note); call('c.d').catch(note); call('e.f'); 0"
    )
    heap = session.context.heaps.save()
    assert session.value("failures") == "[]"
    copy = LocalContext(snapshot=heap, call_now=lambda _call: DONE)
    try:
        copy.context.step()
        assert (
            copy.value("failures") == "[ [ 'call_lost', true ], [ 'call_lost', true ] ]"
        )
        assert copy.value("callNow('a.b').value") == "'done'"
        copy.context.begin("await call('a.b')", execution_id=50)
        calls = [event for event in copy.events if isinstance(event, CapabilityCall)]
        copy.context.settle_call(calls[0].call_id, DONE)
        assert not copy.context.busy
    finally:
        copy.context.close()


def test_a_script_ends_after_its_calls(asked: Callable[..., Asked]) -> None:
    session = asked()
    session.context.begin(
        "call('a.b').then(r => console.log(r.value)); 0",
        execution_id=7,
        options=ExecutionOptions(drain=True),
    )
    (call,) = session.calls()
    assert session.context.wait_time() is None
    session.settle(call)
    assert not session.context.busy
    assert session.printed() == "done\n"


def test_built_ins_of_the_users_are_not_used() -> None:
    session = LocalContext(
        snapshot=Snapshot.from_bytes(heap_with_calls()),
        call_now=lambda call: CallAnswer("value", call.arguments, call.data),
    )
    try:
        session.run(
            "for (const name of ['then', 'constructor']) Promise.prototype[name] = 0;"
            "Map.prototype.get = Map.prototype.set = JSON.parse = JSON.stringify = 0;"
            "globalThis.Error = globalThis.ArrayBuffer = globalThis.Promise = null;"
            "Object.prototype.toJSON = () => 1; Array.prototype[Symbol.iterator] = 0;"
        )
        assert session.value("callNow('a.b', {a: 1}).value.a") == "1"
        session.context.begin("call('x.y', {}, Uint8Array.of(1)); 0", execution_id=80)
        call = next(e for e in session.events if isinstance(e, CapabilityCall))
        session.context.settle_call(call.call_id, DONE)
        failure = CallAnswer("error", '{"message":"m","code":"c"}')
        session.context.begin("call('x.y'); 0", execution_id=81)
        calls = [e for e in session.events if isinstance(e, CapabilityCall)]
        session.context.settle_call(calls[-1].call_id, failure)
    finally:
        session.context.close()
