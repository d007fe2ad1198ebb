"""Contexts that are saved, and go on in another process."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Final

import psutil
import pytest
from tests.support.local_contexts import LocalContext
from tests.support.waiting import DEADLINE, wait_for
from tests.support.workers import WorkerClient, await_exit, orphans_reaped, texts

from isokernel.context.events import Stream
from isokernel.context.warmup import warm
from isokernel.errors import (
    SnapshotEngineError,
    SnapshotFailedError,
    SnapshotFormatError,
)
from isokernel.runtime import scripts
from isokernel.settings import ContextSettings
from isokernel.v8.children import Children
from isokernel.v8.snapshot import Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from isokernel.context.events import Event
    from isokernel.forkserver import ForkServer
    from isokernel.v8.children import Child

    Restore = Callable[[LocalContext], LocalContext]
    Spawn = Callable[..., WorkerClient]


def test_a_plain_heap_is_searched_for_nothing(context: LocalContext) -> None:
    """What needs a search by V8 is noticed when code uses it, not when ours starts."""
    context.run("console.log({ a: [1] }); display([new Date()]); /x/.test('x')")
    assert context.context.bridge.isolate.features == set()


def test_what_is_only_loaded_ahead_is_in_no_heap(
    context: LocalContext, restore: Restore
) -> None:
    """The contexts that others are forked from have much at hand that few need."""
    plain = len(context.context.heaps.save().blob)
    warm(context.context)
    copy = restore(context)
    assert len(copy.context.heaps.save().blob) < plain * 1.2  # with all, 1.4
    used = "console.log({ a: [1] }); console.table([{ a: 1 }]); require('path').sep"
    assert "'/'" in str(copy.run(used).text)
    assert copy.context.queries.complete("Math.ma", 7).matches == ["max"]
    assert "Math.max" in str(copy.context.queries.inspect("Math.max", 8))
    assert "{ a: [ 1 ] }" in restore(copy).run(used).stdout


def test_what_code_has_of_the_runtime_goes_on(
    context: LocalContext, restore: Restore
) -> None:
    """A module that code has asked for is in its heap, with all that it holds."""
    warm(context.context)
    context.run(
        "const util = require('util'), blob = new Blob(['a']), { inspect } = util;"
        " inspect.defaultOptions.depth = 0; await import('node:path')"
    )
    code = """[util === require('node:util'), inspect === require('util').inspect,
      blob instanceof Blob, await blob.text(), inspect({ a: { b: {} } })].join()"""
    assert context.run(code).text == "'true,true,true,a,{ a: [Object] }'"
    copy = restore(restore(context))
    assert copy.run(code).text == "'true,true,true,a,{ a: [Object] }'"
    assert copy.run("console.log({ a: { b: {} } })").stdout == "{ a: [Object] }\n"


def test_what_is_loaded_after_a_restore_finds_changed_built_ins(
    context: LocalContext, restore: Restore
) -> None:
    """It relies on none of them, as if it had been there before."""
    copy = restore(context)
    copy.run("""
        const names = Object.getOwnPropertyNames, { prototype } = Function;
        for (const name of ["Proxy", "Reflect", "Symbol", "WeakMap", "Map", "Set"]) {
          globalThis[name] = undefined;
        }
        for (const owner of [Object, Array.prototype, String.prototype, prototype]) {
          for (const key of names(owner)) {
            if (key !== "prototype") try { owner[key] = null } catch {}
          }
        }
    """)
    shown = copy.run("console.table([[1]]); console.log(new (class A {})())")
    assert shown.stdout.endswith("A {}\n")
    assert copy.context.queries.complete("Math.ma", 7).matches == ["max"]
    assert "Math.max" in str(copy.context.queries.inspect("Math.max", 8))


@pytest.fixture
def restore() -> Iterator[Callable[[LocalContext], LocalContext]]:
    """Goes on from a session, by way of the bytes that a file would have."""
    made: list[LocalContext] = []

    def go_on(session: LocalContext) -> LocalContext:
        data = session.context.heaps.save().to_bytes()
        made.append(
            LocalContext(session.context.settings, snapshot=Snapshot.from_bytes(data))
        )
        return made[-1]

    yield go_on
    for session in made:
        session.context.close()


# -- what goes on ------------------------------------------------------------------


def test_counts_and_history_go_on(context: LocalContext, restore: Restore) -> None:
    context.run("20 + 1")
    context.run("'silent'", silent=True)
    context.run("_ * 2")
    copy = restore(context)
    assert copy.context.execution_count == 2
    assert copy.value("[In[1], Out[1], _, __]") == "[ '20 + 1', 21, 42, 21 ]"
    assert copy.context.execution_count == 3
    assert context.value("[In[1], Out[1], _, __]") == "[ '20 + 1', 21, 42, 21 ]"


def test_tracebacks_show_the_source_of_earlier_cells(
    sessions: Callable[..., LocalContext], restore: Restore
) -> None:
    session = sessions(language="typescript")
    session.run("enum E { A }\nfunction fail(x: number): never {\n  return nope(x)\n}")
    session.run("const query = () => nope", store_history=False)
    session.run("const a = 1; let b = 2")
    session.run("let a = 3; const late = () => { let b = 1; nope }")
    copy = restore(restore(session))
    for code, line in {
        "fail(E.A)": "     3 |   return nope(x)\n",
        "query()": "    at query (query 1:1:21)\n",
        "late()": "    at late (cell 3:1:44)\n",
    }.items():
        error = copy.run(code, store_history=False).error
        assert error is not None
        assert line in "\n".join(error.traceback)
        assert error == session.run(code, store_history=False).error


def test_names_that_had_to_stay_constants_are_remembered(
    context: LocalContext, restore: Restore
) -> None:
    context.run("const a = 1")
    context.run("let a = 2")
    copy = restore(context)
    error = copy.run("a = 3").error
    assert error is not None
    assert "constant for good: a." in error.traceback[-1]
    assert copy.run("let a = 4").error is None
    assert copy.value("a") == "4"


def test_a_timer_has_the_time_that_was_left(context: LocalContext) -> None:
    context.run("var fired = 0; setTimeout(() => fired++, 10_000); await null")
    context.run("await new Promise(r => setTimeout(r, 30))")
    before, start = context.context.wait_time(), time.monotonic()
    data = context.context.heaps.save()
    saved = time.monotonic()
    select.select([], [], [], 0.05)  # time passes, but not for what is saved
    copy = LocalContext(snapshot=data)
    restored = time.monotonic()
    after = copy.context.wait_time()
    since = time.monotonic() - restored
    copy.context.close()
    assert before is not None
    assert after is not None
    assert before <= 10 - 0.03
    assert before - (saved - start) - since - 0.05 <= after <= before


def test_timers_and_intervals_go_on(context: LocalContext, restore: Restore) -> None:
    context.run(
        "const log = []; setTimeout(() => log.push('b'), 20);"
        "setTimeout(() => log.push('a'), 10);"
        "const i = setInterval(() => { if (log.push('i') > 4) clearInterval(i) }, 12)"
    )
    copy = restore(context)
    copy.idle()
    assert copy.value("log.join('')").strip("'").replace("i", "") == "ab"
    assert copy.value("log.filter(x => x === 'i').length") in {"3", "2"}


def test_pending_awaits_go_on(context: LocalContext, restore: Restore) -> None:
    context.run(
        "var resume; const slept = [];"
        "const waiting = (async () => { const v = await new Promise(r => resume = r);"
        "  await new Promise(r => setTimeout(r, 5)); slept.push(v); return v + 1 })();"
        "async function* numbers() { yield 1;"
        "  yield await new Promise(r => resume2 = r); yield 3 };"
        "var resume2; const steps = numbers(); await steps.next();"
        "const second = steps.next(); await null"
    )
    copy = restore(context)
    assert copy.value("resume(41); await waiting") == "42"
    assert copy.value("slept") == "[ 41 ]"
    assert copy.value("resume2('two'); (await second).value") == "'two'"
    assert copy.value("(await steps.next()).value") == "3"


def test_the_clock_goes_on(context: LocalContext, restore: Restore) -> None:
    context.run("console.time('t'); const before = performance.now()")
    copy = restore(context)
    assert copy.value("performance.now() >= before") == "true"
    assert float(copy.value("performance.now() - before")) < 60_000
    assert "t: " in copy.run("console.timeEnd('t')").stdout


def test_output_of_the_past_belongs_to_nobody(
    context: LocalContext, restore: Restore
) -> None:
    """The executions of another process may have the numbers of this one's."""
    context.run("setTimeout(() => console.log('timer'), 1)")
    context.run("var go; new Promise(r => go = r).then(() => nope)")
    copy = restore(context)
    events: list[Event] = copy.idle()
    assert [(e.execution_id, e.text) for e in events if isinstance(e, Stream)] == [
        (0, "timer\n")
    ]
    outcome = copy.run("console.log('mine'); go()")
    assert outcome.stdout == "mine\n"
    streams = [e for e in outcome.events if isinstance(e, Stream)]
    assert [(e.execution_id, e.name) for e in streams] == [(1, "stdout"), (0, "stderr")]


