"""Rich output: what values look like, display(), its shorthands, updates, templates."""

from __future__ import annotations

import base64
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from tests.support.local_contexts import LocalContext

from isokernel.context.events import ClearOutput, DisplayData, Stream

PNG = "new Uint8Array([0x89,0x50,0x4e,0x47,0x0d,0x0a,0x1a,0x0a,1,2])"
PNG_BASE64 = base64.b64encode(b"\x89PNG\r\n\x1a\n\x01\x02").decode()
SVG = "{http://www.w3.org/2000/svg}"
VEGALITE = "https://vega.github.io/schema/vega-lite"


def shown(context: LocalContext, code: str) -> list[DisplayData]:
    """What a cell displays; the cell must not fail."""
    outcome = context.run(code)
    assert outcome.error is None, outcome.error
    return [e for e in outcome.events if isinstance(e, DisplayData)]


def data(context: LocalContext, code: str) -> Any:
    """The bundle of the one thing that a cell displays."""
    (event,) = shown(context, code)
    return event.data


@pytest.mark.parametrize(
    ("code", "bundle"),
    [
        (
            "display.html('<b>x</b>')",
            {"text/html": "<b>x</b>", "text/plain": "<b>x</b>"},
        ),
        ("display.md('*x*')", {"text/markdown": "*x*", "text/plain": "*x*"}),
        ("display.svg('<svg/>')", {"image/svg+xml": "<svg/>", "text/plain": "<svg/>"}),
        ("display.latex('$x$')", {"text/latex": "$x$", "text/plain": "$x$"}),
        ("display.javascript('1')", {"application/javascript": "1", "text/plain": "1"}),
        ("display.text('raw')", {"text/plain": "raw"}),
        (
            "display.json({a: [1]})",
            {"application/json": {"a": [1]}, "text/plain": "{ a: [ 1 ] }"},
        ),
        (
            f"display.png({PNG})",
            {"image/png": PNG_BASE64, "text/plain": "[image/png, 10 bytes]"},
        ),
        ("display.jpeg('QUJD')", {"image/jpeg": "QUJD", "text/plain": "[image/jpeg]"}),
        (
            f"display.image({PNG}.buffer)",
            {"image/png": PNG_BASE64, "text/plain": "[image/png, 10 bytes]"},
        ),
        ("display({a: 1})", {"text/plain": "{ a: 1 }"}),
        ("display('s')", {"text/plain": "'s'"}),
        (
            "display({'text/html': 'h', 'x/y': 'z'}, {raw: true})",
            {"text/html": "h", "x/y": "z", "text/plain": "[text/html, x/y]"},
        ),
        (
            "display.plotly({data: [{y: [1, 2]}]})",
            {
                "application/vnd.plotly.v1+json": {"data": [{"y": [1, 2]}]},
                "text/plain": "{ data: [ { y: [Array] } ] }",
            },
        ),
        (
            "display.geojson({type: 'Point', coordinates: []})",
            {
                "application/geo+json": {"type": "Point", "coordinates": []},
                "text/plain": "{ type: 'Point', coordinates: [] }",
            },
        ),
    ],
)
def test_shorthands(context: LocalContext, code: str, bundle: dict[str, Any]) -> None:
    """Each shorthand gives its MIME type, and plain text."""
    assert data(context, code) == bundle


