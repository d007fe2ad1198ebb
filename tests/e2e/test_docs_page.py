"""A person at /docs: finds a route, reads about it, and tries it, keys and all."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.server import V8_FLAGS, Server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Locator, Page

KEY = "the-key-of-the-docs-page"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A server that asks for a key."""
    made = Server(*V8_FLAGS, env={"ISOKERNEL_API_KEY": KEY})
    yield made
    assert made.stop() == 0


@pytest.fixture
def docs(server: Server, page: Page) -> Iterator[Page]:
    """The page, on whose console nothing is said: what its policy refuses would be."""
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.goto(f"{server.url}/docs")
    yield page
    assert said == []


def opened(docs: Page, method: str, path: str) -> Locator:
    """An operation, opened from the index."""
    docs.get_by_role("navigation").get_by_role(
        "link", name=f"{method} {path}", exact=True
    ).click()
    return docs.locator("details[open]", has=docs.locator(f"form[data-path='{path}']"))


def test_index_leads_to_each_route_and_can_be_filtered(docs: Page, expect: Any) -> None:
    items = docs.get_by_role("navigation").get_by_role("listitem")
    expect(items.first).to_be_visible()
    docs.get_by_label("Find a route").fill("POST heap checkpoint")
    expect(items.filter(visible=True)).to_have_count(1)
    items.filter(visible=True).get_by_role("link").click()
    shown = docs.locator("#post_contexts_one_checkpoint")
    expect(shown).to_have_attribute("open", "")
    expect(shown).to_be_in_viewport()


def test_request_is_sent_with_the_key_and_its_answer_is_shown(
    docs: Page, expect: Any
) -> None:
    shown = opened(docs, "post", "/execute")
    send = shown.get_by_role("button", name="Send")
    shown.get_by_label("Body").fill('{"code": "6 * 7", "language": "typescript"}')
    docs.get_by_label("API key or token").fill(KEY)
    send.click()
    expect(shown.get_by_role("status")).to_have_text(re.compile("^200 OK"))
    expect(shown.get_by_label("Answer")).to_contain_text('"text": "42"')
    # What it made is filled in where it is asked for next.
    deletion = opened(docs, "delete", "/contexts/{context_id}")
    context_id = deletion.get_by_role("textbox", name="context_id")
    expect(context_id).to_have_value(re.compile(".{21}"))
    deletion.get_by_role("button", name="Send").click()
    expect(deletion.get_by_role("status")).to_have_text(re.compile("^204"))


def test_answer_without_a_key_is_the_error(
    server: Server, page: Page, expect: Any
) -> None:
    page.goto(f"{server.url}/docs#get_contexts")
    shown = page.locator("#get_contexts")
    shown.get_by_role("button", name="Send").click()
    expect(shown.get_by_role("status")).to_have_text(re.compile("^401"))
    expect(shown.get_by_label("Answer")).to_contain_text('"message"')


def test_stream_is_shown_while_it_comes_and_can_be_stopped(
    docs: Page, expect: Any
) -> None:
    docs.get_by_label("API key or token").fill(KEY)
    shown = opened(docs, "post", "/execute/async")
    shown.get_by_label("on_disconnect").select_option("interrupt")
    shown.get_by_label("Body").fill(
        '{"code": "console.log(\'begun\'); for (;;) {}", "language": "typescript"}'
    )
    shown.get_by_role("button", name="Send").click()
    expect(shown.get_by_label("Answer")).to_contain_text("begun")
    shown.get_by_role("button", name="Stop").click()
    expect(shown.get_by_role("status")).to_have_text("Stopped")
    expect(shown.get_by_role("button", name="Send")).to_be_enabled()


def test_command_follows_the_form_and_hides_the_key(docs: Page, expect: Any) -> None:
    docs.get_by_label("API key or token").fill(KEY)
    shown = opened(docs, "post", "/api/exec")
    shown.get_by_label("Content-Type").select_option("text/plain")
    shown.get_by_label("Body").fill("it's")
    shown.get_by_label("session").fill("a b")
    command = shown.locator(".curl")
    expect(command).to_contain_text("/api/exec?session=a+b'")
    expect(command).to_contain_text("-H 'Content-Type: text/plain'")
    expect(command).to_contain_text('"Authorization: Bearer $ISOKERNEL_API_KEY"')
    expect(command).to_contain_text(r"--data-binary 'it'\''s'")


def test_keyboard_is_enough(docs: Page, expect: Any) -> None:
    docs.keyboard.press("Tab")
    expect(docs.get_by_role("link", name="Skip to the routes")).to_be_focused()
    docs.get_by_label("API key or token").focus()
    docs.keyboard.type(KEY)
    opened(docs, "post", "/execute").get_by_label("Body").focus()
    docs.keyboard.press("Control+Enter")
    status = docs.locator("#post_execute").get_by_role("status")
    expect(status).to_have_text(re.compile("^200 OK"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_is_readable_in_both_schemes(docs: Page, expect: Any, scheme: Any) -> None:
    docs.emulate_media(color_scheme=scheme)
    expect(docs.locator("h1")).to_be_visible()
    contrasts = docs.evaluate(
        """() => {
          const light = (text) => {
            const [r, g, b] = text.match(/[\\d.]+/g).map((part) => {
              const share = part / 255;
              if (share <= 0.04045) return share / 12.92;
              return ((share + 0.055) / 1.055) ** 2.4;
            });
            return 0.2126 * r + 0.7152 * g + 0.0722 * b;
          };
          const back = light(getComputedStyle(document.body).backgroundColor);
          const names = ["h1", ".quiet", "a[href]", ".get", ".post", ".put", ".delete"];
          return names.map((name) => {
            const style = getComputedStyle(document.querySelector(name));
            const text = light(style.color);
            return (Math.max(text, back) + 0.05) / (Math.min(text, back) + 0.05);
          });
        }"""
    )
    assert min(contrasts) >= 4.5  # WCAG 2.2, 1.4.3
