"""A person's work in JupyterLab: run, stop, complete, look up, answer, start anew."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
import pytest
from tests.support.lab import Notebook
from tests.support.waiting import DEADLINE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, Page
    from tests.support.lab import Lab

pytestmark = pytest.mark.timeout(180)

EXAMPLES = Path(__file__).parents[2] / "notebooks"
TITLES = {
    "v8-javascript": "JavaScript (V8)",
    "v8-typescript": "TypeScript (V8)",
}
_ANSI = re.compile(r"\x1b\[[\d;]*m")  # colours, which are no text in a page


@pytest.fixture(scope="module")
def started(lab: Lab, browser: Browser) -> Iterator[Page]:
    """JupyterLab in a page, for all tests here: its start computes for 5 s and more."""
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    page.set_default_timeout(DEADLINE * 1000)
    lab.start(page)
    yield page
    page.close()


@pytest.fixture
def page(started: Page, lab: Lab) -> Iterator[Page]:
    """JupyterLab with nothing open. What it logs as an error fails the test."""
    errors: list[str] = []

    def note(error: object) -> None:
        errors.append(str(error))

    started.on("pageerror", note)
    yield started
    started.remove_listener("pageerror", note)
    # What the page still waits for from a kernel is an error when the kernel ends.
    lab.close(started)
    assert errors == []


def stored(path: Path) -> Any:
    return nbformat.read(path, as_version=4)


def texts(outputs: list[Any]) -> list[str | re.Pattern[str]]:
    """What a person reads in outputs; anything where it is no plain text."""
    return [
        output.text
        if output.output_type == "stream"
        else _ANSI.sub("", "\n".join(output.traceback))
        if output.output_type == "error"
        else output.data["text/plain"]
        if list(output.data) == ["text/plain"]
        else re.compile("^")
        for output in outputs
    ]


@pytest.mark.parametrize("title", TITLES.values())
def test_launcher_offers_the_kernels_with_their_logos(
    page: Page, expect: Any, title: str
) -> None:
    cards = page.locator(f".jp-LauncherCard[title='{title}']")
    expect(cards).to_have_count(2)  # as a notebook and as a console
    expect(cards.first.locator("img")).to_have_js_property("complete", value=True)
    width = "element => element.naturalWidth"
    assert cards.first.locator("img").evaluate(width) > 0
    cards.first.click()
    kernel = page.locator(".jp-Toolbar-kernelName")
    expect(kernel).to_have_text(title)
    Notebook(page)  # which waits until its kernel is connected


@pytest.mark.parametrize(
    "name",
    [
        "tour",
        # tests/test_notebooks has all of them run and compared each time.
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("rich_output", "typescript", "data_analysis")
        ),
    ],
)
def test_run_all_gives_the_stored_outputs(
    lab: Lab, page: Page, expect: Any, name: str
) -> None:
    example = stored(EXAMPLES / f"{name}.ipynb")
    blank = stored(EXAMPLES / f"{name}.ipynb")
    for cell in blank.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    shutil.copy(EXAMPLES / "penguins.csv", lab.folder)
    notebook = lab.open(page, f"{name}.ipynb", blank)
    notebook.run_all()
    for number, cell in enumerate(example.cells):
        if cell.cell_type == "code":
            if not cell.metadata.get("jupyter", {}).get("source_hidden"):
                count = f"[{cell.execution_count}]:"
                expect(notebook.prompt(number)).to_have_text(count)
            expect(notebook.outputs(number)).to_have_text(texts(cell.outputs))
    notebook.idle()


def test_rich_outputs_are_drawn(notebook: Callable[..., Notebook], expect: Any) -> None:
    book = notebook(
        "display.table([{ name: 'Ada', born: 1815 }]);",
        "svg`<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'></svg>`",
        "display.latex('$$x^2$$');",
        """({
          $schema: "https://vega.github.io/schema/vega-lite/v5.json",
          data: { values: [{ x: 1, y: 2 }, { x: 2, y: 3 }] },
          mark: "line",
          encoding: { x: { field: "x" }, y: { field: "y" } },
        })""",
        "const handle = display.html('<i>before</i>');",
        "handle.update(html`<i>after</i>`);",
        "console.log('gone'); clearOutput(); console.log('there');",
        "({ type: 'Point', coordinates: [8, 47] })",
    )
    book.run_all()
    expect(book.outputs(0).locator("td")).to_have_text(["Ada", "1815"])
    expect(book.outputs(1).locator("svg, img")).to_have_count(1)
    expect(book.outputs(2).locator("mjx-container")).to_have_count(1)
    drawn = book.outputs(3).locator(".vega-embed canvas, .vega-embed svg.marks")
    expect(drawn.first).to_be_visible()
    expect(book.outputs(4).locator("i")).to_have_text("after")
    expect(book.outputs(5)).to_have_count(0)
    expect(book.outputs(6)).to_have_text("there")
    expect(book.outputs(7).locator("svg, img")).to_have_count(1)


@pytest.mark.parametrize(
    ("kernel", "endless"),
    [
        ("v8-javascript", "for (;;) {}"),
        ("v8-typescript", "await new Promise(() => {})"),
        pytest.param("v8-typescript", "for (;;) {}", marks=pytest.mark.slow),
        pytest.param(
            "v8-javascript", "await new Promise(() => {})", marks=pytest.mark.slow
        ),
    ],
)
def test_stop_button_stops_and_keeps_the_state(
    notebook: Callable[..., Notebook], expect: Any, kernel: str, endless: str
) -> None:
    code = f"let kept = 41; console.log('begun'); {endless}"
    book = notebook(code, "kept + 1", kernel=kernel)
    book.start(0)
    expect(book.outputs(0)).to_have_text("begun")
    book.busy()
    book.stop()
    expect(book.outputs(0).nth(1)).to_contain_text("KeyboardInterrupt")
    book.idle()
    book.run(1)
    expect(book.outputs(1)).to_have_text("42")


def test_cells_queued_behind_an_error_do_not_run(
    notebook: Callable[..., Notebook], expect: Any
) -> None:
    # Without the question it could fail before the page has sent the others.
    failing = "prompt('Go on?');\nnull.property"
    book = notebook("let ran = 0;", failing, "ran = 1;", "ran")
    book.run(0)
    book.run_all()
    expect(book.prompt(3)).to_have_text("[*]:")
    book.input_box(1).press("Enter")
    expect(book.outputs(1).last).to_contain_text("at cell 3:2:6")
    book.idle()
    expect(book.prompt(2)).to_have_text("[ ]:")
    book.run(3)
    expect(book.outputs(3)).to_have_text("0")


def test_late_output_goes_to_its_own_cell(
    notebook: Callable[..., Notebook], expect: Any
) -> None:
    book = notebook(
        "setTimeout(() => console.log('late'), 300); 'started'",
        "let passed; await new Promise((done) => setTimeout(done, 600)); 'mine'",
        "setTimeout(() => console.log('while idle'), 300); 'ended'",
    )
    book.run_all()
    expect(book.outputs(1)).to_have_text("'mine'")
    expect(book.outputs(0)).to_have_text(["'started'", "late"])
    expect(book.outputs(2)).to_have_text(["'ended'", "while idle"])


def test_completion_shows_names_with_their_types(
    notebook: Callable[..., Notebook], expect: Any, page: Page
) -> None:
    book = notebook("const thing = { alpha: 1, beta() {} }; 0", "thing.")
    book.run(0)
    book.edit(1)
    page.keyboard.press("Tab")
    items = page.locator(".jp-Completer .jp-Completer-item")
    expect(items.nth(0)).to_contain_text("alpha")
    expect(items.nth(1).locator(".jp-Completer-typeExtended")).to_have_text("function")
    page.keyboard.press("Enter")
    expect(book.cell(1).locator(".cm-content")).to_have_text("thing.alpha")


def test_tooltip_shows_signature_and_documentation(
    notebook: Callable[..., Notebook], expect: Any, page: Page
) -> None:
    book = notebook("/** Adds two numbers. */\nfunction add(a, b) {}", "add(")
    book.run(0)
    book.edit(1)
    page.keyboard.press("Shift+Tab")
    expect(page.locator(".jp-Tooltip")).to_contain_text("add(a, b)")
    expect(page.locator(".jp-Tooltip")).to_contain_text("Adds two numbers.")


def test_input_box_answers_prompt_and_getpass(
    notebook: Callable[..., Notebook], expect: Any
) -> None:
    book = notebook("prompt('Your name?')", "Jupyter.getpass('Secret:').length")
    book.start(0)
    expect(book.cell(0).locator(".jp-Stdin-prompt")).to_contain_text("Your name?")
    book.input_box(0).fill("Grace")
    book.input_box(0).press("Enter")
    expect(book.outputs(0).last).to_have_text("'Grace'")
    book.start(1)
    expect(book.input_box(1)).to_have_attribute("type", "password")
    book.input_box(1).fill("hunter2")
    book.input_box(1).press("Enter")
    expect(book.outputs(1).last).to_have_text("7")
    expect(book.cell(1)).not_to_contain_text("hunter2")


def test_answer_that_comes_too_late_is_not_the_next_one(
    notebook: Callable[..., Notebook], expect: Any
) -> None:
    book = notebook("prompt('first?')", "prompt('second?')")
    book.start(0)
    book.input_box(0).wait_for()
    book.stop()
    book.idle()
    expect(book.outputs(0).first).to_contain_text("KeyboardInterrupt")
    book.input_box(0).fill("stale")
    book.input_box(0).press("Enter")
    book.start(1)
    book.input_box(1).fill("fresh")
    book.input_box(1).press("Enter")
    expect(book.outputs(1).last).to_have_text("'fresh'")


def test_restart_begins_anew(notebook: Callable[..., Notebook], expect: Any) -> None:
    book = notebook("globalThis.kept = 1", "typeof kept")
    book.run(0)
    book.restart()
    expect(book.prompt(0)).to_have_text("[1]:")
    book.idle()
    book.run(1)
    expect(book.outputs(1)).to_have_text("'undefined'")
    expect(book.prompt(1)).to_have_text("[1]:")


@pytest.mark.parametrize(
    ("kernel", "code", "keyword"),
    [
        ("v8-javascript", "const answer = 42", "const"),
        ("v8-typescript", "interface Person { name: string }", "interface"),
    ],
)
def test_code_is_highlighted_in_its_language(
    notebook: Callable[..., Notebook], expect: Any, kernel: str, code: str, keyword: str
) -> None:
    book = notebook(code, kernel=kernel)
    editor = book.cell(0).locator(".cm-content")
    language = kernel.removeprefix("v8-")
    expect(editor).to_have_attribute("data-language", language)
    expect(editor.locator("span").first).to_have_text(keyword)


def test_comm_that_the_page_opens_is_answered(
    notebook: Callable[..., Notebook], expect: Any, page: Page
) -> None:
    book = notebook(
        """Jupyter.comms.registerTarget("echo", (comm) => {
          comm.onMsg = ({ content }) => {
            console.log("got", content.data.word);
            comm.send({ word: content.data.word.toUpperCase() });
          };
        });"""
    )
    book.run(0)
    answer = page.evaluate(
        """async () => {
          const widgets = [...jupyterapp.shell.widgets("main")];
          const panel = widgets.find((widget) => widget.sessionContext);
          const comm = panel.sessionContext.session.kernel.createComm("echo");
          const answer = new Promise((done) => {
            comm.onMsg = (message) => done(message.content.data.word);
          });
          comm.open();
          comm.send({ word: "hello" });
          return answer;
        }"""
    )
    assert answer == "HELLO"
    expect(book.outputs(0)).to_have_text("got hello")


def test_files_beside_the_notebook_shadow_nothing(
    lab: Lab, page: Page, expect: Any
) -> None:
    folder = lab.folder / "shadows"
    folder.mkdir()
    for name in ("isokernel", "zmq", "json", "jupyter_client", "msgspec"):
        (folder / f"{name}.py").write_text("raise SystemExit", encoding="utf-8")
    cells = ["6 * (7 as number)"]
    notebook = lab.write(page, "shadows/book.ipynb", "v8-typescript", cells)
    notebook.run(0)
    expect(notebook.outputs(0)).to_have_text("42")