def test_output_of_the_past_has_its_cause_where_ids_are_unique(
    context: LocalContext, restore: Restore
) -> None:
    context.context.settings = ContextSettings(ids_unique=True)
    large = 1 << 50  # no small integer of V8's
    for number, code in enumerate(
        (
            "var go; new Promise(r => go = r).then(() => nope)",
            "setTimeout(() => console.log('timer'), 20)",
        )
    ):
        context.context.begin(code, execution_id=large + number)
        context.wait(lambda: not context.context.busy)
    copy = restore(context)
    streams = [event for event in copy.idle() if isinstance(event, Stream)]
    assert [(one.execution_id, one.text) for one in streams] == [(large + 1, "timer\n")]
    outcome = copy.run("go()")
    streams = [event for event in outcome.events if isinstance(event, Stream)]
    assert [one.execution_id for one in streams] == [large]


def test_settings_are_those_of_the_new_context(
    context: LocalContext, restore: Restore
) -> None:
    context.run("let x = { a: 1 }")
    context.context.settings = ContextSettings(colors=True)
    assert "\x1b[33m1" in restore(context).run("console.log(x)").stdout


def test_it_is_fast_before_and_after(context: LocalContext, restore: Restore) -> None:
    context.run(
        "function fib(n) { return n < 2 ? n : fib(n - 1) + fib(n - 2) }; fib(25)"
    )
    copy = restore(context)
    for session in (context, copy):
        isolate = session.context.bridge.isolate
        assert isolate.library.use_optimizer(isolate.pointer)
        assert session.value("fib(20)") == "6765"


