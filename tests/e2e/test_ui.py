"""A person at the UI: what they see, do and type, whatever code and names are like."""

from __future__ import annotations

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from tests.support.client import CLIENT, Client, connect
from tests.support.server import V8_FLAGS, Server, run_server
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Dialog, Locator, Page

pytestmark = pytest.mark.timeout(120)

KEY = "the-key-of-somebody-at-the-ui"
HOSTILE = "<img src=x onerror='hacked=1'>\"'</a></title></textarea>ש"
"""A name as a session may have it: at most 128 printable characters."""
SHOW = "({{ [Symbol.for('Jupyter.display')]: () => ({0}) }})"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A server without keys."""
    with run_server(*V8_FLAGS) as made:
        yield made


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    """An agent, who has what it made deleted in the end."""
    with connect(server) as client:
        yield client
        for context in client.get("/contexts").json()["items"]:
            client.delete(f"/contexts/{quote(context['id'], safe='')}")


@pytest.fixture
def evil() -> Iterator[Elsewhere]:
    """Another server, which must hear of nothing."""
    server = Elsewhere()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    CLIENT.get(f"{server.url}/heard")
    assert server.heard == ["/heard"]
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


class Elsewhere(ThreadingHTTPServer):
    """Notes what it is asked for."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Noting)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.heard: list[str] = []


class Noting(BaseHTTPRequestHandler):
    server: Elsewhere

    def do_GET(self) -> None:
        self.server.heard.append(self.path)
        self.send_response(204)
        self.end_headers()

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def said(page: Page) -> list[str]:
    """What the browser has said about the page."""
    found: list[str] = []
    page.on("console", lambda message: found.append(message.text))
    return found


@pytest.fixture
def ui(server: Server, page: Page, said: list[str]) -> Iterator[Page]:
    """The first page; nothing of what it does by itself is refused or fails."""
    page.goto(server.url)
    yield page
    assert [text for text in said if "status of 404" not in text] == []


def visit(ui: Page, server: Server, *place: str) -> None:
    ui.goto("/".join((f"{server.url}/ui", *place)))


def cell(ui: Page, number: int) -> Locator:
    """A cell of the context that is shown; the first is 0, the last one -1."""
    return ui.get_by_role("list", name="Cells").get_by_role("listitem").nth(number)


def run(ui: Page, code: str) -> None:
    """Type a cell, and send it from the keyboard."""
    ui.get_by_label("Run a cell").fill(code)
    ui.get_by_label("Run a cell").press("Control+Enter")


def test_from_nothing_to_a_result(ui: Page, expect: Any, client: Client) -> None:
    expect(ui).to_have_url(re.compile("/ui/$"))
    expect(ui.get_by_text("No contexts yet")).to_be_visible()
    ui.get_by_label("Language").select_option("typescript")
    ui.get_by_role("button", name="New context").click()
    expect(ui.get_by_text("No cells have run here yet")).to_be_visible()
    run(ui, "const answer: number = 6 * 7; answer")
    expect(cell(ui, 0)).to_contain_text("42")
    expect(ui.get_by_label("Run a cell")).to_be_focused()
    expect(ui.get_by_label("Run a cell")).to_have_value("")
    run(ui, "answer + 1")
    expect(cell(ui, 1)).to_contain_text("43")
    # What was sent is recalled, as in a terminal.
    ui.keyboard.press("ArrowUp")
    ui.keyboard.press("ArrowUp")
    expect(ui.get_by_label("Run a cell")).to_have_value(re.compile("6 [*] 7"))
    ui.keyboard.press("ArrowDown")
    expect(ui.get_by_label("Run a cell")).to_have_value("answer + 1")
    (made,) = client.get("/contexts").json()["items"]
    assert (made["language_name"], made["execution_count"]) == ("typescript", 2)
    ui.get_by_role("link", name="Contexts", exact=True).click()
    row = ui.get_by_role("row", name=made["id"])
    expect(row).to_contain_text("idle")
    expect(row).to_contain_text("MiB")


def test_output_is_live_and_leaves_what_is_typed(
    ui: Page, expect: Any, server: Server, client: Client
) -> None:
    here = client.create()
    visit(ui, server, "contexts", here)
    run(ui, "console.log('be' + 'gun'); await new Promise(() => {})")
    expect(cell(ui, 0)).to_contain_text("begun")
    expect(cell(ui, 0)).to_contain_text("running")
    ui.get_by_label("Run a cell").press_sequentially("half a li")
    # An agent goes on in the same context, and its cell waits.
    client.post("/api/exec", json={"code": "'from an agent'", "session": here})
    expect(ui.get_by_text("1 more waits for its turn")).to_be_visible()
    ui.keyboard.type("ne")
    ui.get_by_role("button", name="Interrupt").click()
    expect(cell(ui, 1)).to_contain_text("from an agent")
    expect(cell(ui, 0)).to_contain_text("failed")
    expect(ui.get_by_label("Run a cell")).to_have_value("half a line")


