"""What a page has beside its document, for libraries that only run in browsers."""

from __future__ import annotations

import base64
import json
import zlib
from typing import Any
from xml.dom import minidom

import pytest
from tests.support.local_contexts import LocalContext

from isokernel.context.events import DisplayData

NAMES = ("window", "document", "DOMParser", "HTMLElement", "getComputedStyle")
PLOTLY = "application/vnd.plotly.v1+json"
SVG = "image/svg+xml"


@pytest.fixture
def page(context: LocalContext) -> LocalContext:
    """A context that has a page, with a function that makes elements of SVG."""
    context.run("Jupyter.dom()")
    context.run(
        "function draw(markup) { document.body.innerHTML = `<svg>${markup}</svg>`;"
        " return document.querySelector('svg').firstElementChild }"
    )
    return context


def read(context: LocalContext, code: str) -> Any:
    """What a cell gives, by way of JSON."""
    text = context.value(f"JSON.stringify({code})")
    return json.loads(text[1:-1])


def test_there_is_no_page_until_code_asks_for_one(context: LocalContext) -> None:
    """Libraries tell by these names where they are."""
    seen = ", ".join(f"typeof {name}" for name in NAMES)
    context.run("Jupyter.document.body.append('x')")
    assert set(read(context, f"[{seen}]")) == {"undefined"}
    assert context.run("Jupyter.dom()").result is None
    assert "undefined" not in read(context, f"[{seen}]")


def test_a_page_is_that_of_the_document(page: LocalContext) -> None:
    code = (
        "[window === globalThis, document === Jupyter.document, "
        "document.body instanceof HTMLElement, new DOMParser().parseFromString("
        "'<a>1</a>', 'text/xml').documentElement.localName, "
        "new XMLSerializer().serializeToString(document.createElement('hr')), "
        "matchMedia('(min-width: 1px)').matches]"
    )
    assert read(page, code) == [True, True, True, "a", "<hr>", False]


def test_what_is_there_already_stays(context: LocalContext) -> None:
    context.run("const before = [Event, navigator, fetch]; globalThis.screen = 1")
    context.run("Jupyter.dom(); Jupyter.dom()")
    code = "[before.every((one, i) => one === [Event, navigator, fetch][i]), screen]"
    assert read(context, code) == [True, 1]


@pytest.mark.parametrize("name", ["window", "document", "HTMLElement"])
def test_an_error_for_want_of_a_page_says_what_to_do(
    context: LocalContext, name: str
) -> None:
    told = context.run(f"{name}.x").failure
    assert told.evalue.startswith(f"{name} is not defined (Jupyter.dom() ")
    assert told.evalue in told.traceback[0]
    assert context.run("windows.x").failure.evalue == "windows is not defined"


@pytest.mark.parametrize(
    ("markup", "box"),
    [
        ('<rect x="1" y="2" width="3" height="4"></rect>', [1, 2, 3, 4]),
        ('<circle cx="5" cy="6" r="2"></circle>', [3, 4, 4, 4]),
        ('<ellipse cx="5" cy="6" rx="2" ry="1"></ellipse>', [3, 5, 4, 2]),
        ('<line x1="5" y1="1" x2="2" y2="9"></line>', [2, 1, 3, 8]),
        ('<polyline points="0,1 4,5 2,-3"></polyline>', [0, -3, 4, 8]),
        ('<path d="M1 1h4v-3H2z"></path>', [1, -2, 4, 3]),
        ('<path d="m1,1l2,3-5,0"></path>', [-2, 1, 5, 3]),
        ('<path d="M0,0C0,10 10,10 10,0"></path>', [0, 0, 10, 7.5]),
        ('<path d="M0,0a5,5 0 1110,0"></path>', [0, 0, 10, 0]),
        ('<path d="nonsense"></path>', [0, 0, 0, 0]),
        ("<g></g>", [0, 0, 0, 0]),
        (
            '<g transform="translate(100)"><rect width="1" height="1" '
            'transform="translate(10,20) scale(2 3)"></rect>'
            '<defs><rect width="999" height="999"></rect></defs>'
            '<rect width="999" height="1" style="display:none"></rect></g>',
            [10, 20, 2, 3],
        ),
        ('<g><rect transform="rotate(90)" width="2" height="8"></rect></g>', None),
    ],
)
def test_shapes_have_their_boxes(
    page: LocalContext, markup: str, box: list[float] | None
) -> None:
    page.run(f"var at = draw({json.dumps(markup)}).getBBox()")
    found = read(page, "[at.x, at.y, at.width, at.height]")
    assert found == pytest.approx([-8, 0, 8, 2] if box is None else box, abs=1e-6)


def test_boxes_on_the_screen_are_through_all_that_they_are_in(
    page: LocalContext,
) -> None:
    page.run(
        'draw(\'<g transform="translate(10,20)"><g transform="scale(2)">'
        '<rect x="1" y="1" width="3" height="4"></rect></g></g>\')'
    )
    rect = "document.querySelector('rect')"
    page.run(f"var at = {rect}.getBoundingClientRect(), m = {rect}.getScreenCTM()")
    assert read(page, "[at.left, at.top, at.right, at.bottom]") == [12, 22, 18, 30]
    same = {"a": 1, "b": 0, "c": 0, "d": 1, "e": 0, "f": 0}
    assert read(page, "m.multiply(m.inverse())") == same