def test_random_numbers_are_each_copys_own(
    context: LocalContext, restore: Restore
) -> None:
    context.run("Math.random()")
    code = "[Math.random(), Math.random(), crypto.randomUUID()].join()"
    assert len({restore(context).value(code), restore(context).value(code)}) == 2


# -- files -------------------------------------------------------------------------


def test_a_file_is_written_and_tried(context: LocalContext) -> None:
    context.run("let kept = 41")
    file = os.memfd_create("heap")
    os.write(file, b"x" * (1 << 20))  # is replaced whole
    context.context.heaps.write(file)
    copy = LocalContext(snapshot=Snapshot.from_file(file))
    os.close(file)
    assert copy.value("kept + 1") == "42"
    copy.context.close()


def test_the_same_heap_has_one_key(context: LocalContext) -> None:
    heap = context.context.heaps.save()
    assert Snapshot.from_bytes(heap.to_bytes()).key == heap.key
    assert len(heap.key) == 64


_GO_ON: Final = """
import pathlib, sys
from isokernel.context import Context
from isokernel.context.events import Stream
from isokernel.settings import ContextSettings
from isokernel.v8.snapshot import Snapshot

def show(event):
    if isinstance(event, Stream):
        print(event.text, end="")

heap = Snapshot.from_bytes(pathlib.Path(sys.argv[1]).read_bytes())
Context(ContextSettings(), show, snapshot=heap).begin(sys.argv[2], execution_id=1)
"""