def test_a_cell_of_an_agent_appears(
    ui: Page, expect: Any, server: Server, client: Client
) -> None:
    here = client.create()
    row = ui.get_by_role("row", name=here)
    expect(row).to_contain_text("idle")  # it was made after the page
    visit(ui, server, "contexts", here)
    client.run("1 + 1; 'two'", context_id=here)
    expect(cell(ui, 0)).to_contain_text("two")
    marked = "() => { const range = document.createRange();"
    marked += " range.selectNodeContents(document.querySelector('pre.code'));"
    ui.evaluate(marked + " getSelection().addRange(range); }")
    client.run("'three'", context_id=here)
    # What is being marked, to be copied, stays: nothing is brought up to date.
    with ui.expect_event("request", lambda _: True, timeout=60_000) as looked:
        ui.evaluate("getSelection().removeAllRanges()")
    assert here in looked.value.url
    expect(cell(ui, 1)).to_contain_text("three")


HTML = """<h1 style='color: rgb(1, 2, 3)'>shown</h1>
<script>parent.hacked = top.hacked = 1; fetch('https://evil.example/a')</script>
<img src='https://evil.example/b' onerror='parent.hacked = 2'>
<img src='/ui/contexts' onload='parent.hacked = 3'>
<link rel=stylesheet href='https://evil.example/c'>
<style>@import 'https://evil.example/d';
h1 { background: url(https://evil.example/e) }</style>
<meta http-equiv=refresh content='0; url=https://evil.example/f'>
<base href='https://evil.example/'>
<iframe src='https://evil.example/g'></iframe><object data='https://evil.example/h'></object>
<form action='https://evil.example/i'><button>Send</button></form>
<a href='https://evil.example/j' target=_top>Leave</a>
<a href='https://evil.example/q'>Elsewhere</a>
<a href='https://evil.example/k' target=_self ping='https://evil.example/l'>Away</a>
<a href='javascript:parent.hacked=4'>Script</a>
<video autoplay src='https://evil.example/m'></video><svg><script>parent.hacked=5</script></svg>
</iframe><script>hacked = 6</script>"""
SVG = """<svg xmlns='http://www.w3.org/2000/svg' onload='parent.hacked=7'>
<script>parent.hacked = 8</script><image href='https://evil.example/n'/>
<foreignObject><iframe src='https://evil.example/o'></iframe></foreignObject></svg>"""
TEXTS = {
    "text/markdown": "<script>hacked=9</script>![x](https://evil.example/p)",
    "application/javascript": "hacked = 10; element.innerHTML = 1",
    "text/plain": "</pre><script>hacked=11</script>\u202etxt.exe",
    "application/vnd.x+xml": "<script>hacked=12</script>",
    "image/png": 'A" onerror="hacked=13',
}


def test_hostile_outputs_do_nothing(  # noqa: PLR0913, PLR0917 - fixtures
    ui: Page,
    expect: Any,
    server: Server,
    client: Client,
    evil: Elsewhere,
    said: list[str],
) -> None:
    here = client.create()
    for kind, given in {"text/html": HTML, "image/svg+xml": SVG, **TEXTS}.items():
        text = given.replace("https://evil.example", evil.url)
        client.run(SHOW.format(f"{{ {kind!r}: {text!r} }}"), context_id=here)
    client.run(
        "console.log('\\x1b]8;;javascript:hacked=14\\x07<b onclick=hacked=15>');"
        "console.error('\\x1b[31m</pre><script>hacked=16</script>');"
        "throw new Error('<img src=x onerror=hacked=17>')",
        context_id=here,
    )
    visit(ui, server, "contexts", here)
    frame = ui.frame_locator("iframe[title='HTML output']")
    expect(frame.get_by_role("heading", name="shown")).to_be_visible()
    expect(frame.get_by_role("heading")).to_have_css("color", "rgb(1, 2, 3)")
    frame.get_by_role("button", name="Send").click()
    for link in ("Elsewhere", "Leave", "Script", "Away"):
        frame.get_by_role("link", name=link).click()
    expect(ui.locator("iframe[title='SVG output']")).to_be_attached()
    ui.locator("iframe[title='SVG output']").scroll_into_view_if_needed()
    expect(cell(ui, -1)).to_contain_text("<img src=x onerror=hacked=17>")
    expect(cell(ui, -1).locator(".ansi1")).to_contain_text("<script>hacked=16")
    expect(ui.get_by_text("⟨U+202E⟩txt.exe")).to_be_visible()
    # It stays so when the page is brought up to date.
    client.run("'another one'", context_id=here)
    expect(cell(ui, -1)).to_contain_text("another one")
    run(ui, "'and one of the page'")
    expect(cell(ui, -1)).to_contain_text("and one of the page")
    assert ui.evaluate("typeof hacked") == "undefined"
    assert len(ui.context.pages) == 1
    assert ui.url.endswith(f"/ui/contexts/{here}")
    assert evil.heard == ["/heard"]
    assert ui.locator("main script, main [onerror], main [onclick]").count() == 0
    # All that is said is that something in a frame was refused.
    refused = re.compile("Content Security Policy|sandboxed|Blocked|Unsafe attempt")
    assert [text for text in said if not refused.search(text)] == []
    said.clear()


