"""Real kernels, driven by jupyter_client, and a check of every message they send."""

from __future__ import annotations

import contextlib
import os
import re
import time
from dataclasses import dataclass, field
from queue import Empty
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from jsonschema import Draft202012Validator
from jupyter_client.manager import KernelManager

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from jupyter_client.blocking.client import BlockingKernelClient

DEADLINE = 20.0

TEXT = {"type": "string"}
COUNT = {"type": "integer", "minimum": 0}
OBJECT = {"type": "object"}
FLAG = {"type": "boolean"}
LINES = {"type": "array", "items": TEXT}
MIME = {
    "type": "object",
    "propertyNames": {"pattern": r"^[\w\-+.]+/[\w\-+.]+$"},
}


def closed(properties: dict[str, Any], *optional: str) -> dict[str, Any]:
    """Make a schema of exactly these properties, all required but the optional."""
    return {
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name not in optional],
        "additionalProperties": False,
    }


ERROR = {"ename": TEXT, "evalue": TEXT, "traceback": LINES}
ERROR_REPLY = closed(
    {"status": {"const": "error"}, "execution_count": COUNT, **ERROR},
    "execution_count",
)
EXPRESSION = {
    "anyOf": [
        closed({"status": {"const": "ok"}, "data": MIME, "metadata": OBJECT}),
        closed({"status": {"const": "error"}, **ERROR}),
    ]
}
PAYLOAD = {
    "type": "array",
    "items": {
        "anyOf": [
            closed({"source": {"const": "page"}, "data": MIME, "start": COUNT}),
            closed({"source": {"const": "ask_exit"}, "keepkernel": FLAG}),
        ]
    },
}
EXECUTED = {
    "execution_count": COUNT,
    "payload": PAYLOAD,
    "user_expressions": {"type": "object", "additionalProperties": EXPRESSION},
}
OK = {"status": {"const": "ok"}}
SCHEMAS: dict[str, dict[str, Any]] = {
    "status": closed({"execution_state": {"enum": ["starting", "busy", "idle"]}}),
    "iopub_welcome": closed({"subscription": TEXT}),
    "execute_input": closed({"code": TEXT, "execution_count": COUNT}),
    "stream": closed({"name": {"enum": ["stdout", "stderr"]}, "text": TEXT}),
    "error": closed(ERROR),
    "execute_result": closed(
        {"execution_count": COUNT, "data": MIME, "metadata": OBJECT}
    ),
    "display_data": closed({"data": MIME, "metadata": OBJECT, "transient": OBJECT}),
    "update_display_data": closed(
        {
            "data": MIME,
            "metadata": OBJECT,
            "transient": closed({"display_id": TEXT}),
        }
    ),
    "clear_output": closed({"wait": FLAG}),
    "comm_open": closed({"comm_id": TEXT, "target_name": TEXT, "data": OBJECT}),
    "comm_msg": closed({"comm_id": TEXT, "data": OBJECT}),
    "comm_close": closed({"comm_id": TEXT, "data": OBJECT}),
    "execute_reply": {
        "oneOf": [
            closed({**OK, **EXECUTED}),
            closed({"status": {"const": "error"}, **ERROR, **EXECUTED}),
            closed({"status": {"const": "aborted"}}),
            ERROR_REPLY,
        ]
    },
    "kernel_info_reply": closed(
        {
            **OK,
            "protocol_version": TEXT,
            "implementation": TEXT,
            "implementation_version": TEXT,
            "language_info": closed(
                dict.fromkeys(
                    (
                        "name",
                        "version",
                        "mimetype",
                        "file_extension",
                        "pygments_lexer",
                        "codemirror_mode",
                        "nbconvert_exporter",
                    ),
                    TEXT,
                )
            ),
            "banner": TEXT,
            "debugger": FLAG,
            "supported_features": LINES,
            "help_links": {
                "type": "array",
                "items": closed({"text": TEXT, "url": TEXT}),
            },
        }
    ),
    "complete_reply": closed(
        {
            **OK,
            "matches": LINES,
            "cursor_start": COUNT,
            "cursor_end": COUNT,
            "metadata": OBJECT,
        }
    ),
    "inspect_reply": closed({**OK, "found": FLAG, "data": MIME, "metadata": OBJECT}),
    "is_complete_reply": closed(
        {
            "status": {"enum": ["complete", "incomplete", "invalid", "unknown"]},
            "indent": TEXT,
        },
        "indent",
    ),
    "history_reply": closed(
        {
            **OK,
            "history": {
                "type": "array",
                "items": {
                    "type": "array",
                    "prefixItems": [COUNT, COUNT, {"type": ["string", "array"]}],
                    "minItems": 3,
                    "maxItems": 3,
                },
            },
        }
    ),
    "comm_info_reply": closed({**OK, "comms": OBJECT}),
    "connect_reply": closed(
        {
            **OK,
            **{f"{name}_port": COUNT for name in ("shell", "iopub", "stdin", "hb")},
            "control_port": COUNT,
        }
    ),
    "interrupt_reply": closed(OK),
    "shutdown_reply": closed({**OK, "restart": FLAG}),
    "input_request": closed({"prompt": TEXT, "password": FLAG}),
}
DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


