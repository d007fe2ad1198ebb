"""`tools` without a server around them: sources, a database, and calls."""

from __future__ import annotations

import asyncio
import itertools
import subprocess
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.programs import UPSTREAM
from tests.support.services import Services
from tests.support.starts import program_command
from tests.support.waiting import POLL_SECONDS

from isoserver.errors import ToolError
from isoserver.settings.logs import make_log
from isoserver.settings.reading import read_settings
from isoserver.settings.tools import RuleModel
from isoserver.storage.changes import Changes
from isoserver.storage.database import Database, url_of
from isoserver.tools.audit import Filter
from isoserver.tools.calls import Call, Decision, Question
from isoserver.tools.service import Tools

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path

    from isoserver.tools.approvals import Approval


SECONDS = 50.0


def stdio(**fields: Any) -> dict[str, Any]:
    """The configuration of our MCP server over stdio."""
    command, *arguments = program_command(UPSTREAM, "stdio")
    return {
        "type": "mcp",
        "name": "up",
        "workspace": "default",
        "command": command,
        "args": arguments,
        **fields,
    }


class World:
    """One set of tools, and what tests do with it."""

    def __init__(self, tools: Tools, services: Services, folder: Path) -> None:
        self.tools = tools
        self.services = services
        self.folder = folder
        self.waits: list[bool] = []
        self._ids = itertools.count(1)

    async def call(self, path: str, given: Any = None, **fields: Any) -> Any:
        """Make a call in the default workspace, of a task of its own."""
        asker = fields.pop("asker", None)
        number = next(self._ids)
        call = Call(
            fields.pop("workspace", "default"),
            fields.pop("session", None),
            fields.pop("client", "tester"),
            fields.pop("task_id", f"task-{number}"),
            f"call-{number}",
            path,
            {} if given is None else given,
            fields.pop("admin", True),
        )
        assert not fields
        return await self.tools.call(call, asker=asker, waiting=self.waits.append)

    async def pending(self, workspace: str = "default") -> Approval:
        """Wait until there is an approval to decide."""
        while True:
            found, _ = await self.tools.approvals.pending(workspace)
            if found:
                return found[0]
            await asyncio.sleep(POLL_SECONDS)

    async def audit(self, workspace: str = "default") -> list[dict[str, Any]]:
        """The audit, oldest first."""
        found, _ = await self.tools.audit.page(workspace, Filter(), 1000, 0)
        return found[::-1]


async def refused(world: World, path: str, given: Any = None) -> dict[str, Any]:
    """What the code is told about a call that fails."""
    with pytest.raises(ToolError) as caught:
        await world.call(path, given)
    return caught.value.as_data()


class Asked:
    """A client that can be asked, and what became of that."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.questions: list[Question] = []
        self.let_go = False

    async def ask(self, question: Question) -> Decision | None:
        self.questions.append(question)
        if isinstance(self.answer, Exception):
            raise self.answer
        if isinstance(self.answer, asyncio.Future):
            try:
                await self.answer
            except asyncio.CancelledError:
                self.let_go = True
                raise
        made: Decision | None = self.answer
        return made


def decided(state: str, reason: str = "") -> Decision:
    """A decision, by the state that it leads to."""
    return Decision(approved=state == "approved", reason=reason)


def deny(tool: str) -> RuleModel:
    """A rule that denies calls of tools, as REST takes it."""
    return RuleModel.model_validate({"effect": "deny", "tool": tool})


@asynccontextmanager
async def tools_on(
    folder: Path, url: str | None = None, **settings: Any
) -> AsyncIterator[Tools]:
    """The tools of one server on a database; SQLite's in the folder if None."""
    database = Database(url_of(url, folder))
    with (folder / "log").open("a") as file:
        log = make_log("debug", file)
        changes = Changes(database, log)
        made = read_settings(**settings)
        tools = Tools(made, database, changes, log)
        await database.start()
        await changes.start()
        try:
            await tools.start()
            yield tools
        finally:
            await tools.close()
            await changes.close()
            await database.close()


async def run_scenario(
    scenario: Callable[[World], Awaitable[None]],
    folder: Path,
    url: str | None,
    sources: Callable[[Services], list[dict[str, Any]]] | None,
    settings: dict[str, Any],
) -> None:
    services = Services(asyncio.get_running_loop().create_future)
    try:
        given = sources(services) if sources else []
        async with tools_on(folder, url, sources=given, **settings) as tools:
            await scenario(World(tools, services, folder))
    finally:
        await services.close()


UPSTREAM_KEY = "a-key-of-the-mcp-server"


@contextmanager
def serve_upstream(kind: str) -> Iterator[str]:
    """Our MCP server over HTTP; its URL."""
    process = subprocess.Popen(
        program_command(UPSTREAM, kind),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        yield f"http://127.0.0.1:{port}/{'sse' if kind == 'sse' else 'mcp'}"
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def remote(url: str, **fields: Any) -> dict[str, Any]:
    """The configuration of our MCP server over HTTP."""
    return {
        "type": "mcp",
        "name": "up",
        "workspace": "default",
        "url": url,
        "transport": "sse" if url.endswith("/sse") else "http",
        "auth": {"type": "bearer", "token": UPSTREAM_KEY},
        **fields,
    }