def test_hostile_names_do_nothing(ui: Page, expect: Any, client: Client) -> None:
    client.done("1", session=HOSTILE)
    file = "<script>hacked=1<\u2215script>\u202egpj.exe"
    code = f"const fs = require('fs'); fs.mkdirSync({HOSTILE.replace('/', '')!r});"
    code += f"fs.writeFileSync({file!r}, ''); fs.writeFileSync('x'.repeat(250), '')"
    context_id = client.get("/contexts").json()["items"][0]["id"]
    assert context_id == HOSTILE
    client.done(code, session=HOSTILE)
    expect(ui.get_by_role("link", name=HOSTILE[:40])).to_be_visible()
    ui.get_by_role("link", name=HOSTILE[:40]).click()
    expect(ui.get_by_role("heading", level=1)).to_have_text(HOSTILE)
    shown = re.compile("^<script>hacked=1<\u2215script>⟨U[+]202E⟩gpj.exe$")
    expect(ui.get_by_role("link", name=shown)).to_be_visible()
    ui.get_by_role("link", name="onerror='hacked=1'>\"'<a>").click()
    expect(ui.get_by_text("No files.")).to_be_visible()
    run(ui, "'still here'")
    expect(cell(ui, -1)).to_contain_text("still here")
    assert ui.evaluate("typeof hacked") == "undefined"
    overflow = "document.documentElement.scrollWidth - innerWidth"
    assert ui.evaluate(overflow) <= 0


def test_files_and_packages(
    ui: Page, expect: Any, server: Server, client: Client
) -> None:
    here = client.create()
    visit(ui, server, "contexts", here)
    expect(ui.get_by_text("No files.")).to_be_visible()
    expect(ui.get_by_text("None imported.")).to_be_visible()
    code = "const fs = require('fs'); fs.mkdirSync('data');"
    code += "fs.writeFileSync('data/one.csv', 'a,b'.repeat(1000))"
    client.run(code, context_id=here)
    ui.get_by_role("link", name="data/").click()
    expect(ui.get_by_text("2.9 KiB · ")).to_be_visible()
    with ui.expect_download() as download:
        ui.get_by_role("link", name="one.csv").click()
    assert download.value.suggested_filename == "one.csv"
    assert download.value.path().read_text() == "a,b" * 1000
    with ui.expect_download() as download:
        ui.get_by_role("link", name="Download").click()
    assert "data/one.csv" in download.value.path().read_text()


def test_the_life_of_a_context(
    ui: Page, expect: Any, server: Server, client: Client
) -> None:
    here = client.create()
    client.run("var kept = 'the state'", context_id=here)
    visit(ui, server, "contexts", here)
    questions: list[str] = []

    def agree(dialog: Dialog) -> None:
        questions.append(dialog.message)
        dialog.accept()

    ui.on("dialog", agree)
    ui.get_by_role("button", name="Fork").click()
    ui.wait_for_url(lambda url: "/contexts/" in url and here not in url)
    run(ui, "kept")
    expect(cell(ui, -1)).to_contain_text("the state")
    fork = ui.url.rpartition("/")[2]
    ui.get_by_role("button", name="Delete").click()
    ui.wait_for_url(re.compile("/ui/$"))
    expect(ui.get_by_role("row", name=here)).to_be_visible()
    assert client.get(f"/contexts/{fork}").status_code == 404
    visit(ui, server, "contexts", here)
    client.post(f"/contexts/{here}/checkpoint")
    ui.get_by_role("button", name="Restart").click()
    expect(ui.get_by_text("No cells have run here yet")).to_be_visible()
    run(ui, "typeof kept")
    expect(cell(ui, -1)).to_contain_text("undefined")
    ui.get_by_role("button", name="Restore").click()
    expect(ui.get_by_role("status")).to_have_text("Restored")
    run(ui, "kept")
    expect(cell(ui, -1)).to_contain_text("the state")
    assert [text.split("?")[0] for text in questions] == [
        "Delete this context, its state and its files",
        "Restart this context",
        "Go back to the last saved state",
    ]


