"""Outputs of code that nobody trusts, in a page as a notebook shows them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from isokernel.client import Output

if TYPE_CHECKING:
    from playwright.sync_api import Page

HOSTILE = """
<p id="told">nothing</p><div style="height: 5000px"></div><script>
const tried = (attempt) => {
  try { return attempt() } catch (error) { return error.name }
}
document.getElementById("told").textContent = [
  tried(() => parent.document.title), tried(() => document.cookie),
  tried(() => localStorage.length), tried(() => top.location.replace("about:blank")),
].join(" ")
parent.postMessage(1e9, "*")
</script>
"""
# Of three rows: less than the height that is there before it is known.
ROWS = re.compile(r"height: (?:[6-9]\d|1[0-4]\d)px")
# As JupyterLab does it: scripts of HTML that is set don't run by themselves.
SHOW = """(shown) => {
  document.body.innerHTML = shown
  for (const script of document.querySelectorAll("script")) {
    const again = document.createElement("script")
    again.textContent = script.textContent
    script.replaceWith(again)
  }
}"""


@pytest.mark.parametrize("way", ["a page", "JupyterLab"])
def test_html_is_shown_and_reaches_nothing(page: Page, expect: Any, way: str) -> None:
    shown, _ = Output(data={"text/html": HOSTILE})._repr_mimebundle_()
    if way == "a page":
        page.set_content(f"<title>secret</title>{shown['text/html']}")
    else:
        page.set_content("<title>secret</title><body></body>")
        page.evaluate(SHOW, shown["text/html"])
    frame = page.locator("iframe")
    told = frame.content_frame.locator("#told")
    expect(told).to_have_text(" ".join(["SecurityError"] * 4))
    # It is as high as its content, but no higher than this.
    expect(frame).to_have_css("height", "600px")
    assert page.title() == "secret"


def test_a_table_has_no_more_room_than_it_needs(page: Page, expect: Any) -> None:
    table = "<table>" + "<tr><td>a</td></tr>" * 3 + "</table>"
    shown, _ = Output(data={"text/html": table})._repr_mimebundle_()
    page.set_content(shown["text/html"])
    expect(page.locator("iframe")).to_have_attribute("style", ROWS)
