"""FinalizationRegistry: its callbacks are called, in the turn after a collection."""

from __future__ import annotations

import threading

from tests.support.local_contexts import LocalContext

from isokernel.context.events import Stream
from isokernel.settings import ContextSettings

DIE = "for (let i = 0; i < 3; i++) registry.register({ i }, i)"
LOOP = (
    "var registry = new FinalizationRegistry(() => { console.log('in'); while (1); })"
)


def _collect(session: LocalContext) -> None:
    session.run("0")  # what the cell before has left on the stack is gone
    session.context._isolate.collect_garbage()


def test_callbacks_are_called(context: LocalContext) -> None:
    context.run("var held = [], registry = new FinalizationRegistry(x => held.push(x))")
    context.run(f"var kept = {{}}; registry.register(kept, 'kept'); {DIE}")
    _collect(context)
    context.run("0")
    assert context.value("held.sort()") == "[ 0, 1, 2 ]"
    context.run("kept = null")
    _collect(context)
    context.run("0")
    assert context.value("held.at(-1)") == "'kept'"


def test_what_one_throws_is_told_and_the_others_are_called(
    context: LocalContext,
) -> None:
    context.run(
        "var registry = new FinalizationRegistry("
        "x => { console.log(`gone ${x}`); throw new RangeError(`of ${x}`) })"
    )
    context.run(DIE)
    _collect(context)
    outcome = context.run("'mine'")
    assert outcome.error is None
    assert outcome.text == "'mine'"
    assert sorted(outcome.stdout.splitlines()) == ["gone 0", "gone 1", "gone 2"]
    for number in range(3):
        assert f"Uncaught RangeError: of {number}" in outcome.stderr


def test_timers_and_promises_of_callbacks_run(context: LocalContext) -> None:
    context.run(
        "var got = [], registry = new FinalizationRegistry(x => {"
        " setTimeout(() => got.push(x)); Promise.resolve(x + 10).then(y => got.push(y))"
        "})"
    )
    context.run(DIE)
    _collect(context)
    context.run("0")
    context.idle()
    assert context.value("got.sort()") == "[ 0, 1, 10, 11, 12, 2 ]"


def test_one_that_does_not_end_is_stopped(context: LocalContext) -> None:
    context.run(LOOP)
    context.run(DIE)
    _collect(context)
    outcome = context.run("'mine'", deadline=0.2)
    assert outcome.error is not None
    assert outcome.error.ename == "TimeoutError"
    assert outcome.stdout == "in\n"
    # Those that are left have their turns as well, and can be interrupted.
    timer = threading.Timer(0.2, context.context.interrupt)
    timer.start()
    outcome = context.run("'mine'")
    timer.join()
    assert outcome.error is not None
    assert outcome.error.ename == "KeyboardInterrupt"
    context.run("registry = null", deadline=0.2)
    assert context.value("'mine'") == "'mine'"


def test_a_timer_s_turn_calls_them_too(context: LocalContext) -> None:
    context.run("var registry = new FinalizationRegistry(x => console.log('gone', x))")
    context.run(DIE)
    _collect(context)
    del context.events[:]
    context.context.step()
    said = "".join(event.text for event in context.events if isinstance(event, Stream))
    assert sorted(said.splitlines()) == ["gone 0", "gone 1", "gone 2"]


def test_they_are_called_in_a_restored_context(
    context: LocalContext,
) -> None:
    context.run("var held = [], registry = new FinalizationRegistry(x => held.push(x))")
    context.run(f"var kept = {{}}; registry.register(kept, 'kept'); {DIE}")
    _collect(context)
    context.run("0")
    heap = context.context.heaps.save()
    restored = LocalContext(ContextSettings(), snapshot=heap)
    try:
        restored.run(f"kept = null; {DIE}")
        _collect(restored)
        restored.run("0")
        assert restored.value("held.length") == "7"
    finally:
        restored.context.close()
