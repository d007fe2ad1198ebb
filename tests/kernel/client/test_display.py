"""What a notebook shows of outputs that it doesn't trust."""

from __future__ import annotations

import html
from typing import Any

import pytest

from isokernel.client import Output

HOSTILE = "<script>alert('\"&')</script></iframe><b>x</b>"


def _shown(**given: Any) -> dict[str, Any]:
    return Output(**given)._repr_mimebundle_(include=None, exclude=None)[0]


@pytest.mark.parametrize(
    "mime",
    [
        "text/plain",
        "text/latex",
        "image/png",
        "image/jpeg",
        "application/json",
        "application/vnd.vegalite.v5+json",
        "application/geo+json",
    ],
)
def test_what_is_harmless_is_shown(mime: str) -> None:
    assert _shown(data={mime: "it"})[mime] == "it"


@pytest.mark.parametrize(
    "mime",
    [
        "application/javascript",
        "text/javascript",
        "text/markdown",
        "application/vnd.jupyter.widget-view+json",
        "application/vnd.plotly.v1+json",
        "application/x-unknown",
        "text/plain\n",
    ],
)
def test_what_may_run_is_left_out(mime: str) -> None:
    data = {mime: HOSTILE, "text/plain": "x"}
    assert _shown(data=data) == {"text/plain": "x"}
    assert _shown(data=data, trusted=True) == data


def test_html_is_in_a_frame() -> None:
    shown = _shown(data={"text/html": HOSTILE, "text/plain": "x"})
    assert set(shown) == {"text/html", "text/plain"}
    assert shown["text/html"].startswith('<iframe sandbox="allow-scripts" ')
    assert "allow-same-origin" not in shown["text/html"]
    # Nothing of it ends the attribute that it is in.
    frame, end, ours = shown["text/html"].partition('" style=')
    assert end
    assert html.unescape(frame).endswith(HOSTILE)
    assert frame.count("<") == 1
    assert frame.count('"') == 5
    assert "alert" not in ours


def test_svg_is_a_picture() -> None:
    svg = "<svg onload='alert(1)'/>"
    assert _shown(data={"image/svg+xml": svg})["text/html"].startswith(
        '<img src="data:image/svg+xml;base64,'
    )
    both = _shown(data={"image/svg+xml": svg, "image/png": "x"})
    assert set(both) == {"image/png", "text/plain"}


def test_metadata_is_of_what_is_shown() -> None:
    output = Output(
        data={"image/png": "x", "text/html": "y"},
        metadata={"image/png": {"width": 5}, "application/javascript": 1},
    )
    assert output._repr_mimebundle_()[1] == {"image/png": {"width": 5}}