@pytest.mark.parametrize(
    ("value", "types"),
    [
        (PNG, ["image/png"]),
        ("new Uint8Array([0xff, 0xd8, 0xff, 0xe0])", ["image/jpeg"]),
        ("new TextEncoder().encode('GIF89a')", ["image/gif"]),
        ("new TextEncoder().encode('%PDF-1.7')", ["application/pdf"]),
        (f"{PNG}.buffer", ["image/png"]),
        (f"new Blob([{PNG}])", ["image/png"]),
        ("new Blob(['<svg/>'], {type: 'image/svg+xml'})", ["image/svg+xml"]),
        (f"({{$schema: '{VEGALITE}/v5.json'}})", ["application/vnd.vegalite.v5+json"]),
        (
            f"({{$schema: '{VEGALITE}/v6.1.0.json'}})",
            ["application/vnd.vegalite.v6+json", "application/vnd.vegalite.v5+json"],
        ),
        (
            "({$schema: 'https://vega.github.io/schema/vega/v5.json'})",
            ["application/vnd.vega.v5+json"],
        ),
        ("({type: 'FeatureCollection', features: []})", ["application/geo+json"]),
        (
            "({type: 'Point', coordinates: [8, 47]})",
            ["application/geo+json", "image/svg+xml"],
        ),
        ("html`<b>`", ["text/html"]),
        ("md`*b*`", ["text/markdown"]),
        ("svg`<svg/>`", ["image/svg+xml"]),
        ("({_repr_html_() { return this.h }, h: '<i>'})", ["text/html"]),
        (
            "({_repr_markdown_: () => 'm', _repr_latex_: () => 'l'})",
            ["text/markdown", "text/latex"],
        ),
        ("({_repr_png_: async () => new Uint8Array(3)})", ["image/png"]),
        ("({_repr_html_: () => null})", []),
        ("({_repr_mimebundle_: () => [{'text/html': 'x'}, {}]})", ["text/html"]),
        ("({[Symbol.for('Jupyter.display')]: () => ({'a/b': 'c'})})", ["a/b"]),
        ("({[Symbol.for('Jupyter.display')]: async () => ({'a/b': 'c'})})", ["a/b"]),
        ("({outerHTML: '<p>x</p>'})", ["text/html"]),
        ("new (class { get outerHTML() { return '<svg><g/></svg>' } })", ["text/html"]),
        (
            "({outerHTML: '<svg xmlns=\"http://www.w3.org/2000/svg\"></svg>'})",
            ["image/svg+xml"],
        ),
        (
            "({outerHTML: '<svg xmlns=\"http://www.w3.org/2000/svg\"></svg><p>'})",
            ["text/html"],
        ),
        ("({outerHTML: 'a < b'})", []),
        ("({outerHTML: () => '<p>'})", []),
        ("({get outerHTML() { throw 1 }})", []),
        ("new Proxy({outerHTML: '<p>'}, {get() { throw 1 }})", []),
        ("({outerHTML: '<p>', _repr_latex_: () => 'l'})", ["text/latex"]),
        ("({$schema: 5})", []),
        ("({type: 'Point'})", []),
        ("new Uint8Array(3)", []),
        ("[1, 2]", []),
        ("new Proxy({_repr_html_() { throw 1 }}, {})", []),
    ],
)
def test_results_look_rich(context: LocalContext, value: str, types: list[str]) -> None:
    """A result is recognised, or says itself how it looks; text is always there."""
    outcome = context.run(value)
    assert outcome.error is None
    assert outcome.result
    assert sorted(outcome.result) == sorted([*types, "text/plain"])


GEOMETRIES = {
    "Point": ("[10, 20]", 0, 1),
    "MultiPoint": ("[[1, 2], [3, 4]]", 0, 2),
    "LineString": ("[[1, 2], [3, 4]]", 1, 0),
    "MultiLineString": ("[[[1, 2], [3, 4]], [[0, 0], [9, 9]]]", 1, 0),
    "Polygon": ("[[[0, 0], [4, 0], [4, 4], [0, 0]], [[1, 1], [2, 1], [1, 1]]]", 1, 0),
    "MultiPolygon": ("[[[[0, 0], [4, 0], [0, 4]]], [[[8, 8], [9, 8], [8, 9]]]]", 2, 0),
}