def test_texts_of_the_runtime_stay_outside(
    context: LocalContext, tmp_path: Path
) -> None:
    """Its functions are compiled as well where nobody has run it before."""
    context.run("const { table } = console; console.table([]); console.log({ a: 1 })")
    heap = context.context.heaps.save()
    held = [name for name in heap.references if isinstance(name, str)]
    modules = [name.removeprefix(scripts.PREFIX) for name in held]
    assert {"main", "table", "vendor/inspect"} <= set(modules)
    assert any(not scripts.source(name).isascii() for name in modules)
    for name in modules:
        begin = scripts.source(name)[:80]
        assert begin.encode() not in bytes(heap.blob), name
        assert begin.encode("utf-16-le") not in bytes(heap.blob), name
    (tmp_path / "heap").write_bytes(heap.to_bytes())
    code = "table([{ a: [1] }]); console.log(new Map([[{ b: 2 }, new Set('é…')]]))"
    command = [sys.executable, "-c", _GO_ON, str(tmp_path / "heap"), code]
    shown = subprocess.run(command, check=True, capture_output=True, text=True)
    assert shown.stdout == context.run(code).stdout


def test_texts_that_there_are_not_are_refused(context: LocalContext) -> None:
    heap = context.context.heaps.save()
    for name in ("isokernel:nothing", "main", "../main", ""):
        more = heap._replace(references=(*heap.references, name))
        with pytest.raises(SnapshotFormatError, match="a text that isn't there"):
            LocalContext(snapshot=more)


def test_what_is_damaged_is_not_read(context: LocalContext) -> None:
    data = bytearray(context.context.heaps.save().to_bytes())
    data[-1000] ^= 1
    with pytest.raises(SnapshotFormatError, match="damaged"):
        Snapshot.from_bytes(bytes(data))


def test_one_step_has_a_bound(context: LocalContext) -> None:
    context.run(
        "Error.prepareStackTrace = () => { for (;;); }; let held = new Error('x')"
    )
    file = os.memfd_create("heap")
    # What searches for the reason has a child of its own, and is killed, too.
    with (
        orphans_reaped(),
        pytest.raises(SnapshotFailedError, match=r"took longer than 0\.2 s"),
    ):
        context.context.heaps.write(file, seconds=0.2)
    os.close(file)
    assert context.value("typeof held") == "'object'"


# -- the worker --------------------------------------------------------------------


def test_a_checkpoint_goes_on_in_another_process(spawn: Spawn) -> None:
    client = spawn()
    client.run("class A { #p = 1; get() { return this.#p++ } }; const a = new A()")
    client.run("a.get(); function fail() { nope }")
    client.run("setTimeout(() => console.log('fired', a.get()), 200)")
    data, outcome = client.checkpoint()
    heap = Snapshot.from_bytes(data)
    assert outcome.pop("seconds") > 0
    assert outcome == {"status": "ok", "size": len(data), "digest": heap.key}
    copy = spawn(data)
    frame = copy.wait(lambda frame: frame.type == "stream")
    assert (frame.content["text"], frame.parent) == ("fired 2\n", 0)
    [error] = [f.content for f in copy.run("fail()") if f.type == "error"]
    assert "at fail (cell 2:1:28)" in "\n".join(error["traceback"])
    assert copy.run("a.get()")[-2].content["execution_count"] == 5
    assert client.run("a.get()")[-2].content["execution_count"] == 4


def test_a_heap_of_another_runtime_is_not_run(context: LocalContext) -> None:
    heap = context.context.heaps.save()
    assert heap.scripts == scripts.identity()
    with pytest.raises(SnapshotEngineError, match=f"runtime other.*{heap.scripts}"):
        LocalContext(snapshot=heap._replace(scripts="other"))
    LocalContext(snapshot=heap).context.close()


