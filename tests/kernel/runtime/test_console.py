"""The console: what each method prints, where, in which order, and how much of it."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from isokernel.context.events import ClearOutput, DisplayData, Stream
from isokernel.runtime import scripts
from isokernel.v8.isolate import Isolate

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.local_contexts import LocalContext


@pytest.mark.parametrize(
    ("code", "stream", "text"),
    [
        ("console.log('a', 1, {b: [2]})", "stdout", "a 1 { b: [ 2 ] }\n"),
        ("console.log()", "stdout", "\n"),
        ("console.info('%s is %d', 'x', 4)", "stdout", "x is 4\n"),
        ("console.debug([1n, null])", "stdout", "[ 1n, null ]\n"),
        ("console.warn('w')", "stderr", "w\n"),
        ("console.error('e', 2)", "stderr", "e 2\n"),
        ("console.trace('t %s', 'x')", "stderr", "Trace: t x\n    at cell 1:1:9\n"),
        ("console.dir({a: {b: {}}}, {depth: 0})", "stdout", "{ a: [Object] }\n"),
        ("console.dirxml({a: 1}, 'x')", "stdout", "{ a: 1 } x\n"),
        ("console.assert(true, 'no')", "stderr", ""),
        ("console.assert(false)", "stderr", "Assertion failed\n"),
        ("console.assert(0, 'a %s', 'b')", "stderr", "Assertion failed: a b\n"),
        ("console.assert(0, {a: 1}, 2)", "stderr", "Assertion failed: { a: 1 } 2\n"),
        ("console.count(); console.count()", "stdout", "default: 1\ndefault: 2\n"),
        (
            "console.count('x'); console.countReset('x'); console.count('x')",
            "stdout",
            "x: 1\nx: 1\n",
        ),
        (
            "console.countReset('q')",
            "stderr",
            "Warning: Count for 'q' does not exist\n",
        ),
        (
            "console.timeEnd('q')",
            "stderr",
            "Warning: No such label 'q' for console.timeEnd()\n",
        ),
        (
            "console.time('q'); console.time('q')",
            "stderr",
            "Warning: Label 'q' already exists for console.time()\n",
        ),
    ],
)
def test_methods(context: LocalContext, code: str, stream: str, text: str) -> None:
    """Every method prints what Node.js prints, on its stream and on no other."""
    outcome = context.run(code)
    other = {"stdout": outcome.stderr, "stderr": outcome.stdout}[stream]
    assert (getattr(outcome, stream), other) == (text, "")


def test_times(context: LocalContext) -> None:
    """TimeLog and timeEnd print the time since time, with what timeLog is given."""
    outcome = context.run(
        "console.time(); console.timeLog('default', {a: 1}); console.timeEnd()"
    )
    assert re.fullmatch(
        r"default: [\d.]+ms \{ a: 1 \}\ndefault: [\d.]+ms\n", outcome.stdout
    )


def test_groups(context: LocalContext) -> None:
    """Groups indent every line of both streams, tables too."""
    outcome = context.run(
        "console.group('G'); console.log('a\\nb'); console.groupCollapsed();"
        "console.error('deep'); console.groupEnd(); console.table([1]);"
        "console.groupEnd(); console.groupEnd(); console.log('out')"
    )
    assert outcome.stdout.startswith("G\n  a\n  b\n  ┌─")
    assert outcome.stdout.endswith("\n  └─────────┴────────┘\nout\n")
    assert outcome.stderr == "    deep\n"


def test_open_group_ends_with_its_cell(context: LocalContext) -> None:
    """A group that a cell left open doesn't indent the next cell's output."""
    context.run("console.group('open')")
    assert context.run("console.log('flat')").stdout == "flat\n"


TABLES = {
    "console.table([{a: 1, b: 'x'}, {a: 2, c: 3}])": """\