def map_of(context: LocalContext, geojson: str) -> ET.Element:
    """The map of a GeoJSON object."""
    drawing = data(context, f"display.geojson({geojson})")["image/svg+xml"]
    return ET.fromstring(drawing)  # noqa: S314 -- our own


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize(
    "form",
    [
        "%s",
        "{type: 'Feature', properties: {}, geometry: %s}",
        "{type: 'GeometryCollection', geometries: [%s]}",
        "{type: 'FeatureCollection', features: [{type: 'Feature', geometry: %s}]}",
    ],
)
def test_geojson_has_a_map(context: LocalContext, form: str, geometry: str) -> None:
    """Each geometry is drawn within the picture, whatever it is in."""
    coordinates, paths, circles = GEOMETRIES[geometry]
    geojson = form % f"{{type: '{geometry}', coordinates: {coordinates}}}"
    drawing = map_of(context, geojson)
    assert len(drawing.findall(f".//{SVG}path")) == paths
    found = drawing.findall(f".//{SVG}circle")
    assert len(found) == circles
    for circle in found:
        assert 0 < float(circle.attrib["cx"]) < float(drawing.attrib["width"])
        assert 0 < float(circle.attrib["cy"]) < float(drawing.attrib["height"])


def test_map_has_north_above_and_degrees_as_wide_as_there(
    context: LocalContext,
) -> None:
    """At 60 degrees north one of longitude is half as wide as one of latitude."""
    corners = "[[20, 59.5], [22, 60.5]]"
    drawing = map_of(context, f"{{type: 'MultiPoint', coordinates: {corners}}}")
    south, north = drawing.findall(f".//{SVG}circle")
    assert float(north.attrib["cy"]) < float(south.attrib["cy"])
    assert float(south.attrib["cx"]) < float(north.attrib["cx"])
    assert drawing.attrib["width"] == drawing.attrib["height"]


@pytest.mark.parametrize(
    "value",
    [
        "{type: 'Point', coordinates: ['1\"/>', 2]}",
        "{type: 'Point', coordinates: [NaN, 2]}",
        "{type: 'LineString', coordinates: [[-1e308, 0], [1e308, 0]]}",
        "{type: 'Feature', geometry: null}",
        "{type: 'Polygon', coordinates: 5}",
        "{type: 'MultiPolygon', coordinates: [5, null]}",
        "{type: 'Nothing'}",
        "5",
        "{type: 'MultiLineString', coordinates: Array(5001).fill([[0, 0], [1, 1]])}",
    ],
)
def test_what_has_no_places_has_no_map(context: LocalContext, value: str) -> None:
    """Neither has what would be too large; its data is there all the same."""
    found = data(context, f"display.geojson({value})")
    assert sorted(found) == ["application/geo+json", "text/plain"]


def test_map_of_a_long_line_is_bounded(context: LocalContext) -> None:
    """Of its points some are drawn, the first and the last among them."""
    places = "Array.from({length: 1e5}, (_, i) => [i / 1000, i % 2])"
    drawing = map_of(context, f"{{type: 'LineString', coordinates: {places}}}")
    path = drawing.find(f".//{SVG}path")
    assert path is not None
    count = path.attrib["d"].count("L")
    assert 1000 < count < 6000
    assert path.attrib["d"].startswith("M12.0 ")
    assert float(path.attrib["d"].rpartition("L")[2].split()[0]) == 372.0


def test_map_asks_neither_getters_nor_proxies(context: LocalContext) -> None:
    """What they would do is the user's; the rest is drawn."""
    code = """
      const places = [[1, 2], new Proxy([3, 4], {})];
      Object.defineProperty(places, 2, { get: () => [5, 6] });
      display({ type: "MultiPoint", coordinates: places });
    """
    assert data(context, code)["image/svg+xml"].count("<circle") == 1


def test_plain_text_is_the_objects_own(context: LocalContext) -> None:
    """Plain text that a display method gives is kept."""
    code = "({[Symbol.for('Jupyter.display')]: () => ({'text/plain': 'mine'})})"
    assert context.value(code) == "mine"


def test_templates_nest(context: LocalContext) -> None:
    """Values go in as they are; lists and other templates piece by piece."""
    outcome = context.run(
        "html`<ul>${[1, 2].map((n) => html`<li>${n}</li>`)}${null}</ul>`"
    )
    assert outcome.result
    assert outcome.result["text/html"] == "<ul><li>1</li><li>2</li></ul>"


