"""What no client should send: the kernel answers or logs, and lives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from jupyter_client.session import Session

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.kernels import Kernel


@pytest.fixture(autouse=True)
def _alive(kernel: Kernel) -> Iterator[None]:
    """After whatever was sent, the same process runs a cell."""
    kernel.run("globalThis.survived = 1")
    yield
    assert kernel.run("survived").result == "1"


def frames_of(kernel: Kernel, kind: str, content: dict[str, Any]) -> list[bytes]:
    session = kernel.client.session
    frames: list[bytes] = session.serialize(session.msg(kind, content))
    return frames


@pytest.mark.parametrize("channel", ["shell", "control", "stdin"])
@pytest.mark.parametrize(
    "frames",
    [
        [b""],
        [b"nonsense"],
        [b"<IDS|MSG>"],
        [b"<IDS|MSG>", b"bad signature", b"{}", b"{}", b"{}", b"{}"],
        [b"<IDS|MSG>"] * 20,
        [b"\x00" * 1_000_000],
    ],
    ids=["empty", "nonsense", "delimiter", "unsigned", "delimiters", "zeros"],
)
def test_frames_that_are_no_message(
    kernel: Kernel, channel: str, frames: list[bytes]
) -> None:
    getattr(kernel.client, f"{channel}_channel").socket.send_multipart(frames)


def test_a_message_signed_with_another_key_is_dropped(kernel: Kernel) -> None:
    stranger = Session(key=b"another key")
    content = {"code": "globalThis.survived = 0"}
    frames = stranger.serialize(stranger.msg("execute_request", content))
    kernel.client.shell_channel.socket.send_multipart(frames)


def test_a_message_that_is_replayed_is_dropped(kernel: Kernel) -> None:
    kernel.run("globalThis.runs = 0")
    frames = frames_of(kernel, "execute_request", {"code": "runs++"})
    for _ in range(3):
        kernel.client.shell_channel.socket.send_multipart(frames)
    assert kernel.run("runs").result == "1"


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("execute_request", {}),
        ("execute_request", {"code": 5}),
        ("execute_request", {"code": "1", "user_expressions": [1]}),
        ("complete_request", {}),
        ("complete_request", {"code": "a", "cursor_pos": "two"}),
        ("inspect_request", {"code": None, "cursor_pos": 0}),
        ("history_request", {"hist_access_type": "sideways"}),
        ("unheard_of_request", {}),
        ("create_subshell_request", {}),
    ],
)
def test_a_request_that_cant_be_served_gets_an_error(
    kernel: Kernel, kind: str, content: dict[str, Any]
) -> None:
    kernel_replies = kind.removesuffix("_request") + "_reply"
    request = kernel.send(kind, content)
    message = kernel.client.get_shell_msg(timeout=20)
    assert message["msg_type"] == kernel_replies
    assert message["content"]["status"] == "error"
    assert message["content"]["evalue"]
    kernel.until_idle(request)


def test_is_complete_without_code_is_unknown(kernel: Kernel) -> None:
    assert kernel.ask("is_complete_request", {}) == {"status": "unknown"}


@pytest.mark.parametrize("kind", ["debug_request", "usage_request"])
def test_control_requests_that_cant_be_served_get_an_error(
    kernel: Kernel, kind: str
) -> None:
    request = kernel.send(kind, {}, "control")
    message = kernel.client.get_control_msg(timeout=20)
    assert message["content"]["status"] == "error"
    kernel.until_idle(request)


@pytest.mark.parametrize("channel", ["shell", "control"])
def test_messages_of_unknown_types_are_dropped(kernel: Kernel, channel: str) -> None:
    kernel.send("what_is_this", {}, channel)


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("comm_open", {}),
        ("comm_open", {"comm_id": "a", "target_name": 1, "data": {}}),
        ("comm_msg", {"comm_id": "never opened", "data": {}}),
        ("comm_msg", {"comm_id": "a", "data": "text"}),
        ("comm_close", {"comm_id": "never opened"}),
    ],
)
def test_comm_messages_without_sense_are_dropped(
    kernel: Kernel, kind: str, content: dict[str, Any]
) -> None:
    kernel.until_idle(kernel.send(kind, content))


def test_a_huge_cell_runs(kernel: Kernel) -> None:
    text = "x" * 10_000_000
    assert kernel.run(f"'{text}'.length").result == "10000000"


def test_a_thousand_requests_at_once_are_all_answered(kernel: Kernel) -> None:
    requests = [kernel.send("is_complete_request", {"code": "1"}) for _ in range(1000)]
    for request in requests:
        assert kernel.reply(request)["content"]["status"] == "complete"
    kernel.until_idle(requests[-1])


def test_text_that_is_no_unicode_becomes_so(kernel: Kernel) -> None:
    outcome = kernel.run("console.log('a\\ud800b'); '\\udc00'")
    assert outcome.text() == "a\ufffdb\n"
