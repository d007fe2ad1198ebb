"""The kernels that are compared, and how each says the same thing."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

import contextlib


@dataclass(frozen=True, kw_only=True)
class Peer:
    """One kernel. Code is in its language; an empty string means it has no such thing.

    Attributes:
        spec: Name of its kernelspec.
        title: What the table calls it.
        lines: Prints {n} numbered lines.
        busy: Loops for ever.
        pending: Awaits something that never comes.
        state: Sets `kept` to 5.
        ask: Shows `kept`.
    """

    spec: str
    title: str
    language: str
    lines: str
    log: str
    busy: str
    pending: str
    state: str = "globalThis.kept = 5;"
    ask: str = "kept"
    sleep: str = "await new Promise((done) => setTimeout(done, 2000));"
    clear: str = ""
    update: str = ""
    rich: dict[str, str] | None = None
    comm: str = ""
    error: str = "throw new TypeError('x');"


_JS_LINES = "for (let i = 0; i < {n}; i++) console.log(`line ${{i}}`);"
_FOREVER = "await new Promise(() => { setInterval(() => {}, 1000); });"

JAVASCRIPT = Peer(
    spec="v8-javascript",
    title="isokernel JavaScript",
    language="javascript",
    lines=_JS_LINES,
    log="console.log({text!r});",
    busy="while (true) {}",
    pending=_FOREVER,
    clear="clearOutput();",
    update="const h = display('first', {id: 'd1'}); h.update('second');",
    rich={
        "html": "display.html('<b>x</b>')",
        "svg": "display.svg('<svg/>')",
        "png": "display.png(Uint8Array.of(137, 80, 78, 71, 13, 10, 26, 10))",
        "json": "display.json({a: [1]})",
        "markdown": "display.md('**x**')",
        "custom": "display({'application/x-own+json': {a: 1}}, {raw: true})",
    },
    comm="new Jupyter.Comm('target', {data: 1});",
)
TYPESCRIPT = Peer(
    **{
        **JAVASCRIPT.__dict__,
        "spec": "v8-typescript",
        "title": "isokernel TypeScript",
        "language": "typescript",
    }
)
_SHOW = "await Deno.jupyter.broadcast('{kind}', {content});"
DENO = Peer(
    spec="deno",
    title="Deno",
    language="typescript",
    lines=_JS_LINES,
    log="console.log({text!r});",
    busy="while (true) {}",
    pending=_FOREVER,
    clear=_SHOW.format(kind="clear_output", content="{wait: false}"),
    update=(
        "await Deno.jupyter.broadcast('display_data', {data: {'text/plain': 'first'}, "
        "metadata: {}, transient: {display_id: 'd1'}});"
        "await Deno.jupyter.broadcast('update_display_data', {data: {'text/plain': "
        "'second'}, metadata: {}, transient: {display_id: 'd1'}});"
    ),
    rich={
        "html": "Deno.jupyter.html`<b>x</b>`",
        "svg": "Deno.jupyter.svg`<svg/>`",
        "png": "Deno.jupyter.image(Uint8Array.of(137, 80, 78, 71, 13, 10, 26, 10))",
        "json": (
            "await Deno.jupyter.display({'application/json': {a: [1]}}, {raw: true})"
        ),
        "markdown": "Deno.jupyter.md`**x**`",
        "custom": (
            "await Deno.jupyter.display({'application/x-own+json': {a: 1}},{raw: true})"
        ),
    },
    comm=(
        "await Deno.jupyter.broadcast('comm_open', "
        "{comm_id: 'c1', target_name: 'target', data: {}});"
    ),
)
PYTHON = Peer(
    spec="python3",
    title="python3 (ipykernel)",
    language="python",
    lines="for i in range({n}): print('line', i)",
    log="print({text!r})",
    busy="while True: pass",
    pending="import asyncio; await asyncio.sleep(1000)",
    state="kept = 5",
    sleep="import asyncio; await asyncio.sleep(2)",
    clear="from IPython.display import clear_output; clear_output()",
    update=(
        "from IPython.display import display; "
        "h = display('first', display_id='d1'); h.update('second')"
    ),
    rich={
        "html": "from IPython.display import HTML; HTML('<b>x</b>')",
        "svg": "from IPython.display import SVG; SVG('<svg/>')",
        "png": (
            "from IPython.display import Image; "
            "Image(b'\\x89PNG\\r\\n\\x1a\\n' + bytes(24), format='png')"
        ),
        "json": "from IPython.display import JSON; JSON({'a': [1]})",
        "markdown": "from IPython.display import Markdown; Markdown('**x**')",
        "custom": (
            "from IPython.display import display; "
            "display({'application/x-own+json': {'a': 1}, 'text/plain': ''}, raw=True)"
        ),
    },
    comm="from comm import create_comm; create_comm('target')",
    error="raise TypeError('x')",
)
PEERS = (JAVASCRIPT, TYPESCRIPT, DENO, PYTHON)
OURS = ("v8-javascript", "v8-typescript")


def available() -> list[Peer]:
    """The kernels that this environment has."""
    from jupyter_client.kernelspec import KernelSpecManager  # noqa: PLC0415

    known = KernelSpecManager().find_kernel_specs()
    return [peer for peer in PEERS if peer.spec in known]


@contextlib.contextmanager
def environment() -> Iterator[None]:
    """A folder for Jupyter's data that is thrown away, with Deno's kernelspec in it.

    No history of the user's is read or written.
    """
    with tempfile.TemporaryDirectory(prefix="isokernel-bench-") as folder:
        old = dict(os.environ)
        os.environ["JUPYTER_DATA_DIR"] = folder
        os.environ["IPYTHONDIR"] = f"{folder}/ipython"
        os.environ["ISOKERNEL_HISTORY"] = f"{folder}/history.sqlite"
        program = shutil.which("deno")
        if program:
            spec = Path(folder) / "kernels" / "deno"
            spec.mkdir(parents=True)
            (spec / "kernel.json").write_text(json.dumps(_deno_spec(program)))
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(old)


def _deno_spec(program: str) -> dict[str, object]:
    """What `deno jupyter --install` writes."""
    return {
        "argv": [program, "jupyter", "--kernel", "--conn", "{connection_file}"],
        "display_name": "Deno",
        "language": "typescript",
    }