def test_a_question_can_be_declined(ui: Page, server: Server, client: Client) -> None:
    here = client.create()
    visit(ui, server, "contexts", here)
    asked: list[str] = []

    def decline(dialog: Dialog) -> None:
        asked.append(dialog.message)
        dialog.dismiss()

    ui.on("dialog", decline)
    ui.get_by_role("button", name="Delete").click()
    assert len(asked) == 1
    assert client.show(here)["state"] == "idle"


def test_what_goes_wrong_is_said(
    ui: Page, expect: Any, server: Server, client: Client
) -> None:
    here = client.create()
    visit(ui, server, "contexts", here)
    ui.get_by_label("for at most").fill("5")
    client.delete(f"/contexts/{here}")
    run(ui, "1")
    expect(ui.get_by_role("status")).to_contain_text(f"{here} not found")
    expect(ui.get_by_label("Run a cell")).to_have_value("1")
    visit(ui, server, "contexts", "nobody")
    expect(ui.get_by_role("alert")).to_contain_text("nobody")
    expect(ui.get_by_role("link", name="All contexts")).to_be_visible()


def test_a_server_that_is_away_is_waited_for(page: Page, expect: Any) -> None:
    first = Server(*V8_FLAGS)
    page.goto(first.url)
    expect(page.get_by_text("No contexts yet")).to_be_visible()
    assert first.stop() == 0
    expect(page.get_by_role("status")).to_contain_text("can't be reached")
    port = first.url.rpartition(":")[2]
    again = Server(*V8_FLAGS, "--port", port)
    expect(page.get_by_role("status")).to_be_hidden()
    assert again.stop() == 0


def test_without_a_script_everything_still_works(
    browser: Browser, server: Server, expect: Any, client: Client
) -> None:
    ui = browser.new_page(java_script_enabled=False)
    ui.goto(server.url)
    ui.get_by_role("button", name="New context").click()
    ui.get_by_label("Run a cell").fill("6 * 7")
    ui.get_by_role("button", name="Run", exact=True).click()
    (made,) = client.get("/contexts").json()["items"]
    wait_for(lambda: client.show(made["id"])["execution_count"])
    ui.reload()
    expect(cell(ui, 0)).to_contain_text("42")
    ui.close()


# -- runs ------------------------------------------------------------------------------

TICKS = "for (let n = 0; ; n++) { console.log('tick', n); await tick(100) }"
TICK = "const tick = (ms) => new Promise((done) => setTimeout(done, ms)); "


def test_an_execution_is_live_and_can_be_cancelled(
    ui: Page, expect: Any, client: Client
) -> None:
    execution = client.submit(TICK + TICKS)
    running = ui.get_by_role("region", name="Running now")
    expect(running).to_contain_text(execution[:30])
    ui.get_by_role("link", name="Runs").click()
    ui.get_by_role("link", name=execution[:30]).click()
    output = ui.get_by_label("Output")
    expect(output).to_contain_text("tick 1")
    expect(output).to_contain_text("tick 9")
    # The end of it is in view, as long as nobody looks at something before.
    expect(output).to_contain_text("tick 40")
    above = "(shown) => shown.scrollHeight - shown.scrollTop - shown.clientHeight"
    assert output.evaluate(above) < 10
    output.evaluate("(shown) => { shown.scrollTop = 0 }")
    expect(output).to_contain_text("tick 50")
    assert output.evaluate("(shown) => shown.scrollTop") == 0
    expect(ui.get_by_label("Code", exact=True)).to_contain_text(TICKS)
    ui.get_by_role("button", name="Cancel").click()
    expect(ui.get_by_text("cancelled", exact=True)).to_be_visible()
    expect(ui.get_by_role("button", name="Cancel")).to_be_hidden()
    assert client.info(execution)["status"] == "cancelled"
    # What was printed is still there, all of it.
    expect(output).to_contain_text("tick 0")


def test_long_output_is_read_in_parts(
    ui: Page, expect: Any, server: Server, client: Client
) -> None:
    done = client.done("for (let n = 0; n < 20000; n++) console.log(`line ${n}.`); 42")
    visit(ui, server, "runs", "script", done["execution_id"])
    output = ui.get_by_label("Output")
    expect(output).to_contain_text("line 19999.")
    expect(output).not_to_contain_text("line 5.")
    expect(ui.get_by_label("Result")).to_have_text("42")
    for _ in range(3):
        ui.get_by_role("link", name="Earlier output").click()
    expect(output).to_contain_text("line 5.")
    ui.get_by_role("link", name="Later output").click()
    expect(output).not_to_contain_text("line 5.")


