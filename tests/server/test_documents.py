"""Every example of README and docs is run from the text itself."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import time
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.agents import connect_agent
from tests.support.documents import DOCUMENTS, Block, Expectation, blocks, commands
from tests.support.server import V8_FLAGS
from tests.support.waiting import DEADLINE

from isoserver.cli.serve import load
from isoserver.contexts.languages import Languages

if TYPE_CHECKING:
    from collections.abc import Callable

    from mcp import Client
    from tests.support.server import Server

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]

_OUTPUTS = {"text", "json"}
_PICTURES = {"layers", "map"}
_PLACE = re.compile(r"(?:127\.0\.0\.1|localhost):3000")
_CALL = re.compile(r"^(\w+) (\{.*\})\n((?: .*\n?)+)", re.MULTILINE)
_KERNEL = """
import sys
from jupyter_client.manager import start_new_kernel

manager, client = start_new_kernel(kernel_name=sys.argv[1])
code = open(sys.argv[2]).read()
reply = client.execute_interactive(code, timeout=30, output_hook=lambda message: None)
client.stop_channels()
manager.shutdown_kernel(now=True)
assert reply["content"]["status"] == "ok", reply["content"]
"""


class Reader:
    """Somebody who follows one document, with a server and a folder of their own."""

    def __init__(self, servers: Callable[..., Server], folder: Path) -> None:
        self._servers = servers
        self.folder = folder
        self.expectation = Expectation()

    @cached_property
    def server(self) -> Server:
        """Started for the first example that is about one."""
        return self._servers("--data-dir", str(self.folder / "server"))

    def shell(self, command: str) -> str:
        """Run commands; what they print."""
        command = self.expectation.translate(command)
        command = _PLACE.sub(lambda _: self.server.url.removeprefix("http://"), command)
        programs = str(Path(sys.executable).parent)
        done = subprocess.run(
            ["/bin/bash", "-euo", "pipefail", "-c", command],
            cwd=self.folder,
            env={
                **os.environ,
                "PATH": f"{programs}:{os.environ['PATH']}",
                "HOME": str(self.folder),
                "ISOKERNEL_DATA_DIR": str(self.folder / "data"),
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=DEADLINE,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def console(self, block: Block) -> None:
        """Run each command, and compare what it prints."""
        for command, output in commands(block.text):
            if not output:
                self.shell(command)
                continue
            # What the document shows may come a moment after what led to it.
            end = time.monotonic() + DEADLINE
            while not self.expectation.check(output, seen := self.shell(command)):
                assert time.monotonic() < end, f"{command}\n{output}\nit is\n{seen}"

    def code(self, block: Block) -> str:
        """Run Python; what it prints."""
        file = self.folder / "example.py"
        file.write_text(block.text, encoding="utf-8")
        # The client of a server finds it there.
        where = "ISOKERNEL_URL=http://127.0.0.1:3000 "
        needs_server = "isokernel.client" in block.text
        return self.shell(
            f"{where if needs_server else ''}'{sys.executable}' example.py"
        )

    def cell(self, block: Block) -> None:
        """Run JavaScript or TypeScript in a Jupyter kernel."""
        name = {"js": "v8-javascript", "ts": "v8-typescript"}[block.kind]
        (self.folder / "cell").write_text(block.text, encoding="utf-8")
        (self.folder / "run.py").write_text(_KERNEL, encoding="utf-8")
        self.shell(f"'{sys.executable}' run.py {name} cell")

    def configuration(self, block: Block) -> None:
        """Read a configuration file, whose secrets are there."""
        file = self.folder / "isokernel.toml"
        for name in ("research-admin", "search"):
            (self.folder / name).write_text("0123456789abcdef", encoding="utf-8")
        text = block.text.replace("/run/secrets/", f"{self.folder}/")
        file.write_text(text, encoding="utf-8")
        with pytest.MonkeyPatch.context() as patch:
            for name in re.findall(r'env = "(\w+)"', text):
                patch.setenv(name, "abcdef0123456789")
            given = ["--config", str(file), *V8_FLAGS]
            assert load(given).config == file

    async def tools(self, block: Block) -> None:
        """Call the tools of MCP, and compare their answers."""
        async with connect_agent(self.server.url) as agent:
            for name, given, answer in _CALL.findall(block.text):
                arguments = json.loads(self.expectation.translate(given))
                wanted = answer.strip().removeprefix("→ ")
                end = time.monotonic() + DEADLINE
                while not self.expectation.check(
                    wanted, said := await _call(agent, name, arguments)
                ):
                    assert time.monotonic() < end, f"{name}\n{wanted}\nit is\n{said}"


async def _call(agent: Client, name: str, arguments: dict[str, Any]) -> str:
    result: Any = await agent.call_tool(name, arguments)
    text = result.content[0].text
    return f"isError: {text}" if result.is_error else text


def _has_output(following: list[Block]) -> bool:
    return bool(following) and following[0].kind in _OUTPUTS


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.stem)
async def test_examples_are_as_they_say(
    path: Path, servers: Callable[..., Server], tmp_path: Path
) -> None:
    reader = Reader(servers, tmp_path)
    found = blocks(path)
    while found:
        block = found.pop(0)
        if block.untested or block.kind in _PICTURES:
            continue
        if block.kind in {"sh", "python"}:
            run = reader.shell if block.kind == "sh" else None
            output = run(block.text) if run else reader.code(block)
            if _has_output(found):
                expected = found.pop(0).text
                assert reader.expectation.check(expected, output), (expected, output)
        elif block.kind == "console":
            reader.console(block)
        elif block.kind in {"js", "ts"}:
            reader.cell(block)
        elif block.kind == "toml":
            reader.configuration(block)
        elif block.kind == "mcp":
            await reader.tools(block)
        elif block.kind == "json":
            json.loads(block.text)
        else:
            pytest.fail(f"{path.name}:{block.line}: no test knows {block.kind!r}")


_SETTING = re.compile(r"\b([A-Z]+_[A-Z_]+)=(\S+)")
_SERVE = re.compile(r"\bisokernel serve\b([^&|;\n]*)|\bcluster up [^\n]* -- ([^\n]*)")
_OPEN = re.compile(r"…|\$\w+|\$\(.*?\)")
"""What a reader puts in the place of."""


def _starts_of_servers() -> list[Any]:
    """The flags and variables of all servers that examples start without a test."""
    return [
        pytest.param(
            shlex.split(_OPEN.sub("x" * 32, found[1] or found[2] or ""), comments=True),
            {name: _OPEN.sub("x" * 32, value) for name, value in variables},
            id=f"{path.stem}:{block.line}",
        )
        for path in DOCUMENTS
        for block in blocks(path)
        if block.untested and block.kind == "sh"
        for text in [block.text.replace("\\\n", " ")]
        for variables in [_SETTING.findall(text)]
        for found in _SERVE.finditer(text)
    ]


@pytest.mark.parametrize(("flags", "variables"), _starts_of_servers())
def test_servers_of_other_examples_would_start(
    flags: list[str], variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    languages = Languages(load(flags).languages, load(flags).default_language)
    assert languages.find(None)  # what a request that names none is in


def test_those_that_refuse_are_found() -> None:
    starts = _starts_of_servers()
    assert {start.id.partition(":")[0] for start in starts} >= {"cluster", "README"}
    assert any("--cluster" in start.values[0] for start in starts)


def test_reasons_are_given() -> None:
    for path in DOCUMENTS:
        for block in blocks(path):
            assert not block.rest or block.untested or block.kind in _PICTURES
