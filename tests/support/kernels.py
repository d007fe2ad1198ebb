"""A real kernel, driven by jupyter_client; every message it sends is checked."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from queue import Empty
from typing import TYPE_CHECKING, Any

import pytest
from jupyter_client.manager import KernelManager
from tests.support import programs
from tests.support.capabilities import write_heap_with_calls
from tests.support.messages import Validator
from tests.support.waiting import DEADLINE

if TYPE_CHECKING:
    from collections.abc import Callable

    from jupyter_client.blocking.client import BlockingKernelClient

PROGRAM = Path(programs.__file__).parent / "kernel.py"


@dataclass
class KernelOutcome:
    """What a request led to: the reply, and what was broadcast up to its idle."""

    reply: dict[str, Any]
    messages: list[dict[str, Any]]

    def contents(self, kind: str) -> list[dict[str, Any]]:
        """Give the contents of the broadcast messages of one type."""
        return [m["content"] for m in self.messages if m["msg_type"] == kind]

    def text(self, name: str = "stdout") -> str:
        """Give what was printed to a stream."""
        streams = self.contents("stream")
        return "".join(c["text"] for c in streams if c["name"] == name)

    @property
    def result(self) -> str | None:
        """The result as plain text."""
        results = self.contents("execute_result")
        return results[0]["data"]["text/plain"] if results else None


class Kernel:
    """A running kernel with one client. Whatever is received is validated."""

    def __init__(self, manager: KernelManager) -> None:
        self.manager = manager
        self.client: BlockingKernelClient = manager.client()
        self.client.start_channels()
        self.validator = Validator()
        self.kept: list[dict[str, Any]] = []
        self.replies: dict[str, dict[str, Any]] = {}

    def close(self) -> None:
        """End the kernel."""
        self.client.stop_channels()
        if self.manager.has_kernel:
            self.manager.shutdown_kernel(now=True)
        self.manager.cleanup_resources()

    def send(
        self, kind: str, content: dict[str, Any], channel: str = "shell", **parts: Any
    ) -> str:
        """Send any message; give its id."""
        message = self.client.session.msg(kind, content, metadata=parts.get("metadata"))
        socket = getattr(self.client, f"{channel}_channel").socket
        self.client.session.send(socket, message, buffers=parts.get("buffers"))
        return str(message["header"]["msg_id"])

    def reply(self, request: str, channel: str = "shell") -> dict[str, Any]:
        """Wait for the reply to a request."""
        while request not in self.replies:
            message = getattr(self.client, f"get_{channel}_msg")(timeout=DEADLINE)
            self.validator.check(message)
            self.replies[message["parent_header"]["msg_id"]] = message
        return self.replies.pop(request)

    def heard(self, timeout: float = DEADLINE) -> dict[str, Any]:
        """Wait for the next broadcast message."""
        message: dict[str, Any] = self.client.get_iopub_msg(timeout=timeout)
        self.validator.check(message)
        return message

    def until(self, holds: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
        """Listen up to the first message for which something holds; all are kept."""
        moment = time.monotonic() + DEADLINE
        index = 0
        while time.monotonic() < moment:
            if index == len(self.kept):
                self.kept.append(self.heard())
            index += 1
            if holds(self.kept[index - 1]):
                return self.kept[:index]
        raise TimeoutError

    def until_idle(self, request: str) -> list[dict[str, Any]]:
        """Take what a request broadcasts up to its idle; the rest stays kept."""

        def ours(message: dict[str, Any]) -> bool:
            return bool(message["parent_header"].get("msg_id") == request)

        def idle(message: dict[str, Any]) -> bool:
            return (
                message["msg_type"] == "status"
                and message["content"] == {"execution_state": "idle"}
                and ours(message)
            )

        every = self.until(idle)
        taken = [message for message in every if ours(message)]
        self.kept = [message for message in self.kept if message not in taken]
        return taken

    def ask(
        self, kind: str, content: dict[str, Any], channel: str = "shell"
    ) -> dict[str, Any]:
        """Send a request, and give the content of its reply."""
        request = self.send(kind, content, channel)
        content = self.reply(request, channel)["content"]
        self.until_idle(request)
        return content

    def execute(self, code: str, **options: Any) -> str:
        """Send a cell, and don't wait."""
        content = {"code": code, "allow_stdin": False, **options}
        return self.send("execute_request", content)

    def run(self, code: str, **options: Any) -> KernelOutcome:
        """Run a cell up to its reply and its idle."""
        return self.outcome(self.execute(code, **options))

    def outcome(self, request: str) -> KernelOutcome:
        """Wait for the reply and the idle of a cell that was sent."""
        return KernelOutcome(self.reply(request), self.until_idle(request))

    def begun(self, request: str) -> None:
        """Wait until a cell is running."""
        self.until(
            lambda message: (
                message["msg_type"] == "execute_input"
                and message["parent_header"].get("msg_id") == request
            )
        )

    def printed(self, request: str) -> None:
        """Wait until a cell has printed something."""
        self.until(
            lambda message: (
                message["msg_type"] == "stream"
                and message["parent_header"].get("msg_id") == request
            )
        )

    def quiet(self) -> None:
        """Check that nothing more is broadcast."""
        with contextlib.suppress(Empty):
            message = self.heard(timeout=0.1)
            pytest.fail(f"a {message['msg_type']} came late: {message['content']}")


def start_kernel(
    name: str,
    folder: Path,
    history: str,
    program: Path | None = None,
    **variables: str,
) -> Kernel:
    manager = KernelManager(kernel_name=name)
    environment = {
        **os.environ,
        "ISOKERNEL_HISTORY": history,
        **variables,
    }
    if program is not None:
        spec = manager.kernel_spec
        assert spec is not None
        spec.argv = [sys.executable, str(program), *spec.argv[3:]]
        spec.metadata = {}  # the provisioner forks kernels of its own
        environment["PYTHONPATH"] = str(program.parents[3])
    manager.start_kernel(cwd=str(folder), env=environment)
    driver = Kernel(manager)
    driver.until(lambda message: message["msg_type"] == "iopub_welcome")
    driver.ask("kernel_info_request", {})
    driver.kept.clear()
    return driver


def start_kernel_with_calls(folder: Path, **variables: str) -> Kernel:
    """A kernel with a small provider, whose code has `call` and `callNow`."""
    heaps = folder / "heaps"
    write_heap_with_calls(heaps)
    variables["ISOKERNEL_HEAPS_DIR"] = str(heaps)
    driver = start_kernel("v8-javascript", folder, "off", PROGRAM, **variables)
    driver.run("Jupyter.restore('calls')")
    return driver