def test_runs_are_found_by_kind_and_status(
    ui: Page, expect: Any, server: Server, client: Client
) -> None:
    failed = client.done("throw new Error('<b>no</b>')")["execution_id"]
    completed = client.done("1")["execution_id"]
    visit(ui, server, "runs")
    expect(ui.get_by_role("row", name=failed[:30])).to_contain_text("failed")
    ui.get_by_label("Status").select_option("failed")
    ui.get_by_role("button", name="Show").click()
    expect(ui.get_by_role("row", name=failed[:30])).to_be_visible()
    expect(ui.get_by_role("row", name=completed[:30])).to_have_count(0)
    ui.get_by_role("link", name=failed[:30]).click()
    expect(ui.get_by_text("Error: <b>no</b>")).to_be_visible()
    ui.get_by_role("link", name="Runs").click()
    ui.get_by_role("link", name="Tasks").click()
    expect(ui.get_by_text("No tasks yet")).to_be_visible()


# -- heaps -----------------------------------------------------------------------------


def test_heaps_are_a_tree(
    ui: Page, expect: Any, server: Server, client: Client
) -> None:
    first = client.done("var total = 1", session="ledger")["heap"]
    second = client.done("total += 41", session="ledger")["heap"]
    branch = client.done("total = 'a branch'", heap=first)["heap"]
    visit(ui, server, "heaps")
    tree = ui.get_by_role("main").get_by_role("listitem")
    expect(tree.filter(has_text=second[:12]).first).to_contain_text(
        f"from {first[:12]}"
    )
    keys = [first, second, branch]
    shown = ui.evaluate(
        """() => [...document.querySelectorAll(".tree li")].map((row) =>
          [row.id.slice(2), row.getBoundingClientRect().x])"""
    )
    places = dict(shown)
    assert [key for key, _ in shown if key in keys] == keys
    assert places[first] < places[second] == places[branch]
    ui.get_by_role("link", name=second[:12]).click()
    expect(ui.get_by_label("Code", exact=True)).to_have_text("total += 41")
    came = ui.get_by_role("heading", name="Came from", exact=True).locator("..")
    expect(came).to_contain_text(first[:12])
    ui.get_by_role("button", name="New context from it").click()
    run(ui, "`it is ${total}`")
    expect(cell(ui, -1)).to_contain_text("it is 42")
    visit(ui, server, "heaps", first)
    came = ui.get_by_role("heading", name="What came from it").locator("..")
    expect(came).to_contain_text(second[:12])
    expect(came).to_contain_text(branch[:12])
    ui.on("dialog", lambda dialog: dialog.accept())
    visit(ui, server, "heaps", branch)
    ui.get_by_role("button", name="Delete").click()
    ui.wait_for_url(re.compile("/ui/heaps$"))
    assert client.get(f"/api/heaps/{branch}").status_code == 404


def test_hostile_tags_are_added_found_and_removed(
    ui: Page, expect: Any, server: Server, client: Client
) -> None:
    heap = client.done("1")["heap"]
    visit(ui, server, "heaps", heap)
    name = HOSTILE + "\u202egpj"
    value = "</table><script>hacked=1</script>" + "x" * 4000
    ui.get_by_label("Name").fill(name)
    ui.get_by_label("Value").fill(value)
    ui.get_by_role("button", name="Add").click()
    expect(ui.get_by_role("rowheader")).to_have_text(HOSTILE + "⟨U+202E⟩gpj")
    expect(ui.get_by_label("Name")).to_have_value("")
    assert client.get(f"/api/heaps/{heap}").json()["tags"] == {name: value}
    fits = "document.documentElement.scrollWidth <= innerWidth"
    assert ui.evaluate(fits)
    visit(ui, server, "heaps")
    row = ui.get_by_role("listitem").filter(has_text=heap[:12]).first
    row.get_by_role("link", name=HOSTILE[:20]).click()  # all that have it
    expect(ui.get_by_role("listitem")).to_have_count(1)
    assert ui.evaluate(fits)
    ui.get_by_role("link", name=heap[:12]).click()
    ui.get_by_role("button", name="Remove").click()
    expect(ui.get_by_text("None. Tags are")).to_be_visible()
    assert client.get(f"/api/heaps/{heap}").json()["tags"] == {}
    assert ui.evaluate("typeof hacked") == "undefined"


# -- tools -----------------------------------------------------------------------------

LONG = "a <b>long</b> text \u202e" + "long " * 400
DOCUMENT = {
    "openapi": "3.1.0",
    "info": {"title": "shop", "version": "1"},
    "paths": {
        "/orders": {
            "post": {
                "operationId": "order",
                "summary": f"<script>hacked=1</script>{LONG}",
                "requestBody": {
                    "content": {"application/json": {"schema": {"type": "object"}}}
                },
                "responses": {"204": {"description": "Done."}},
            },
            "get": {
                "operationId": "look",
                "summary": "Look.",
                "responses": {"204": {"description": "Done."}},
            },
        }
    },
}
TASK = """const reply = await tools.shop.order({ body: { note: 'NOTE' } })
  .then(() => 'ordered', (error) => error.message);
return reply"""