┌─────────┬───┬─────┬───┐
│ (index) │ a │ b   │ c │
├─────────┼───┼─────┼───┤
│ 0       │ 1 │ 'x' │   │
│ 1       │ 2 │     │ 3 │
└─────────┴───┴─────┴───┘
""",
    "console.table([1, 'two', {x: 1}])": """\
┌─────────┬───┬────────┐
│ (index) │ x │ Values │
├─────────┼───┼────────┤
│ 0       │   │ 1      │
│ 1       │   │ 'two'  │
│ 2       │ 1 │        │
└─────────┴───┴────────┘
""",
    "console.table(new Map([['k', {a: 1}], ['j', 2]]))": """\
┌───────────────────┬─────┬──────────┐
│ (iteration index) │ Key │ Values   │
├───────────────────┼─────┼──────────┤
│ 0                 │ 'k' │ { a: 1 } │
│ 1                 │ 'j' │ 2        │
└───────────────────┴─────┴──────────┘
""",
    "console.table(new Set([1, {a: {b: 1, c: 2, d: 3}}]))": """\
┌───────────────────┬─────────────────┐
│ (iteration index) │ Values          │
├───────────────────┼─────────────────┤
│ 0                 │ 1               │
│ 1                 │ { a: [Object] } │
└───────────────────┴─────────────────┘
""",
    "console.table([[1, 2], [3, 4]])": """\
┌─────────┬───┬───┐
│ (index) │ 0 │ 1 │
├─────────┼───┼───┤
│ 0       │ 1 │ 2 │
│ 1       │ 3 │ 4 │
└─────────┴───┴───┘
""",
    "console.table({r1: {a: 1}, r2: {a: [1, 2, 3, 4, 5]}})": """\
┌─────────┬───────────────────────────────┐
│ (index) │ a                             │
├─────────┼───────────────────────────────┤
│ r1      │ 1                             │
│ r2      │ [ 1, 2, 3, ... 2 more items ] │
└─────────┴───────────────────────────────┘
""",
    "console.table([{a: 1, b: 2}], ['b', 'z'])": """\
┌─────────┬───┬───┐
│ (index) │ b │ z │
├─────────┼───┼───┤
│ 0       │ 2 │   │
└─────────┴───┴───┘
""",
    "console.table([1, 2], ['b'])": """\
┌─────────┬───┐
│ (index) │ b │
├─────────┼───┤
│ 0       │   │
│ 1       │   │
└─────────┴───┘
""",
    "console.table([])": """\
┌─────────┐
│ (index) │
├─────────┤
└─────────┘
""",
    "console.table([{a: {b: 1}}, {a: {b: 1, c: 2, d: 3}}])": """\
┌─────────┬──────────┐
│ (index) │ a        │
├─────────┼──────────┤
│ 0       │ { b: 1 } │
│ 1       │ [Object] │
└─────────┴──────────┘
""",
    "console.table(['日本', {日: 1}])": """\
┌─────────┬────┬────────┐
│ (index) │ 日 │ Values │
├─────────┼────┼────────┤
│ 0       │    │ '日本' │
│ 1       │ 1  │        │
└─────────┴────┴────────┘
""",
    "console.table(5)": "5\n",
}


@pytest.mark.parametrize("code", TABLES)
def test_table(context: LocalContext, code: str) -> None:
    """Tables are drawn as Node.js draws them."""
    assert context.run(code).stdout == TABLES[code]


def test_clear(context: LocalContext) -> None:
    """console.clear removes the cell's output, after what was printed before."""
    events = context.run("console.log('a'); console.clear(); console.log('b')").events
    assert [type(e) for e in events[:3]] == [Stream, ClearOutput, Stream]


def test_order(context: LocalContext) -> None:
    """Streams and displays come in the order in which they were made."""
    outcome = context.run(
        "console.log(1); console.error(2); console.log(3); display(4); console.log(5)"
    )
    kept = [
        (e.name, e.text) if isinstance(e, Stream) else "display"
        for e in outcome.events
        if isinstance(e, Stream | DisplayData)
    ]
    assert kept == [
        ("stdout", "1\n"),
        ("stderr", "2\n"),
        ("stdout", "3\n"),
        "display",
        ("stdout", "5\n"),
    ]


