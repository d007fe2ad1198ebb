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


@pytest.fixture
def here(client: Client) -> str:
    return client.create("python")


@pytest.mark.parametrize(
    "code",
    [
        "session.send(socket, 'stream', {'name': 1}, parent=parent)",
        "session.send(socket, 'error', {'traceback': [1, None]}, parent=parent)",
        "session.send(socket, 'status', {}, parent={'msg_id': 7})",
        "session.send(socket, 'status', {}, parent={'msg_id': '9' * 5000})",
        "session.send(socket, 'status', {}, parent=parent, metadata={'a': [2 ** 99]})",
    ],
)
def test_messages_of_any_form_do_no_harm(client: Client, here: str, code: str) -> None:
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
    assert answer["logs"]["stdout"] == ["a?b"]
    assert client.get(f"/contexts/{here}/notebook").status_code == 200