def test_it_comes_in_order_and_the_context_goes_on(spawn: Spawn) -> None:
    client = spawn()
    client.run("let n = 0")
    client.execute("await new Promise(r => setTimeout(r, 20)); n = 1")
    with client.saving() as saving:
        last = client.execute("n = 2")
        client.finish(last)
        assert client.reply(saving.number)["status"] == "ok"
        replies = [f.parent for f in client.frames if f.type.endswith("_reply")]
        assert replies.index(saving.number) == len(replies) - 1
        assert saving.outcome()
        copy = spawn(saving.heap())
    assert copy.value("n") == "1"


def test_the_process_that_saved_is_gone(spawn: Spawn) -> None:
    client = spawn()
    with client.saving() as saving:
        saves = psutil.Process(client.reply(saving.number)["pid"])
        assert saves.ppid() == client.pid
        assert saving.outcome()
    # Nobody waits for it, and no zombie is left: wait would see one for ever.
    saves.wait(DEADLINE)
    assert psutil.Process(client.pid).children() == []
    assert client.value("1") == "1"


def test_what_is_forked_for_a_checkpoint_ends_with_it(spawn: Spawn) -> None:
    """Whose deadline has passed is killed, and so is what would go on for ever."""
    client = spawn()
    client.run(
        "Error.prepareStackTrace = () => { for (;;); }; let held = new Error('x')"
    )
    with client.saving() as saving:
        saves = psutil.Process(client.reply(saving.number)["pid"])
        busy = wait_for(lambda: [c for c in saves.children() if _ran(c) > 0.2])
        saves.kill()
        busy[0].wait(DEADLINE)
        assert not saving.outcome()
    assert client.value("typeof held") == "'object'"


def _ran(process: psutil.Process) -> float:
    """Seconds that a process has computed, if it hasn't ended."""
    with contextlib.suppress(psutil.NoSuchProcess):
        times = process.cpu_times()
        return float(times.user + times.system)
    return 0.0


def test_a_heap_outlives_its_context(fork_server: ForkServer, spawn: Spawn) -> None:
    """The copy holds on to none of the context's sockets."""
    client = spawn()
    client.run(
        "let held = 'x'.repeat(100); const big = new Array(3e5).fill().map(() => ({}))"
    )
    with client.saving() as saving:
        client.reply(saving.number)
        client.close()
        assert await_exit(fork_server, client.pid).status == 0
        assert saving.outcome()
        copy = spawn(saving.heap())
    assert copy.value("held.length + big.length") == "300100"


def test_timers_of_a_restored_context_are_the_new_ones_to_cancel(spawn: Spawn) -> None:
    client = spawn()
    client.run("setInterval(() => {}, 5); let n = 0")
    data, _ = client.checkpoint()
    copy = spawn(data)
    copy.run("setInterval(() => { n++ }, 5)")
    assert int(copy.value("await new Promise(r => setTimeout(r, 40)); n")) > 0


def test_a_request_without_descriptors_is_refused(spawn: Spawn) -> None:
    client = spawn()
    number = client.send("checkpoint_request")
    assert client.reply(number)["status"] == "error"
    assert client.value("1") == "1"


@pytest.mark.parametrize(
    ("code", "kind", "path", "holder"),
    [
        (
            "const o = { f: new Intl.Segmenter().segment('a') }",
            "Intl.Segments",
            "o.f",
            None,
        ),
        (
            "globalThis.t = new WebAssembly.Tag({ parameters: ['i32'] }); 0",
            "WebAssembly.Tag",
            "globalThis.t",
            None,
        ),
        (
            "var f = (() => { const s = new Intl.Segmenter().segment('a');"
            " return () => s })()",
            "Intl.Segments",
            "s",
            "a function",
        ),
    ],
)
def test_what_cannot_be_saved_is_told(
    spawn: Spawn, code: str, kind: str, path: str, holder: str | None
) -> None:
    client = spawn()
    client.run(f"{code}; let kept = 1")
    _, outcome = client.checkpoint()
    assert outcome.pop("reason")
    found = {"kind": kind, "path": path, "holder": holder}
    assert outcome == {"status": "error", **found}
    assert client.value("kept") == "1"