def test_many_lines(context: LocalContext) -> None:
    """100,000 lines arrive complete and in order, in few events."""
    outcome = context.run("for (let i = 0; i < 100000; i++) console.log('line', i)")
    assert outcome.stdout == "".join(f"line {i}\n" for i in range(100_000))
    assert len(outcome.events) < 500


def test_bound(sessions: Callable[..., LocalContext]) -> None:
    """Beyond the bound an execution's text is dropped, and one line says so."""
    context = sessions(output_bytes_max=100)
    outcome = context.run("for (let i = 0; i < 1000; i++) console.log('0123456789')")
    assert outcome.stdout == "0123456789\n" * 9 + "0"
    assert outcome.stderr == (
        "\n[output cut after 100 bytes; raise ISOKERNEL_OUTPUT_BYTES_MAX to see more]\n"
    )
    assert context.run("console.log('next')").stdout == "next\n"


@pytest.mark.parametrize("letter", ["é", "€", "\U0001f600"])
def test_the_bound_is_in_bytes(
    sessions: Callable[..., LocalContext], letter: str
) -> None:
    """No character is cut in two, neither before the gap nor after it."""
    size = len(letter.encode())
    short = sessions(output_bytes_max=101)
    assert short.run(f"console.log('{letter}'.repeat(99))").stdout == letter * (
        101 // size
    )
    long = sessions(output_bytes_max=20_001)
    code = f"for (let i = 0; i < 10000; i++) process.stdout.write('{letter}')"
    for each in (code, f"process.stdout.write('{letter}'.repeat(10000))"):
        outcome = long.run(each)
        assert set(outcome.stdout) == {letter}
        kept = len(outcome.stdout.encode())
        assert 20_001 - 2 * size < kept <= 20_001
        left_out = size * 10_000 - kept
        assert f"[{left_out} bytes left out]" in outcome.stderr or not left_out


def test_process_streams(context: LocalContext) -> None:
    """process.stdout.write and process.stderr.write print without a newline."""
    outcome = context.run(
        "process.stdout.write('a'); process.stdout.write(new Uint8Array([98]));"
        "process.stderr.write('e')"
    )
    assert (outcome.stdout, outcome.stderr) == ("ab", "e")


def test_process_is_empty(context: LocalContext) -> None:
    """There is no environment, there are no arguments, and no way out."""
    assert context.value("[process.env, process.argv, process.stdout.isTTY]") == (
        "[ {}, [], false ]"
    )
    error = context.run("process.exit(1)").error
    assert error
    assert "can't end the kernel" in error.evalue


def test_there_is_one_folder(context: LocalContext) -> None:
    """Its names are `/` and the one that other languages have for it."""
    assert context.value("process.chdir('/home/user'); process.chdir('/')") is None
    assert context.value("process.cwd()") == "'/'"
    for code in ("process.chdir('/tmp')", "process.chdir()", "process.chdir({})"):
        error = context.run(code).error
        assert error, code
        assert "one folder" in error.evalue


def test_colours(sessions: Callable[..., LocalContext]) -> None:
    """Colours come only where they are asked for, and never into results."""
    context = sessions(colors=True)
    assert context.run("console.log({a: 1})").stdout == "{ a: \x1b[33m1\x1b[39m }\n"
    assert context.run("console.dir([1])").stdout == "[ \x1b[33m1\x1b[39m ]\n"
    assert context.value("({a: 1})") == "{ a: 1 }"


def test_methods_work_alone(context: LocalContext) -> None:
    """Console methods need no receiver and have their names."""
    assert context.value("const { log } = console; log('x'); log.name") == "'log'"
    assert context.value("Object.keys(globalThis).includes('console')") == "false"


