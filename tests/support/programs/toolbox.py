"""A server whose tasks have a few tools: a program, started by the tests.

A call of `people.ask` waits for an approval, whose name comes through a pipe, with
`yes` or with the reason why not. What happens is told by files in a folder.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isoserver.app import Server
from isoserver.cli.serve import load
from isoserver.errors import ApprovalDeniedError, ToolFailedError, ToolMissingError

if TYPE_CHECKING:
    from collections.abc import Callable

    from isoserver.tools.calls import Asker, Call


DECLARATIONS = """
declare const tools: {
  math: { add(input: { a: number; b: number }): Promise<number> };
  people: { ask(input: { name: string }): Promise<{ asked: string }> };
  [source: string]: any;
};
"""


class Toolbox:
    """Tools that work, and tools that don't."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._answers: dict[str, asyncio.Future[str]] = {}
        self._pipe = os.open(folder / "answers", os.O_RDWR | os.O_NONBLOCK)
        asyncio.get_running_loop().add_reader(self._pipe, self._answer)

    def _answer(self) -> None:
        for line in os.read(self._pipe, 1 << 16).decode().splitlines():
            name, _, text = line.partition(" ")
            self._answers[name].set_result(text)

    async def call(
        self, call: Call, *, asker: Asker | None, waiting: Callable[[bool], None]
    ) -> Any:
        del asker
        if call.path == "people.ask":
            return await self._ask(call, waiting)
        tool = getattr(self, call.path.replace(".", "_"), None)
        if tool is None:
            raise ToolMissingError(call.path, ["math.add"])
        return await tool(call)

    async def describe(self, workspace: str) -> str:
        del workspace
        return DECLARATIONS

    async def end_task(self, workspace: str, task_id: str) -> None:
        (self._folder / f"ended-{workspace}-{task_id}").touch()

    async def _ask(self, call: Call, waiting: Callable[[bool], None]) -> Any:
        name = call.input["name"]
        self._answers[name] = asyncio.get_running_loop().create_future()
        waiting(True)  # noqa: FBT003 -- the interface
        try:
            (self._folder / f"asked-{name}").touch()
            text = await self._answers[name]
        finally:
            (self._folder / f"over-{name}").touch()
            waiting(False)  # noqa: FBT003
        if text != "yes":
            raise ApprovalDeniedError(call.path, text)
        return {"asked": name}

    async def math_add(self, call: Call) -> Any:
        return call.input["a"] + call.input["b"]

    async def who_am_i(self, call: Call) -> Any:
        return call._asdict()

    async def bad_denied(self, call: Call) -> Any:
        raise ApprovalDeniedError(call.path, "the policy says no", code="policy_denied")

    async def bad_http(self, call: Call) -> Any:
        message = f"{call.path}: busy"
        raise ToolFailedError(
            message,
            code="http",
            status=503,
            details={"body": "later"},
            retryable=True,
        )

    async def bad_defect(self, call: Call) -> Any:
        raise RuntimeError("secret" + call.path)

    async def bad_object(self, call: Call) -> Any:
        return call.input, object()

    async def bad_large(self, call: Call) -> Any:
        return "x" * call.input["bytes"]

    async def bad_hang(self, call: Call) -> Any:
        (self._folder / f"hangs-{call.task_id}").touch()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            (self._folder / f"cancelled-{call.task_id}").touch()


def ready(url: str) -> None:
    sys.stdout.write(f"isokernel is listening on {url}\n")
    sys.stdout.flush()


async def main() -> None:
    folder, _, *flags = sys.argv[1:]  # `serve` is among them
    server = Server(load(flags), toolbox=Toolbox(Path(folder)))
    await server.run(ready)


if __name__ == "__main__":
    asyncio.run(main())
