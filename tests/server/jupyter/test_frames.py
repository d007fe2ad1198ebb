"""Messages on websockets: both forms, and what is none."""

from __future__ import annotations

import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isoserver.errors import InvalidRequestError
from isoserver.jupyter.frames import FrontMessage, decode, encode

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
OBJECTS = st.dictionaries(TEXTS, st.one_of(TEXTS, st.integers(), st.none()), max_size=3)
HEADER = {"msg_id": "1", "msg_type": "stream"}
MESSAGES = st.builds(
    FrontMessage,
    st.sampled_from(["shell", "control", "iopub", "stdin"]),
    OBJECTS.map(lambda more: {**more, **HEADER}),
    OBJECTS,
    OBJECTS,
    OBJECTS,
    st.lists(st.binary(max_size=50), max_size=3).map(tuple),
)


@given(MESSAGES)
def test_the_newer_form_goes_there_and_back(message: FrontMessage) -> None:
    data = encode(message, v1=True)
    assert isinstance(data, bytes)
    assert decode(data, v1=True) == message


@given(MESSAGES)
def test_the_older_form_is_text_without_buffers(message: FrontMessage) -> None:
    data = encode(message, v1=False)
    assert isinstance(data, str)
    assert decode(data, v1=False) == message._replace(buffers=())
    told = json.loads(data)
    assert (told["msg_id"], told["msg_type"]) == ("1", "stream")


def test_buffers_of_the_older_form_are_read() -> None:
    text = json.dumps({"header": HEADER, "content": {"a": 1}}).encode()
    start = 4 * 4
    places = (start, start + len(text), start + len(text) + 2)
    data = struct.pack(">4I", 3, *places) + text + b"ab" + b"cde"
    message = decode(data, v1=False)
    assert message.content == {"a": 1}
    assert message.channel == "shell"  # E2B's server names none
    assert message.buffers == (b"ab", b"cde")


def test_the_newer_form_is_jupyters() -> None:
    """The example of jupyter_server's documentation, with its offsets."""
    parts = [b"shell", json.dumps(HEADER).encode(), b"{}", b"{}", b'{"code":"1"}']
    place = 8 * 7
    offsets = [place]
    for part in parts:
        place += len(part)
        offsets.append(place)
    data = struct.pack("<7Q", 6, *offsets) + b"".join(parts)
    assert decode(data, v1=True) == FrontMessage("shell", HEADER, {}, {}, {"code": "1"})
    again = encode(decode(data, v1=True), v1=True)
    assert again[: 8 * 2] == data[: 8 * 2]


def refused(data: str | bytes, *, v1: bool) -> None:
    with pytest.raises(InvalidRequestError) as refusal:
        decode(data, v1=v1)
    assert "isn't Jupyter's" in refusal.value.in_words()


@pytest.mark.parametrize("v1", [True, False])
@given(st.binary(max_size=200))
def test_what_is_no_message_is_told(v1: bool, data: bytes) -> None:  # noqa: FBT001
    refused(data, v1=v1)


@pytest.mark.parametrize(
    "text", ["", "1", "[]", "{}", '{"header":{}}', '{"header":{"msg_id":1}}']
)
def test_text_that_is_no_message_is_told(text: str) -> None:
    for v1 in (True, False):
        refused(text, v1=v1)


@pytest.mark.parametrize(
    "numbers",
    [(6, 56, 57, 58, 59, 60, 10_000), (3, 32, 20, 40), (2, 0, 24), (1 << 60,)],
)
def test_offsets_that_lead_out_are_told(numbers: tuple[int, ...]) -> None:
    data = struct.pack(f"<{len(numbers)}Q", *numbers) + bytes(40)
    refused(data, v1=True)