HOSTILE = [
    "Array.prototype.push = Array.prototype.map = null",
    "Array.prototype[Symbol.iterator] = () => { throw 1 }",
    "Map.prototype.get = Map.prototype.set = Map.prototype.has = null",
    "String.prototype.includes = String.prototype.split = null",
    "JSON.stringify = JSON.parse = null",
    "Object.defineProperty = Object.keys = Reflect.apply = null",
    "Promise.prototype.then = null",
    "Date.now = () => NaN",
    "Object.prototype.get = () => 1; Object.prototype.value = 1",
    "Error.prototype.toString = null",
    "delete console.log; console.log = console.info",
]


@pytest.mark.parametrize("code", HOSTILE)
def test_tampering(context: LocalContext, code: str) -> None:
    """The runtime goes on when the built-ins that it uses are replaced."""
    context.run(code + "; 0")
    outcome = context.run("console.log('still', 1); console.log('here'); 5")
    assert (outcome.stdout, outcome.text) == ("still 1\nhere\n", "5")
    assert context.run("throw new Error('e')").error is not None


# The inspection library itself calls push, pop and includes on its own lists.
@pytest.mark.parametrize("code", HOSTILE[1:])
def test_tampering_with_objects(context: LocalContext, code: str) -> None:
    """Objects are shown, too, once the inspection library is loaded."""
    context.context.bridge.call("preload")
    context.run(code + "; 0")
    outcome = context.run("console.log([1], {a: {c: /r/}}); ({b: 1})")
    assert (outcome.stdout, outcome.text) == (
        "[ 1 ] { a: { c: /r/ } }\n",
        "{ b: 1 }",
    )


OURS = {
    "Jupyter",
    "In",
    "Out",
    "_",
    "__",
    "___",
    "alert",
    "clearImmediate",
    "clearInterval",
    "clearOutput",
    "clearTimeout",
    "confirm",
    "display",
    "html",
    "md",
    "process",
    "prompt",
    "setImmediate",
    "setInterval",
    "setTimeout",
    "svg",
    "updateDisplay",
}
"""Beside the web platform's, and console, which a plain V8 has a mute one of."""


def test_globals(context: LocalContext) -> None:
    """Only the documented names are defined, all of them changeable and hidden."""
    names = json.loads(
        context.run(
            "console.log(JSON.stringify(Object.getOwnPropertyNames(globalThis)))"
        ).stdout
    )
    web = {*re.findall(r'"(\w+)"', scripts.source("web/index"))}
    web |= {"queueMicrotask", "reportError"}
    isolate = Isolate()
    plain = isolate.run_script("Object.getOwnPropertyNames(globalThis).join()", "x")
    isolate.close()
    assert set(names) - set(plain.split(",")) - web == OURS
    assert context.value("Object.keys(globalThis)") == "[]"
    flags = "Object.getOwnPropertyDescriptor(globalThis, name)"
    assert (
        context.value(
            f"{json.dumps(sorted(OURS))}.every((name) => "
            f"{flags}.writable && {flags}.configurable)"
        )
        == "true"
    )


def test_much_output_keeps_its_head_and_tail(
    sessions: Callable[..., LocalContext],
) -> None:
    """What lies between is counted; the end comes when the cell ends."""
    context = sessions(output_bytes_max=20_000)
    outcome = context.run("for (let i = 0; i < 100_000; i++) console.log(i); 'value'")
    lines = outcome.stdout.splitlines()
    assert lines[:3] == ["0", "1", "2"]
    assert lines[-2:] == ["99998", "99999"]
    assert len(outcome.stdout) <= 20_000
    assert outcome.text == "'value'"
    assert re.search(r"^\[\d{6} bytes left out\]$", outcome.stderr, re.MULTILINE)
    failed = context.run("for (let i = 0; i < 9e4; i++) console.log(i); nope")
    assert failed.stdout.endswith("89999\n")
    assert "left out" not in context.run("console.log(1)").stderr
