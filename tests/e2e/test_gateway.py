"""People in JupyterLab and agents over HTTP, in one context."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import httpx
import nbformat
import pytest
from tests.support.client import Client, connect
from tests.support.lab import Lab, Notebook, open_lab
from tests.support.server import START, Server, run_server
from tests.support.waiting import DEADLINE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.timeout(240)

ATTACH = """async ([path, id]) => {
  await jupyterapp.serviceManager.sessions.startNew(
    { path, name: path, type: "notebook", kernel: { id } });
}"""


RUNNING = """async () => {
  const { kernels } = jupyterapp.serviceManager;
  await kernels.refreshRunning();
  return [...kernels.running()];
}"""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with run_server("--languages", "python,javascript,typescript") as server:
        yield server


@pytest.fixture(scope="module")
def gateway(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    home, folder = (tmp_path_factory.mktemp(name) for name in ("home", "notebooks"))
    flags = (f"--gateway-url={server.url}/jupyter",)
    with open_lab(home, folder, flags=flags) as lab:
        yield lab


@pytest.fixture(scope="module")
def own(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """`isokernel lab`, which shows all contexts."""
    home, folder = (tmp_path_factory.mktemp(name) for name in ("home", "notebooks"))
    program = ("-c", START, "lab", server.url)
    with open_lab(home, folder, program=program) as lab:
        yield lab


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with connect(server) as client:
        yield client


@pytest.fixture
def page(gateway: Lab, browser: Browser) -> Iterator[Page]:
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    page.set_default_timeout(DEADLINE * 1000)
    gateway.start(page)
    yield page
    page.close()


def attach(page: Page, lab: Lab, client: Client, context: str, *code: str) -> Notebook:
    """Open a notebook that uses a context which is there."""
    kernels = client.get("/jupyter/api/kernels").json()
    (kernel,) = [one for one in kernels if one["context_id"] == context]
    name = f"{kernel['name']}.ipynb"
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(text) for text in code],
        metadata={"kernelspec": {"name": kernel["name"], "display_name": "x"}},
    )
    nbformat.write(notebook, lab.folder / name)
    page.evaluate(ATTACH, [name, kernel["id"]])
    return lab.open(page, name, notebook)


@pytest.mark.parametrize("language", ["javascript", "python"])
def test_a_person_goes_on_where_an_agent_is(
    page: Page, gateway: Lab, client: Client, expect: Any, language: str
) -> None:
    made = client.run("answer = 41; answers = 1", language=language)["context_id"]
    code = ("answer = answer + 1\nanswer", "answ")
    notebook = attach(page, gateway, client, made, *code)
    notebook.run(0)
    expect(notebook.outputs(0)).to_have_text("42")
    assert client.text("answer", context_id=made) == "42"
    notebook.edit(1)
    page.keyboard.press("Tab")
    items = page.locator(".jp-Completer .jp-Completer-item")
    expect(items.nth(0)).to_contain_text("answer")
    page.keyboard.press("Enter")
    expect(notebook.cell(1).locator(".cm-content")).to_have_text("answer")
    expect(notebook.prompt(0)).to_have_text(re.compile(r"\[2\]:"))
    # Who leaves ends nothing that an agent has made.
    gateway.close(page)
    assert client.text("answer", context_id=made) == "42"


def test_a_notebook_of_ones_own(
    page: Page, gateway: Lab, client: Client, expect: Any
) -> None:
    before = len(client.get("/contexts").json()["items"])
    notebook = gateway.write(
        page,
        "own.ipynb",
        "v8-typescript",
        ["const n: number = 6; n * 7", "for (;;);", "display.html('<b>bold</b>')"],
    )
    notebook.run(0)
    expect(notebook.outputs(0)).to_have_text("42")
    notebook.start(1)
    notebook.busy()
    notebook.stop()
    notebook.finished(1)
    expect(notebook.outputs(1)).to_contain_text("interrupted")
    notebook.run(2)
    expect(notebook.outputs(2).locator("b")).to_have_text("bold")
    notebook.restart()
    notebook.idle()
    notebook.edit(2)
    page.keyboard.press("Enter")
    page.keyboard.type("; typeof n")
    page.keyboard.press("Control+Enter")
    expect(notebook.outputs(2).last).to_have_text("'undefined'")
    gateway.close(page)
    assert len(client.get("/contexts").json()["items"]) == before
    for title in ("Python 3 (ipykernel)", "TypeScript (V8)"):
        logo = page.locator(f".jp-LauncherCard[title='{title}'] img").first
        expect(logo).to_have_js_property("complete", value=True)
        assert logo.evaluate("element => element.naturalWidth") > 0, title


def test_isokernel_lab_lists_all_contexts(
    own: Lab, browser: Browser, client: Client, expect: Any
) -> None:
    made = client.run("const mine = 6", language="typescript")["context_id"]
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    page.set_default_timeout(DEADLINE * 1000)
    own.start(page)
    listed = page.evaluate(RUNNING)
    (kernel,) = [one for one in listed if one["context_id"] == made]
    notebook = attach(page, own, client, made, "mine * 7")
    notebook.run(0)
    expect(notebook.outputs(0)).to_have_text("42")
    assert kernel["id"] in {one["id"] for one in page.evaluate(RUNNING)}
    page.close()


def test_a_notebook_of_a_history_goes_on_in_its_context(
    own: Lab, browser: Browser, client: Client, expect: Any
) -> None:
    made = client.run("const mine = 6; mine", language="typescript")["context_id"]
    before = len(client.get("/contexts").json()["items"])
    text = client.get(f"/contexts/{made}/notebook").text
    history = nbformat.reads(text, as_version=4)
    history.cells.append(nbformat.v4.new_code_cell("mine * 7"))
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    page.set_default_timeout(DEADLINE * 1000)
    own.start(page)
    notebook = own.open(page, "history.ipynb", history)
    notebook.run(1)
    expect(notebook.outputs(1)).to_have_text("42")
    assert client.show(made)["execution_count"] == 2
    # One that is gone is another context's from then on.
    own.close(page)
    assert client.show(made)["state"] == "idle"
    client.delete(f"/contexts/{made}")
    again = own.open(page, "history.ipynb", history)
    again.run(1)
    expect(again.outputs(1)).to_contain_text("ReferenceError")
    assert len(client.get("/contexts").json()["items"]) == before
    own.close(page)
    page.close()


def test_isokernel_lab_ends_only_what_it_has_started(
    server: Server, client: Client, tmp_path: Path
) -> None:
    made = client.run("1", language="javascript")["context_id"]
    program = ("-c", START, "lab", server.url)
    flags = ("--ServerApp.disable_check_xsrf=True",)
    with open_lab(tmp_path / "home", tmp_path, flags=flags, program=program) as lab:
        address = lab.url.removesuffix("/lab")
        listed = httpx.get(f"{address}/api/kernels", timeout=DEADLINE).json()
        assert made in {one["context_id"] for one in listed}
        body = {"name": "v8-javascript"}
        started = httpx.post(f"{address}/api/kernels", json=body, timeout=DEADLINE)
        own = started.json()["context_id"]
        assert client.show(own)["state"] == "idle"
    left = {one["id"] for one in client.get("/contexts").json()["items"]}
    assert made in left
    assert own not in left