@pytest.fixture(scope="module")
def agents() -> Iterator[Server]:
    """A server whose sources may be on this machine."""
    with run_server(*V8_FLAGS, "--sources-private", "--sources-local") as made:
        yield made


@pytest.fixture
def shop(
    agents: Server, evil: Elsewhere, tmp_path: Path, page: Page
) -> Iterator[tuple[Client, Page]]:
    """An agent with the tools of a shop, and the first page of its server."""
    (tmp_path / "shop.json").write_text(json.dumps(DOCUMENT))
    source = {"type": "openapi", "name": "shop", "base_url": evil.url}
    source["document"] = str(tmp_path / "shop.json")
    with connect(agents) as client:
        added = client.post("/sources", json=source)
        assert added.json()["state"] == "ready", added.text
        page.goto(agents.url)
        yield client, page
        for task in client.get("/tasks").json()["tasks"]:
            if not task["endedAt"]:
                client.post(f"/tasks/{task['taskId']}/cancel")
        wait_for(lambda: client.get("/approvals").json()["total"] == 0)
        client.delete("/sources/shop")
        for rule in client.get("/policies").json()["items"]:
            client.delete(f"/policies/{rule['id']}")


def ended(client: Client, task_id: str) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        task: dict[str, Any] = client.get(f"/tasks/{task_id}").json()
        return task if task["endedAt"] else None

    return wait_for(look)


def test_an_approval_is_seen_in_full_and_given(
    shop: tuple[Client, Page], expect: Any, evil: Elsewhere
) -> None:
    client, page = shop
    note = "</pre><img src=x onerror=hacked=1>" + "word " * 1500 + "the end"
    code = TASK.replace("NOTE", note)
    task_id = client.post("/tasks", json={"code": code}).json()["taskId"]
    waiting = page.get_by_role("region", name="1 call waits for a decision")
    expect(page).to_have_title("(1) Contexts · isokernel")
    waiting.get_by_role("link", name="shop.order").click()
    assert client.get("/approvals").json()["total"] == 1
    shown = client.get("/approvals").json()["items"][0]["input"]
    expect(page.get_by_label("Input")).to_contain_text("<img src=x onerror=hacked=1>")
    assert "left out" not in page.get_by_label("Input").inner_text()
    compact = re.sub(r"\s", "", page.get_by_label("Input").inner_text())
    assert compact == re.sub(r"\s", "", shown)
    expect(page.get_by_label("Code", exact=True)).to_have_text(code)
    expect(page.get_by_text("<script>hacked=1</script>a <b>long</b>")).to_be_visible()
    questions: list[str] = []

    def agree(dialog: Dialog) -> None:
        questions.append(dialog.message)
        dialog.accept()

    page.on("dialog", agree)
    page.get_by_role("button", name="Approve").click()
    expect(page.get_by_text("Approved by admin")).to_be_visible()
    assert questions == ["Approve this call of shop.order?"]
    assert ended(client, task_id)["result"] == "ordered"
    assert evil.heard == ["/heard", "/orders"]
    assert page.evaluate("typeof hacked") == "undefined"
    page.get_by_role("link", name=task_id[:20]).click()
    expect(page.get_by_label("Result")).to_have_text('"ordered"')
    page.get_by_role("link", name="Its calls").click()
    expect(page.get_by_role("row").nth(1)).to_contain_text("shop.order")


def test_approvals_are_denied_with_a_reason(
    shop: tuple[Client, Page], expect: Any, evil: Elsewhere
) -> None:
    client, page = shop
    tasks = [
        client.post("/tasks", json={"code": TASK.replace("NOTE", f"number {n}")})
        for n in range(2)
    ]
    first, second = (task.json()["taskId"] for task in tasks)
    page.get_by_role("link", name="Approvals").click()
    expect(page.get_by_role("article")).to_have_count(2)
    one = page.get_by_role("article").filter(has_text="number 1")
    one.get_by_label("Reason").fill("not <today>")
    one.get_by_role("button", name="Deny").click()
    expect(page.get_by_role("article")).to_have_count(1)
    denied = {task["taskId"]: task for task in client.get("/tasks").json()["tasks"]}
    number = first if denied[second]["status"] == "waiting_for_approval" else second
    assert "not <today>" in ended(client, number)["result"]
    # Somebody else decides; the list is told.
    (left,) = client.get("/approvals").json()["items"]
    client.post(f"/approvals/{left['id']}", json={"decision": "denied"})
    expect(page.get_by_text("Nothing waits for a decision")).to_be_visible()
    page.get_by_role("link", name="audit", exact=True).click()
    expect(page.get_by_text("not <today>").first).to_be_visible()
    assert evil.heard == ["/heard"]