def test_texts_are_about_as_wide_as_in_a_browser(page: LocalContext) -> None:
    """In Arial, of 100 pixels, the first is 494 wide and the second 222."""

    def width(attributes: str, text: str) -> float:
        markup = f'<text font-size="100" {attributes}>{text}</text>'
        return float(read(page, f"draw({json.dumps(markup)}).getComputedTextLength()"))

    assert width("", "Hello world") == pytest.approx(494, rel=0.1)
    assert width("", "1234") == pytest.approx(222, rel=0.1)
    assert width("", "WWWW") > 3 * width("", "iiii")
    assert width('font-weight="bold"', "Hello") > width("", "Hello")
    assert width('style="font-size:50px"', "Hello") == width("", "Hello") / 2
    mono = 'font-family="monospace"'
    assert width(mono, "ii") == width(mono, "WW")
    assert width("", "日本") == 200


def test_texts_are_anchored_and_have_lines(page: LocalContext) -> None:
    page.run(
        "function boxOf(markup) { const at = draw(markup).getBBox();"
        " return [at.x, at.width, at.height].map(Math.round) }"
    )
    text = '<text font-size="10" x="50" text-anchor="{}">1234</text>'
    start, middle, end = (
        read(page, f"boxOf({json.dumps(text.format(anchor))})")
        for anchor in ("start", "middle", "end")
    )
    assert [start[0], middle[0], end[0]] == [50, 39, 28]
    assert start[1:] == middle[1:] == end[1:] == [22, 11]
    lines = (
        '<text font-size="10"><tspan x="0" dy="0em">12</tspan>'
        '<tspan x="0" dy="2em">1234</tspan></text>'
    )
    assert read(page, f"boxOf({json.dumps(lines)})") == [0, 22, 31]


def test_html_has_the_sizes_that_it_states(page: LocalContext) -> None:
    page.run(
        "document.body.innerHTML = '<div style=\"width: 300px\"><p>text</p></div>';"
        "var div = document.querySelector('div'), p = document.querySelector('p');"
    )
    assert read(page, "[div.clientWidth, p.offsetWidth]") == [300, 300]
    assert read(page, "document.body.clientWidth === innerWidth") is True
    assert read(page, "p.clientHeight > 10 && p.clientHeight < 30") is True
    style = "getComputedStyle(p)"
    page.run("div.style.color = 'red'; div.style.fontSize = '2em'")
    seen = f"[{style}.color, {style}.fontSize, {style}.getPropertyValue('display')]"
    assert read(page, seen) == ["red", "32px", "block"]


def test_paths_are_followed(page: LocalContext) -> None:
    page.run("var path = draw('<path d=\"M0,0h10v5\"></path>')")
    page.run("var at = path.getPointAtLength(12)")
    assert read(page, "[path.getTotalLength(), at.x, at.y]") == [15, 10, 2]


def test_elements_take_the_contexts_own_events(page: LocalContext) -> None:
    page.run(
        "var seen = []; document.body.addEventListener('ping', (event) => {"
        " seen.push(event.detail, event.target.localName); event.preventDefault() });"
        "document.body.append(document.createElement('i'));"
        "var event = new CustomEvent('ping',"
        " { bubbles: true, cancelable: true, detail: 3 });"
        "var isDone = document.querySelector('i').dispatchEvent(event)"
    )
    code = "[seen, isDone, event.defaultPrevented]"
    assert read(page, code) == [[3, "i"], False, True]


def test_who_waits_for_a_picture_or_a_frame_is_told(page: LocalContext) -> None:
    page.run(
        "var got = await new Promise((resolve) => { const image = new Image();"
        " image.onerror = () => resolve('error'); image.src = 'data:,x' })"
    )
    assert read(page, "got") == "error"
    page.run("var time = await new Promise(requestAnimationFrame)")
    assert read(page, "typeof time") == "number"