@dataclass
class Validator:
    """Checks each message alone, and that all of them together make sense."""

    seen: set[str] = field(default_factory=set)
    open: set[str] = field(default_factory=set)
    closed: set[str] = field(default_factory=set)

    def check(self, message: dict[str, Any]) -> None:
        """Check one message, in the order of arrival within its channel."""
        header, kind = message["header"], message["header"]["msg_type"]
        assert header["msg_id"] not in self.seen, "a message id came twice"
        self.seen.add(header["msg_id"])
        assert header["version"] == "5.4"
        assert header["username"]
        assert header["session"]
        if isinstance(header["date"], str):
            assert DATE.fullmatch(header["date"])
        content = message["content"]
        schema = SCHEMAS.get(kind)
        if content.get("status") == "error" and kind != "execute_reply":
            schema = ERROR_REPLY
        assert schema is not None, f"a {kind} was sent"
        Draft202012Validator(schema).validate(content)
        # A manager and its clients have the same session, so each gives the same ids.
        header = message["parent_header"]
        parent = f"{header['msg_type']} {header['msg_id']}" if header else ""
        if kind == "status":
            self._status(content["execution_state"], parent)
        elif kind == "execute_input":
            assert parent in self.open, "execute_input outside busy and idle"

    def _status(self, state: str, parent: str) -> None:
        if state == "starting":
            assert not parent, "nobody asked for the start"
        elif state == "busy":
            assert parent not in self.closed, "busy after idle"
            self.open.add(parent)
        else:
            assert parent in self.open, "idle without busy"
            self.open.remove(parent)
            self.closed.add(parent)


@dataclass
class Outcome:
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


class Driver:
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

    def run(self, code: str, **options: Any) -> Outcome:
        """Run a cell up to its reply and its idle."""
        return self.outcome(self.execute(code, **options))

    def outcome(self, request: str) -> Outcome:
        """Wait for the reply and the idle of a cell that was sent."""
        return Outcome(self.reply(request), self.until_idle(request))

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


def _start(name: str, folder: Path, history: str) -> Driver:
    manager = KernelManager(kernel_name=name)
    environment = {
        **os.environ,
        "ISOKERNEL_HISTORY": history,
    }
    manager.start_kernel(cwd=str(folder), env=environment)
    driver = Driver(manager)
    driver.until(lambda message: message["msg_type"] == "iopub_welcome")
    driver.ask("kernel_info_request", {})
    driver.kept.clear()
    return driver


@pytest.fixture(autouse=True)
def _no_leaks() -> Iterator[None]:
    """A test ends the kernels that it started.

    What the test's own process holds is jupyter_client's business: it keeps an event
    loop and opens sockets when it needs them.
    """
    before = {child.pid for child in psutil.Process().children()}
    yield
    assert {child.pid for child in psutil.Process().children()} <= before


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Driver]]:
    """Start kernels of one's own; they end with the test."""
    with contextlib.ExitStack() as stack:

        def start_one(name: str = "v8-javascript", history: str = "off") -> Driver:
            driver = _start(name, tmp_path, history)
            stack.callback(driver.close)
            return driver

        yield start_one


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    """A JavaScript kernel that the tests of a module share."""
    driver = _start("v8-javascript", tmp_path_factory.mktemp("kernel"), "off")
    yield driver
    driver.close()


@pytest.fixture
def kernel(shared: Driver) -> Driver:
    """The shared kernel, with nothing on its way."""
    with contextlib.suppress(Empty):
        while True:
            shared.heard(timeout=0.02)
    shared.kept.clear()
    return shared