def test_a_task_shows_what_it_prints_and_waits_for(
    shop: tuple[Client, Page], expect: Any
) -> None:
    client, page = shop
    code = f"console.log('\\x1b[32mbe' + 'gun'); {TASK}"
    metadata = {"why": "<script>hacked=1</script>"}
    task = client.post("/tasks", json={"code": code, "metadata": metadata}).json()
    page.get_by_role("link", name=task["taskId"][:20]).click()
    expect(page.get_by_role("region", name="Output")).to_contain_text("begun")
    expect(page.get_by_text("<script>hacked=1</script>")).to_be_visible()
    page.get_by_role("link", name="See what is asked").click()
    expect(page.get_by_role("heading", name="shop.order")).to_be_visible()
    page.go_back()
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("cancelled", exact=True)).to_be_visible()
    wait_for(lambda: client.get("/approvals").json()["total"] == 0)


def test_sources_are_added_listed_and_deleted(
    shop: tuple[Client, Page], expect: Any
) -> None:
    client, page = shop
    page.get_by_role("link", name="Sources").click()
    expect(page.get_by_role("row", name="shop")).to_contain_text("ready")
    page.get_by_text("Add a source").click()
    source = page.get_by_role("textbox")
    source.fill('{"type": "graphql", "name": "far", "url": "javascript:1"}')
    page.get_by_role("button", name="Add").click()
    expect(page.get_by_role("status")).to_contain_text("url")
    source.fill('{"type": "graphql", "name": "far", "url": "http://127.0.0.1:9/"}')
    source.press("Control+Enter")
    page.wait_for_url(re.compile("/ui/sources/far$"))
    expect(page.get_by_text("can't be reached").first).to_be_visible()
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Delete").click()
    page.wait_for_url(re.compile("/ui/sources$"))
    expect(page.get_by_role("row", name="far")).to_have_count(0)
    page.get_by_role("link", name="shop").click()
    expect(page.get_by_text("shop.order")).to_be_visible()
    expect(page.get_by_text("⟨U+202E⟩")).to_be_visible()
    page.get_by_role("button", name="List its tools anew").click()
    expect(page.get_by_role("status")).to_have_text("Listed")
    assert page.evaluate("typeof hacked") == "undefined"
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert [one["name"] for one in client.get("/sources").json()["items"]] == ["shop"]


def test_policies_are_added_and_deleted_and_in_the_audit(
    shop: tuple[Client, Page], expect: Any
) -> None:
    client, page = shop
    page.get_by_role("link", name="Policies").click()
    expect(page.get_by_text("No rules:")).to_be_visible()
    page.get_by_label("Tools").fill("shop.<b>")
    page.get_by_role("button", name="Add").click()
    expect(page.get_by_role("status")).to_contain_text("tool")
    page.get_by_label("Tools").fill("shop.order")
    page.get_by_label("Client").fill("<img src=x onerror=hacked=1>")
    page.get_by_label("Conditions").fill(
        '[{"key": "body.note", "operator": "contains", "value": "<i>"}]'
    )
    page.get_by_role("button", name="Add").click()
    row = page.get_by_role("row", name="shop.order")
    expect(row).to_contain_text("deny")
    expect(row).to_contain_text("<img src=x onerror=hacked=1>")
    expect(row).to_contain_text('body.note contains "<i>"')
    (rule,) = client.get("/policies").json()["items"]
    assert (rule["effect"], rule["tool"]) == ("deny", "shop.order")
    page.on("dialog", lambda dialog: dialog.accept())
    row.get_by_role("button", name="Delete").click()
    expect(row).to_have_count(0)
    page.get_by_role("link", name="Audit").click()
    page.get_by_label("Kind").select_option("policy.deleted")
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_role("row").nth(1)).to_contain_text("shop.order")
    page.get_by_text("input").first.click()
    expect(page.get_by_text("onerror=hacked=1").first).to_be_visible()
    page.get_by_label("Tool or name").fill("nothing")
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_text("No such entries")).to_be_visible()
    assert page.evaluate("typeof hacked") == "undefined"


# -- keys ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def guarded() -> Iterator[Server]:
    made = Server(*V8_FLAGS, env={"ISOKERNEL_API_KEY": KEY})
    yield made
    assert made.stop() == 0
    assert KEY not in made.said