def pixels_of(png: bytes) -> list[list[tuple[int, ...]]]:
    """The pixels of a PNG whose lines aren't filtered, row by row."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    at, parts = 8, {}
    while at < len(png):
        size = int.from_bytes(png[at : at + 4], "big")
        name, data = png[at + 4 : at + 8], png[at + 8 : at + 8 + size]
        assert int.from_bytes(png[at + 8 + size : at + 12 + size], "big") == zlib.crc32(
            name + data
        )
        parts[name] = data
        at += 12 + size
    width = int.from_bytes(parts[b"IHDR"][:4], "big")
    lines = zlib.decompress(parts[b"IDAT"])
    length = 4 * width + 1
    return [
        [tuple(lines[x : x + 4]) for x in range(y + 1, y + length, 4)]
        for y in range(0, len(lines), length)
    ]


def test_a_canvas_has_rectangles_and_pixels(page: LocalContext) -> None:
    page.run(
        "var canvas = document.createElement('canvas'); canvas.width = 4;"
        "canvas.height = 2; var g = canvas.getContext('2d');"
        "g.fillStyle = 'rgb(255,0,0)'; g.fillRect(-9, -9, 11, 99);"
        "g.fillStyle = 'rgba(0, 0, 255, 0.5)'; g.fillRect(1, 0, 2, 1);"
        "g.fillStyle = 'nonsense'; g.fillRect(3, 1, 1, 1); g.clearRect(0, 1, 1, 1);"
        "const one = g.createImageData(1, 1); one.data.set([1, 2, 3, 4]);"
        "g.putImageData(one, 2, 1)"
    )
    text = page.value("canvas.toDataURL()").strip("'")
    red, mixed, blue = (255, 0, 0, 255), (128, 0, 128, 255), (0, 0, 255, 128)
    assert pixels_of(base64.b64decode(text.removeprefix("data:image/png;base64,"))) == [
        [red, mixed, blue, (0, 0, 0, 0)],
        [(0, 0, 0, 0), red, (1, 2, 3, 4), blue],
    ]
    code = "[...g.getImageData(2, 1, 1, 1).data]"
    assert read(page, code) == [1, 2, 3, 4]
    seen = "[g.measureText('wide').width > g.measureText('il').width, typeof g.arc]"
    assert read(page, seen) == [True, "undefined"]
    assert read(page, "canvas.getContext('webgl')") is None


def test_a_canvas_is_bounded(page: LocalContext) -> None:
    page.run("var canvas = document.createElement('canvas'); canvas.width = 1e5;")
    page.run("canvas.height = 1e5; var g = canvas.getContext('2d')")
    for code in ("g.fillRect(0, 0, 1, 1)", "g.createImageData(1e5, 1e5)"):
        assert "at most 16777216 pixels" in page.run(code).failure.evalue


def test_a_page_is_saved_with_its_context(page: LocalContext) -> None:
    page.run('draw(\'<rect width="5" height="2"></rect>\')')
    copy = LocalContext(snapshot=page.context.heaps.save())
    try:
        code = "[window.document.querySelector('rect').getBBox().width, typeof Image]"
        assert read(copy, code) == [5, "function"]
    finally:
        copy.context.close()


@pytest.fixture
def drawn(page: LocalContext) -> LocalContext:
    """A context with an element as Plotly leaves it, `div`."""
    layer = (
        '<svg class="main-svg" width="70" height="50"><defs id="defs-ab12"></defs>'
        '<g class="draglayer"></g><g clip-path="url(#ab12)"><text data-unformatted='
        '"&lt;b&gt;one">one</text></g></svg>'
    )
    page.run(
        "var div = document.createElement('div'); div.className = 'js-plotly-plot';"
        f"div.innerHTML = `{layer}{layer}`;"
        "div._fullLayout = { _uid: 'ab12', paper_bgcolor: '#fff' };"
        "div.data = [{ type: 'bar', y: new Float32Array([1, 2]) }]; div.layout = {}"
    )
    return page


def test_what_plotly_has_drawn_is_a_figure_and_a_picture(drawn: LocalContext) -> None:
    shown = drawn.run("div").result
    assert shown is not None
    assert shown["text/plain"] == "[Plotly, 1 trace]"
    assert shown[PLOTLY] == {"data": [{"type": "bar", "y": [1, 2]}], "layout": {}}
    picture = minidom.parseString(shown[SVG]).documentElement  # noqa: S318 -- ours
    assert picture is not None
    assert (picture.getAttribute("width"), picture.getAttribute("height")) == (
        "70",
        "50",
    )
    assert len(picture.getElementsByTagName("text")) == 2
    assert "draglayer" not in shown[SVG]
    # Names that Plotly draws by lot; those of another figure are others.
    assert "ab12" not in shown[SVG]
    drawn.run("div.innerHTML = div.innerHTML.replaceAll('ab12', 'cd34')")
    drawn.run("div._fullLayout._uid = 'cd34'")
    assert drawn.run("div").result == shown


@pytest.mark.parametrize(
    ("change", "types"),
    [
        ("delete div.data", ["text/html"]),
        ("div.className = 'js-plotly-plots'", ["text/html"]),
        ("div.innerHTML = ''", [PLOTLY]),
        ("div.data.push(div.data)", [SVG]),  # JSON has no cycles: that is told
        ("div.querySelectorAll = () => null.x", ["text/html"]),
    ],
)
def test_other_elements_are_markup(
    drawn: LocalContext, change: str, types: list[str]
) -> None:
    drawn.run(change)
    shown = drawn.run("div").result
    assert shown is not None
    assert sorted(shown) == sorted([*types, "text/plain"])


def test_figures_given_as_data_may_have_typed_arrays(context: LocalContext) -> None:
    context.run("const y = new Float64Array([1, 2]), layout = {}; layout.self = null")
    outcome = context.run("display.plotly({ data: [{ y }, { y }], layout })")
    shown = next(event for event in outcome.events if isinstance(event, DisplayData))
    assert shown.data[PLOTLY]["data"] == [{"y": [1, 2]}, {"y": [1, 2]}]
