"""Text and outputs of others as HTML."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from isoserver.ui.markup import render
from isoserver.ui.outputs import (
    OUTPUTS_MAX,
    TEXT_MAX,
    Room,
    display_view,
    json_view,
    outputs_view,
)
from isoserver.ui.text import (
    ago,
    cut,
    duration,
    exact,
    in_bytes,
    segment,
    terminal,
    visible,
)

if TYPE_CHECKING:
    from markupsafe import Markup


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("<b>&\"'", "&lt;b&gt;&amp;&#34;&#39;"),
        ("\x1b[31mred\x1b[0m plain", '<span class="ansi1">red</span> plain'),
        (
            "\x1b[1;92mx\x1b[22my",
            '<span class="bold ansi10">x</span><span class="ansi10">y</span>',
        ),
        (
            "\x1b[38;5;9mx\x1b[38;5;200my",
            '<span class="ansi9">x</span><span class="ansi9">y</span>',
        ),
        ("\x1b[38;2;1;31;4mx", "x"),
        ("\x1b[39m\x1b[;m\x1b[mx", "x"),
        ("\x1b[31<i>", "&gt;"),
        ("\x1b[2J\x1b[10;5H\x1b(Bx\x1b", "x"),
        ("\x1b]8;;javascript:alert(1)\x07link\x1b]8;;\x1b\\", "link"),
        ("\x1b]0;never ended", ""),
        ("10%\r50%\r100%\ndone\r\n", "100%\ndone\n"),
        ("a\x00\u202eb\ud800", "a⟨U+0000⟩⟨U+202E⟩b⟨U+D800⟩"),
        ("שלום \u200d👩", "שלום \u200d👩"),
    ],
)
def test_terminals(text: str, html: str) -> None:
    assert terminal(text) == html


@pytest.mark.timeout(20)
def test_many_sequences_take_linear_time() -> None:
    assert terminal("\x1b]" * 200_000) == ""
    assert terminal("\x1b[" + "1;" * 200_000) == ""
    assert terminal("\x1b[31mx" * 50_000).count("x") == 50_000


@pytest.mark.parametrize("limit", [1, 10, 99])
def test_head_and_tail(limit: int) -> None:
    text = "".join(chr(ord("a") + number % 26) for number in range(200))
    for size in (1, 7, 200):
        pieces = [text[at : at + size] for at in range(0, 200, size)]
        shown, left_out = cut(pieces, limit)
        head, _, tail = shown.split("\n")
        assert left_out == 200 - limit
        assert text.startswith(head)
        assert text.endswith(tail)
        assert len(head + tail) == limit


def test_quantities() -> None:
    sizes = [0, 1023, 1024, 10_240, 5 << 20, 1 << 50]
    assert [in_bytes(size) for size in sizes] == [
        *("0 B", "1023 B", "1.0 KiB", "10 KiB", "5.0 MiB", "1024 TiB"),
    ]
    assert [duration(n) for n in (0.0123, 1.25, 75, 7200)] == [
        *("12 ms", "1.2 s", "1 min", "2 h"),
    ]
    spans = (0.2, 5, 300, 86_400 * 3, 86_400 * 40, -600)
    assert [ago(1e9 - span, 1e9) for span in spans] == [
        *("now", "5 s ago", "5 min ago", "3 d ago", "2001-07-31", "in 10 min"),
    ]


def stream(text: Any) -> dict[str, Any]:
    return {"output_type": "stream", "name": "stdout", "text": text}


def test_long_and_many_outputs_are_cut() -> None:
    shown = outputs_view([stream(["x" * 1000] * 100)], Room())
    assert "80000 characters are left out" in shown
    assert len(shown) < TEXT_MAX + 200
    shown = outputs_view([stream(f"{n}.") for n in range(1000)], Room())
    assert shown.count("<pre") == OUTPUTS_MAX
    assert "900 outputs are left out" in shown
    assert "0." in shown
    assert "999." in shown


def display(**data: Any) -> Markup:
    return display_view({k.replace("_", "/"): v for k, v in data.items()}, Room())


def test_html_is_text_of_a_sandboxed_frame() -> None:
    shown = display(text_html=["</iframe>", "<script>'\"&"], text_plain="x")
    assert shown.startswith(
        '<iframe sandbox loading="lazy" title="HTML output" srcdoc="'
    )
    assert shown.endswith('&lt;/iframe&gt;&lt;script&gt;&#39;&#34;&amp;"></iframe>')
    assert shown.count("<") == 2
    assert "default-src &#39;none&#39;" in shown


def test_images_are_data_of_known_types() -> None:
    assert display(image_png="iVBO\nRw0=\n") == (
        '<img alt="Image output" src="data:image/png;base64,iVBORw0=">'
    )
    for text in ('x" onerror="', "", "=" * 3, "<svg>"):
        assert "<img" not in display(image_png=text)
    data = {"image/x<b>": "x"}
    assert display_view(data, Room()).count("<") == 2  # what is said of it


def test_a_page_has_room_for_so_much() -> None:
    room = Room(1000)
    small, large = {"text/html": "x" * 600}, {"text/html": "y" * 600}
    assert "<iframe" in display_view(small, room)
    shown = display_view({**large, "text/plain": "instead"}, room)
    assert "<iframe" not in shown
    assert "instead" in shown
    assert "no room" in display_view({"image/png": "A" * 600}, room)


@pytest.mark.parametrize(
    "data",
    [
        {"application/json": {"a": "<b>"}},
        {"text/markdown": "[<b>](javascript:x)"},
        {"text/latex": "<b>"},
        {"text/plain": "<b>"},
        {"application/javascript": "alert('<b>')", "text/plain": "<b>"},
    ],
)
def test_everything_else_is_text(data: dict[str, Any]) -> None:
    shown = display_view(data, Room())
    assert shown.startswith('<pre class="out">')
    assert "&lt;b&gt;" in shown


def test_json() -> None:
    assert json_view('{"a":[1,"<"]}') == (
        "{\n  &#34;a&#34;: [\n    1,\n    &#34;&lt;&#34;\n  ]\n}"
    )
    assert json_view("[" * 100_000, 10_000).count("[") == 10_000
    long = json.dumps({"a": ["x"] * 50_000})
    assert json_view(long, None).count("x") == 50_000
    assert json_view("no <json>") == "no &lt;json&gt;"
    assert json_view(json.dumps("\u202e")) == "&#34;⟨U+202E⟩&#34;"


def test_what_is_sent_back_is_exact() -> None:
    assert exact("\u202e<\ud800") == "\u202e&lt;\ufffd"
    assert segment("a/b c\u202e\udcff") == "a%2Fb%20c%E2%80%AE%3F"


def test_templates_show_what_is_unseen() -> None:
    values = {
        **dict.fromkeys(("root", "area", "nonce", "target"), ""),
        **dict.fromkeys(("waiting", "refresh"), 0),
        "signed_in": False,
        "principal": type(
            "Nobody", (), {"workspace": "", "admin": False, "client": ""}
        ),
        "problem": "\u202e\ud800<b>",
    }
    shown = render("signin.html", values)
    assert visible("\u202e\ud800") + "&lt;b&gt;" in shown
