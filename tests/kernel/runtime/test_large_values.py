"""What showing a value costs follows what is shown, not how large the value is.

Each value is shown in a context whose heap has room for it and little more: listing its
indices (3 million strings take about 100 MB) would fill the heap.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from isokernel.context.cell_run import ExecutionOptions
from isokernel.context.events import DisplayData, ResultJson

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.local_contexts import LocalContext

_HEAP_BYTES = 64 << 20


@pytest.fixture
def small(sessions: Callable[..., LocalContext]) -> LocalContext:
    return sessions(v8_heap_bytes_max=_HEAP_BYTES, cell_timeout_seconds=20)


@pytest.mark.parametrize(
    ("code", "start", "end"),
    [
        ("new Array(3e6).fill('x')", "[\n  'x', 'x',", "2999900 more items\n]"),
        ("new Array(3e6)", "[ <3000000 empty items> ]", ""),
        ("new Uint8Array(3e6)", "Uint8Array(3000000) [\n  0,", "2999900 more items\n]"),
        ("new Float64Array(3e6)", "Float64Array(3000000) [\n", "more items\n]"),
        (
            "Object.assign(new Uint8Array(3e6), { name: 'n' })",
            "Uint8Array(3000000) [\n",
            "more items,\n  name: 'n'\n]",
        ),
        (
            "Object.assign(new Array(3e6).fill(0), { name: 1, [Symbol('s')]: 2 })",
            "[\n",
            "more items, name: 1,\n  Symbol(s): 2\n]",
        ),
        (
            "({ deep: [new Uint8Array(3e6)] })",
            "{\n  deep: [",
            "more items\n    ]\n  ]\n}",
        ),
        ("const sparse = []; sparse[4e9] = 1; sparse", "[ <4000000000 empty", ", 1 ]"),
    ],
)
def test_shown(small: LocalContext, code: str, start: str, end: str) -> None:
    shown = small.value(code)
    assert shown.startswith(start)
    assert shown.endswith(end)


_PROPERTIES = "Object.fromEntries(Array.from({ length: 5e4 }, (_, i) => ['k' + i, i]))"
_WIDE = "Object.fromEntries(Array.from({ length: 3e4 }, (_, i) => ['k' + i, i]))"


@pytest.mark.parametrize(
    ("code", "start", "end"),
    [
        ("new String('x'.repeat(1e7))", "[String: 'xxx", "9990000 more characters]"),
        (
            "Object.assign(new String('x'.repeat(1e7)), { a: 1 })",
            "[String: 'xxx",
            "more characters] {\n  a: 1\n}",
        ),
        ("'x'.repeat(1e7)", "'xxx", "... 9990000 more characters"),
        ("Symbol('x'.repeat(1e7))", "Symbol(xxx", "... 7902856 more characters"),
        (_PROPERTIES, "{\n  k0: 0,", "  k999: 999,\n  ... 49000 more properties\n}"),
        (
            f"Object.assign(() => 1, {_PROPERTIES})",
            "[Function (anonymous)] {\n  k0: 0,",
            "... 49000 more properties\n}",
        ),
        (
            "const o = {}; for (let i = 0; i < 5e4; i++) o[Symbol(i)] = i; o",
            "{\n  Symbol(0): 0,",
            "... 49000 more properties\n}",
        ),
        (
            "const a = []; for (let i = 0; i < 1e6; i += 2) a[i] = i; a",
            "[\n  0,",
            "... 999899 more items\n]",
        ),
        (
            "const deep = (n) => n ? Array.from({ length: 30 }, () => deep(n - 1))"
            " : 'y'.repeat(100); deep(3)",
            "[\n  [\n    [",
            "  [Array],\n  [Array]\n]",
        ),
        (
            f"const wide = (n) => n ? Object.assign({_WIDE},"
            " { in: wide(n - 1) }) : 1; ({ a: wide(1), b: wide(1) })",
            "{\n  a: {\n    k0: 0,",
            "more properties\n  }\n}",
        ),
        ("new Map([[1, 'x'.repeat(1e7)]])", "Map(1) {\n  1 => 'xxx", "characters\n}"),
    ],
)
def test_shown_cut(small: LocalContext, code: str, start: str, end: str) -> None:
    """What has no bound in Node.js has one here: properties, and the whole text."""
    shown = small.value(code)
    assert shown.startswith(start)
    assert shown.endswith(end)
    assert len(shown) < 2_200_000


def test_more_properties_for_who_asks(small: LocalContext) -> None:
    code = f"console.dir({_PROPERTIES}, {{ maxArrayLength: 3000 }})"
    assert small.run(code).stdout.endswith("... 47000 more properties\n}\n")


@pytest.mark.parametrize(
    ("code", "gone"),
    [
        ("new Array(3e6).fill(0)", "more items"),
        ("new Float64Array(3e6)", "more properties"),
        ("new String('x'.repeat(1e7))", "characters"),
        ("'x'.repeat(1e7)", "characters"),
        ("({ a: ['x'.repeat(1e7)], b: 1 })", "characters"),
        (_PROPERTIES, "more properties"),
        ("Array.from({ length: 1e5 }, (_, i) => ({ i, s: 'y' }))", "more items"),
        ("({ toJSON() { return new Array(1e6).fill(1) } })", "more items"),
        ("({ ['k'.repeat(1e7)]: 1 })", "characters"),
    ],
)
def test_results(small: LocalContext, code: str, gone: str) -> None:
    """As JSON: head and tail, within the bound."""
    options = ExecutionOptions(result_json=True, result_max=1000)
    (result,) = [
        event
        for event in small.run(code, options=options).events
        if isinstance(event, ResultJson)
    ]
    assert result.text is not None
    assert 400 < len(result.text) <= 1000
    assert gone in result.text
    assert json.loads(result.text)
    assert "cut to at most 1000 characters" in (result.note or "")


def test_a_long_result_is_built_within_the_heap(small: LocalContext) -> None:
    """Cut to the usual limit of 8 Mi characters: nothing else is made for each item."""
    options = ExecutionOptions(result_json=True)
    events = small.run("new Array(2 ** 32 - 1)", options=options).events
    (result,) = (event for event in events if isinstance(event, ResultJson))
    assert result.cut
    items = json.loads(result.text or "")
    assert any("more items" in str(item) for item in items)


def test_a_result_is_cut_where_it_is_large(small: LocalContext) -> None:
    """Not the properties beside it."""
    options = ExecutionOptions(result_json=True, result_max=200)
    code = "({ a: 1, data: new Array(1e6).fill(7), b: 2 })"
    texts = [
        json.loads(event.text or "")
        for event in small.run(code, options=options).events
        if isinstance(event, ResultJson)
    ]
    assert texts[0].keys() == {"a", "data", "b"}
    assert texts[0]["data"][0] == texts[0]["data"][-1] == 7


@pytest.mark.parametrize(
    ("code", "size"),
    [
        ("new Array(3e6).fill(0)", "3000000 rows X 1 columns"),
        ("new Float64Array(3e6)", "3000000 rows X 1 columns"),
        ("new String('x'.repeat(3e6))", "3000000 rows X 1 columns"),
        (_PROPERTIES, "50000 rows X 1 columns"),
        (f"[{_PROPERTIES}]", "1 rows X over 10000 columns"),
        ("new Set(Array(1e5).keys())", "100000 rows"),
        ("Array.from({ length: 1e5 }, (_, i) => [i])", "100000 rows X 1 columns"),
    ],
)
def test_tables(small: LocalContext, code: str, size: str) -> None:
    """Of many rows and columns the edges are drawn; the size is told."""
    lines = small.run(f"console.table({code})").stdout.splitlines()
    assert lines[-1] == size.replace("X", "\N{MULTIPLICATION SIGN}")
    assert "… " in "".join(lines)
    assert len(lines) <= 206
    displayed = small.run(f"display.table({code}); 0").events[0]
    assert isinstance(displayed, DisplayData)
    assert f"<p>{size.partition(' ')[0]} rows" in displayed.data["text/html"]
    assert len(displayed.data["text/html"]) < 5000


def test_cells_are_cut(small: LocalContext) -> None:
    drawn = small.run("console.table([{ a: 'x'.repeat(1e7) }])").stdout
    assert len(drawn) < 6000
    shown = small.run("display.table([{ a: 'x'.repeat(1e7) }])").events[0]
    assert isinstance(shown, DisplayData)
    assert len(shown.data["text/html"]) < 11_000


def test_displays_as_json(sessions: Callable[..., LocalContext]) -> None:
    """More than a cell may print is left out, and told."""
    context = sessions(output_bytes_max=100_000)
    bundle = "{ 'application/json': new Float64Array(1e6) }"
    for code in (
        "display.json(new Float64Array(1e6))",
        f"display({bundle}, {{ raw: true }})",
    ):
        failure = context.run(code).failure
        assert failure.ename == "RangeError"
        assert "takes more than 100000 bytes; raise " in failure.evalue
    code = "display({ $schema: 'https://vega.github.io/schema/vega-lite/v5.json',"
    outcome = context.run(f"{code} data: {{ values: new Array(1e6).fill(1) }} }}); 0")
    assert "takes more than 100000 bytes" in outcome.stderr
    (shown,) = [e for e in outcome.events if isinstance(e, DisplayData)]
    assert list(shown.data) == ["text/plain"]


def test_errors(small: LocalContext) -> None:
    """A message and a stack are cut, and so is the text of what is thrown."""
    error = small.run("throw new Error('x'.repeat(1e7))").failure
    assert len(error.evalue) < 20_100
    assert len("\n".join(error.traceback)) < 100_000
    thrown = small.run(f"throw {_PROPERTIES}").failure
    assert len(thrown.evalue) < 20_100
    code = "Object.assign(new Error('e'), { stack: 'x\\n    at y'.repeat(1e5) })"
    assert len(small.value(code)) < 21_000
    many = small.run(f"throw Object.assign(new Error('e'), {_PROPERTIES})").failure
    assert len("\n".join(many.traceback)) < 3000


@pytest.mark.parametrize("code", ["new String('x'.repeat(1e7))", _PROPERTIES])
def test_queries(small: LocalContext, code: str) -> None:
    """Completion and inspection."""
    small.run(f"var big = {code}")
    queries = small.context.queries
    answer = queries.complete("big.", 4)
    assert len(answer.matches) <= 1000
    assert len(str(queries.inspect("big", 2, 1))) < 25_000


def test_error_details(small: LocalContext) -> None:
    error = small.run(
        "throw Object.assign(new Error('e'), { data: new Uint8Array(3e6) })"
    ).failure
    assert (error.ename, error.evalue) == ("Error", "e")


def test_names_are_asked_of_the_engine(context: LocalContext) -> None:
    """What user code changes has no say, and no getter runs."""
    code = """
        globalThis.ran = 0;
        const list = [1];
        Object.defineProperty(list, 'got', { enumerable: true, get() { ran = 1 } });
        Reflect.ownKeys = Object.getOwnPropertyNames = Object.keys = () => { ran = 2 };
        list
    """
    assert context.value(code) == "[ 1, got: [Getter] ]"
    assert context.value("ran") == "0"