def test_a_last_checkpoint_is_saved_without_a_copy(spawn: Spawn) -> None:
    """The context waits, is told of all failures, and would even go on."""
    client = spawn()
    client.run("let n = 1; const unread = [new Error('x')]")
    data, outcome = client.checkpoint(last=True)
    assert outcome["status"] == "ok"
    wait_for(lambda: not psutil.Process(client.pid).children())
    assert spawn(data).value("n + unread.length") == "2"
    client.run("n = 2; let o = { f: new Intl.Segmenter().segment('a') }")
    _, outcome = client.checkpoint(last=True)
    assert (outcome["status"], outcome["path"]) == ("error", "o.f")
    client.run("o = null")
    data, _ = client.checkpoint()
    assert spawn(data).value("n") == "2"


def test_who_writes_a_last_checkpoint_ends_with_the_context(
    fork_server: ForkServer, spawn: Spawn
) -> None:
    """It holds on to none of the context's sockets."""
    client = spawn()
    client.run(
        "Error.prepareStackTrace = () => { for (;;); }; let held = new Error('x')"
    )
    with client.saving(last=True) as saving:
        context = psutil.Process(client.pid)
        busy = wait_for(lambda: [c for c in context.children() if _ran(c) > 0.2])
        client.close()
        assert await_exit(fork_server, client.pid).status == 0
        busy[0].wait(DEADLINE)
        assert not saving.outcome()


def test_shared_memory_and_errors_go_on_confined(spawn: Spawn) -> None:
    client = spawn()
    client.run("const s = new Int32Array(new SharedArrayBuffer(64)); s[3] = 7")
    client.run("const errors = [new Error('unread')]; const o = {}; 0")
    client.run(
        "Error.captureStackTrace(o); const gone = new FinalizationRegistry(x => x)"
    )
    client.run("gone.register({}, 1)")
    data, outcome = client.checkpoint()
    assert outcome["status"] == "ok", outcome
    copy = spawn(data)
    assert copy.value("[Atomics.add(s, 3, 1), s[3], s.buffer.byteLength]") == (
        "[ 7, 8, 64 ]"
    )
    assert copy.value("[errors[0].stack, o.stack].every(t => /cell/.test(t))") == "true"


def test_a_restored_context_is_saved_again(spawn: Spawn) -> None:
    client = spawn()
    client.run("let n = 0")
    for _ in range(3):
        client.run("n += 1")
        data, outcome = client.checkpoint()
        assert outcome["status"] == "ok"
        client.close()
        client = spawn(data)
    assert client.value("n") == "3"
    assert texts(client.run("console.log(In[1])")) == "let n = 0\n"


# -- the first save and those after it ----------------------------------------------


class Counted(Children):
    """Processes of a save, counted."""

    count = 0

    def fork(self, work: Callable[[], None]) -> Child:
        """Fork one."""
        self.count += 1
        return super().fork(work)


@pytest.mark.parametrize(
    ("code", "processes"),
    [
        ("let n = 0", 1),
        ("const path = await import('node:path'); Jupyter.document.body.id = 'x'", 1),
        ("const german = new Intl.NumberFormat('de')", 1),
        (
            "const { exports } = new WebAssembly.Instance(new WebAssembly.Module("
            "Uint8Array.of(0, 97, 115, 109, 1, 0, 0, 0)))",
            1,
        ),
        # Only when a heap is tried it is seen that stacks were never read: each time.
        ("const errors = [1, 2, 3].map((n) => new Error(n))", 2),
    ],
    ids=["blank", "modules and libraries", "Intl", "WebAssembly", "errors"],
)
def test_a_first_save_does_what_a_second_one_does(
    context: LocalContext, code: str, processes: int
) -> None:
    """Nothing is prepared by the first: as many processes, and equal heaps."""
    assert context.run(code).error is None
    saves = []
    for _ in range(3):
        isolate = context.context.bridge.isolate
        file = os.memfd_create("heap")
        with Counted(isolate) as children, os.fdopen(file, "rb"):
            before = set(isolate.features)
            context.context.heaps.write(file, children=children)
            changed = set(isolate.features) != before
            saves.append((children.count, os.fstat(file).st_size, changed))
    assert saves == [(processes, saves[0][1], False)] * 3