def test_keys(guarded: Server, page: Page, expect: Any) -> None:
    page.goto(f"{guarded.url}/ui/contexts/nobody?path=a")
    expect(page.get_by_label("API key or token")).to_be_focused()
    page.keyboard.type("wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("API key")
    page.get_by_label("API key or token").fill(KEY)
    page.get_by_role("button", name="Sign in").click()
    expect(page).to_have_url(f"{guarded.url}/ui/contexts/nobody?path=a")
    (cookie,) = page.context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
    assert KEY not in str(cookie)
    page.goto(guarded.url)
    page.get_by_role("button", name="New context").click()
    run(page, "6 * 7")
    expect(cell(page, 0)).to_contain_text("42")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    page.goto(guarded.url)
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_a_page_of_another_port_cannot_act(
    guarded: Server, server: Server, page: Page, expect: Any
) -> None:
    """It is the same site to the browser, which sends the cookie along."""
    page.goto(guarded.url)
    page.get_by_label("API key or token").fill(KEY)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Contexts")).to_be_visible()
    page.goto(f"{server.url}/openapi.json")
    page.evaluate(
        """(url) => {
          const form = document.createElement("form");
          Object.assign(form, { method: "post", action: url });
          document.body.append(form);
          form.submit();
        }""",
        f"{guarded.url}/ui/contexts",
    )
    page.wait_for_url(f"{guarded.url}/ui/contexts")
    with connect(guarded, **{"X-API-Key": KEY}) as client:
        before = len(client.get("/contexts").json()["items"])
        expect(page.locator("body")).to_contain_text(re.compile("Origin|origin|sign"))
        assert len(client.get("/contexts").json()["items"]) == before


# -- for everybody ---------------------------------------------------------------------


def test_keyboard_is_enough(ui: Page, expect: Any, client: Client) -> None:
    ui.keyboard.press("Tab")
    expect(ui.get_by_role("link", name="Skip to the content")).to_be_focused()
    ui.keyboard.press("Enter")
    ui.keyboard.press("Tab")
    expect(ui.get_by_label("Language")).to_be_focused()
    ui.keyboard.press("Tab")
    ui.keyboard.press("Enter")
    expect(ui.get_by_text("No cells have run here yet")).to_be_visible()
    ui.get_by_label("Run a cell").focus()
    ui.keyboard.type("1 + 1")
    ui.keyboard.press("Control+Enter")
    expect(cell(ui, 0)).to_contain_text("2")
    assert len(client.get("/contexts").json()["items"]) == 1


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_pages_fit(
    ui: Page, expect: Any, server: Server, client: Client, width: int
) -> None:
    ui.set_viewport_size({"width": width, "height": 800})
    here = client.create()
    client.run("'x'.repeat(500)", context_id=here)
    client.run(
        SHOW.format("{ 'text/html': '<table><tr><td>a</table>' }"), context_id=here
    )
    run_id = client.done("console.log('x'.repeat(500))")["execution_id"]
    places = ["", f"contexts/{here}", "runs", f"runs/script/{run_id}", "heaps"]
    places += ["approvals", "sources", "policies", "audit", "contexts/nobody"]
    for place in places:
        visit(ui, server, place)
        expect(ui.get_by_role("main")).to_be_visible()
        assert ui.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_is_readable(
    ui: Page, expect: Any, server: Server, client: Client, scheme: Any
) -> None:
    ui.emulate_media(color_scheme=scheme)
    here = client.create()
    client.run(
        "console.log('\\x1b[31ma\\x1b[32mb\\x1b[33mc\\x1b[34md')", context_id=here
    )
    client.run("nothing", context_id=here)
    visit(ui, server, "contexts", here)
    expect(cell(ui, 1)).to_be_visible()
    contrasts = ui.evaluate(
        """() => {
          const parts = (text) => text.match(/[\\d.]+/g).map(Number);
          const light = (text) => {
            const [r, g, b] = parts(text).map((part) => {
              const share = part / 255;
              if (share <= 0.04045) return share / 12.92;
              return ((share + 0.055) / 1.055) ** 2.4;
            });
            return 0.2126 * r + 0.7152 * g + 0.0722 * b;
          };
          const behind = (element) => {
            const color = getComputedStyle(element).backgroundColor;
            if (parts(color)[3] === 0) return behind(element.parentElement);
            return light(color);
          };
          const found = [];
          for (const element of document.querySelectorAll("body *")) {
            const own = [...element.childNodes].some(
              (node) => node.nodeType === Node.TEXT_NODE && node.nodeValue.trim(),
            );
            if (!own || !element.checkVisibility()) continue;
            const text = light(getComputedStyle(element).color);
            const back = behind(element);
            const [low, high] = [Math.min(text, back), Math.max(text, back)];
            found.push([(high + 0.05) / (low + 0.05), element.outerHTML.slice(0, 80)]);
          }
          return found;
        }"""
    )
    assert len(contrasts) > 30
    assert [one for one in contrasts if one[0] < 4.5] == []  # WCAG 2.2, 1.4.3