def test_table(context: LocalContext) -> None:
    """display.table gives an escaped HTML table and the console's text."""
    bundle = data(context, "display.table([{a: 1, b: '<&>'}, {b: 2, c: null}])")
    assert bundle["text/html"] == (
        "<table>\n<thead><tr><th></th><th>a</th><th>b</th><th>c</th></tr></thead>\n"
        "<tbody>\n"
        "<tr><th>0</th><td>1</td><td>&lt;&amp;&gt;</td><td></td></tr>\n"
        "<tr><th>1</th><td></td><td>2</td><td>null</td></tr>\n</tbody>\n</table>"
    )
    assert bundle["text/plain"].startswith("┌─")


@pytest.mark.parametrize(
    ("value", "cells"),
    [
        ("new Map([['k', {a: 1}], ['j', 2]])", ["k", "1", "j", "2"]),
        ("[[1, 2], [3, 4]]", ["1", "2", "3", "4"]),
        ("new Set(['x'])", ["x"]),
        ("[{a: 1, b: 2}], {columns: ['b']}", ["2"]),
    ],
)
def test_table_of(context: LocalContext, value: str, cells: list[str]) -> None:
    """Maps, Sets and lists of lists are tables, too; columns can be chosen."""
    html = data(context, f"display.table({value})")["text/html"]
    assert all(f">{cell}<" in html for cell in cells)
    assert "columns" not in value or ">1<" not in html


def test_update(context: LocalContext) -> None:
    """A handle shows another value in the same place."""
    first, second, third = shown(
        context, "const h = display(1); h.update(2); updateDisplay(h.id, 3)"
    )
    assert first.display_id == second.display_id == third.display_id
    assert [e.update for e in (first, second, third)] == [False, True, True]
    assert third.data == {"text/plain": "3"}


def test_own_id(context: LocalContext) -> None:
    """The id of what is shown can be chosen, and updated from another cell."""
    (event,) = shown(context, "display(1, {id: 'mine', metadata: {m: 1}})")
    assert (event.display_id, event.metadata, event.update) == ("mine", {"m": 1}, False)
    (event,) = shown(context, "display.html('h', {update: 'mine'})")
    assert (event.display_id, event.update) == ("mine", True)


def test_handle_is_no_result(context: LocalContext) -> None:
    """display() as the last expression shows its value once."""
    outcome = context.run("display(1)")
    assert outcome.result is None
    assert context.value("_ === undefined") == "true"


def test_async_display_ends_before_its_cell(context: LocalContext) -> None:
    """What takes time to show itself is shown before the cell is over."""
    events = context.run(
        "display({_repr_html_: () => new Promise((r) => setTimeout(r, 20, '<b>'))});"
        "console.log('on'); 5"
    ).events
    kinds = [type(e).__name__ for e in events]
    assert kinds == ["Stream", "DisplayData", "ExecuteResult", "ExecutionDone"]


@pytest.mark.parametrize("method", ["() =>", "async () =>"])
@pytest.mark.parametrize("use", ["display(it)", "it"])
def test_failing_display(context: LocalContext, method: str, use: str) -> None:
    """An error inside a display method is the cell's error, with its frames."""
    context.run(
        "var it = {[Symbol.for('Jupyter.display')]: "
        f"{method} {{ throw new Error('in it') }}}}"
    )
    error = context.run(use).error
    assert error
    assert error.evalue == "in it"
    assert any("cell 1:1:" in line for line in error.traceback)


@pytest.mark.parametrize("method", ["() =>", "async () =>"])
def test_a_failing_representation_hides_no_other(
    context: LocalContext, method: str
) -> None:
    """As in IPython: what it throws is told on stderr, and the value is shown."""
    outcome = context.run(
        "var it = {toString() { return 'it' }, a: 1, "
        f"_repr_html_: {method} {{ throw new Error('in it') }}, "
        "_repr_latex_: () => '$x$'}; it"
    )
    assert outcome.error is None
    assert outcome.result is not None
    assert outcome.result["text/latex"] == "$x$"
    assert "text/html" not in outcome.result
    assert "a: 1" in str(outcome.text)
    assert "Uncaught Error: in it" in outcome.stderr


