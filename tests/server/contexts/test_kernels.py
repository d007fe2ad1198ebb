"""Contexts in Jupyter kernels: their code can send any message that it likes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.client import Client

SEND = """
kernel = get_ipython().kernel
socket, session = kernel.iopub_socket, kernel.session
parent = kernel.get_parent()
{}
"""
# A message with any bytes as its parts, which the session has signed.
SIGNED = """
def signed(*parts):
    socket.send_multipart([b'', b'<IDS|MSG>', session.sign([*parts]), *parts])

"""


@pytest.fixture
def here(client: Client) -> str:
    return client.create("python")


HARMLESS = [
    "session.send(socket, 'stream', {'name': 1}, parent=parent)",
    "session.send(socket, 'error', {'traceback': [1, None]}, parent=parent)",
    "session.send(socket, 'status', {}, parent={'msg_id': 7})",
    "session.send(socket, 'status', {}, parent={'msg_id': '9' * 5000})",
    "session.send(socket, 'status', {}, parent=parent, metadata={'a': [2 ** 99]})",
    "socket.send_multipart([b'no', b'delimiter'])",
    "socket.send_multipart([b'', b'<IDS|MSG>'])",
    "socket.send_multipart([b'', b'<IDS|MSG>', b'', b'{}', b'{}', b'{}', b'{}'])",
    f"{SIGNED}signed(b'[]', b'{{}}', b'{{}}', b'{{}}')",
    f"{SIGNED}signed(b'{{', b'\\xff', b'null', b'')",
    f"{SIGNED}signed(b'{{\"msg_id\": [], \"msg_type\": 7}}', b'7', b'[]', b'NaN')",
    f"{SIGNED}signed(b'[' * 9999 + b']' * 9999, b'{{}}', b'{{}}', b'{{}}')",
    f"{SIGNED}signed(b'{{\"msg_type\": \"stream\"}}', b'{{}}', b'', b'[' * 9999)",
]
"""Messages of any form, each sent by one cell."""


def test_messages_of_any_form_do_no_harm(
    client: Client, here: str, subtests: pytest.Subtests
) -> None:
    for code in HARMLESS:
        with subtests.test(code=code):
            answer = client.run(SEND.format(code), context_id=here)
            assert answer["error"] is None
            assert client.text("len([kernel])", context_id=here) == "1"


def test_halves_of_characters_are_replaced(client: Client, here: str) -> None:
    content = "{'name': 'stdout', 'text': 'a\\ud800b'}"
    code = f"""
import json
session.pack = lambda value: json.dumps(value, default=str).encode()
session.send(socket, 'stream', {content}, parent=parent)
"""
    answer = client.run(SEND.format(code), context_id=here)
    assert answer["logs"]["stdout"] == ["a\ufffdb"]
    assert client.get(f"/contexts/{here}/notebook").status_code == 200


def test_a_message_that_is_too_large_ends_the_kernel(client: Client, here: str) -> None:
    """The server would hold all of it."""
    code = SEND.format("socket.send(bytes(65 << 20))")
    answer = client.run(code + "import time; time.sleep(60)", context_id=here)
    assert answer["error"]["name"] == "ContextDiedError", answer
    assert "a message of more than 64 MiB" in str(answer["error"])
    assert client.post(f"/contexts/{here}/restart").status_code == 200
    assert client.text("1 + 1", context_id=here) == "2"