def test_several_values_are_shown_each(context: LocalContext) -> None:
    events = shown(context, "display(1, 'two', {three: 3}, {id: 'x'})")
    assert [event.data["text/plain"] for event in events] == [
        "1",
        "'two'",
        "{ three: 3 }",
    ]


@pytest.mark.parametrize(
    "code",
    [
        "display({'text/html': 5}, {raw: true})",
        "display(5, {raw: true})",
        "display.image('x')",
        "display.json({big: 1n})",
        "display.table(5)",
    ],
)
def test_refused(context: LocalContext, code: str) -> None:
    """What can't be shown that way is a TypeError in the cell."""
    error = context.run(code).error
    assert error
    assert error.ename == "TypeError"


def test_clear(context: LocalContext) -> None:
    """ClearOutput comes after what was printed before it."""
    events = context.run("console.log('a'); clearOutput(true)").events
    assert isinstance(events[0], Stream)
    assert events[1] == ClearOutput(1, wait=True)


def test_proxy_runs_no_traps(context: LocalContext) -> None:
    """Showing a proxy runs none of its traps."""
    context.run("var ran = 0; const h = new Proxy({}, {get: () => (() => { ran++ })});")
    context.run("display(new Proxy({a: 1}, h)); new Proxy({a: 1}, h)")
    assert context.value("ran") == "0"


def test_no_ansi(context: LocalContext) -> None:
    """Plain text carries no escape codes."""
    assert "\x1b" not in context.value("[{a: 1, b: 'x', c: null, d: /r/}]")


def test_toJSON_of_all_objects_has_no_say(context: LocalContext) -> None:  # noqa: N802
    """What user code puts onto built-in prototypes doesn't change our own messages."""
    context.run("Object.prototype.toJSON = () => 'x'; Array.prototype.toJSON = () => 1")
    assert context.run("[1, {a: [2]}]").text == "[ 1, { a: [ 2 ] } ]"
    error = context.run("throw new Error('boo')").error
    assert error
    assert (error.ename, error.evalue) == ("Error", "boo")
    assert any("cell 3:1:7" in line for line in error.traceback)
    (shown,) = [
        event
        for event in context.run("display.json({a: [1]})").events
        if isinstance(event, DisplayData)
    ]
    assert shown.data["application/json"] == {"a": [1]}
    assert "Math" in context.context.queries.complete("Mat", 3).matches


@pytest.mark.parametrize("last", ["html`<b>`", "new (class A {})"])
def test_what_is_no_option_is_shown(context: LocalContext, last: str) -> None:
    """The last of several values is options only if it is a plain object of such."""
    assert len(shown(context, f"display(1, {last})")) == 2


@pytest.mark.parametrize(
    "given",
    ["({'text/html': 5})", "5", "({'no mime': 'x'})", "({'application/json': 5n})"],
)
def test_a_wrong_bundle_hides_no_value(context: LocalContext, given: str) -> None:
    """What is wrong in what a value says of itself is told, and the value is shown."""
    outcome = context.run(f"({{a: 1, _repr_mimebundle_: () => {given}}})")
    assert outcome.error is None
    assert outcome.result
    assert list(outcome.result) == ["text/plain"]
    assert "TypeError" in outcome.stderr


def test_a_document_draws_and_is_saved(context: LocalContext) -> None:
    """It is loaded when it is asked for, and its elements are shown as markup."""
    require = "Object.getOwnPropertyDescriptor(Jupyter, 'document').get !== undefined"
    assert context.value(require) == "true"
    context.run("const p = Jupyter.document.createElement('p'); p.append('a<b')")
    context.run("Jupyter.document.body.append(p); p.style.color = 'red'")
    copy = LocalContext(snapshot=context.context.heaps.save())
    try:
        assert copy.value("Jupyter.document.querySelector('body > p') === p") == "true"
        shown_as = copy.run("p.classList.add('x'); p").result
    finally:
        copy.context.close()
    assert shown_as is not None
    tag, _, rest = shown_as["text/html"].partition(">")
    assert sorted(tag.split()) == ["<p", 'class="x"', 'style="color:red"']
    assert rest == "a&lt;b</p>"
