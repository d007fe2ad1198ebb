from __future__ import annotations

import json
import math
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jupyter_client.session import Session as ClientSession

from isokernel.errors import ConnectionFileError, MessageError, SignatureError
from isokernel.jupyter.wire import DELIMITER, Message, Session, timestamp

KEY = b"a key"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


def received(content: dict[str, Any], kind: str = "execute_request") -> list[bytes]:
    """Frames as jupyter_client sends them."""
    client = ClientSession(key=KEY)
    frames = client.serialize(client.msg(kind, content), ident=b"client")
    return [bytes(frame) for frame in frames]


def test_jupyter_clients_frames_are_read() -> None:
    message = Session(KEY).unpack(received({"code": "1"}))
    assert message.identities == [b"client"]
    assert message.type == "execute_request"
    assert message.content == {"code": "1"}
    assert json.loads(message.header_frame) == message.header


def test_jupyter_client_reads_our_frames() -> None:
    client = ClientSession(key=KEY)
    frames = Session(KEY).pack(
        "stream",
        {"text": "é😀"},
        metadata={"a": 1},
        buffers=(b"\0\xff",),
        route=(b"r",),
    )
    route, rest = client.feed_identities(frames)
    message = client.deserialize(rest)
    assert route == [b"r"]
    assert message["content"] == {"text": "é😀"}
    assert message["metadata"] == {"a": 1}
    assert [bytes(buffer) for buffer in message["buffers"]] == [b"\0\xff"]


def test_the_parent_header_goes_back_as_it_came() -> None:
    session = Session(KEY)
    request = session.unpack(received({}))
    frames = session.pack("status", {}, parent=request.header_frame)
    assert frames[3] == request.header_frame


@given(content=st.dictionaries(st.text(), JSON))
def test_any_json_survives_the_way_out_and_in(content: dict[str, object]) -> None:
    frames = Session(KEY).pack("x", content)
    assert Session(KEY).unpack(frames).content == content


def test_half_of_a_surrogate_pair_becomes_a_replacement_character() -> None:
    frames = Session(KEY).pack("x", {"text": "a\ud800b \ud83d\ude00"})
    assert Session(KEY).unpack(frames).content == {"text": "a\ufffdb 😀"}


def test_what_json_has_no_word_for_becomes_null() -> None:
    frames = Session(KEY).pack("x", {"n": [math.inf, math.nan, 1.5]})
    assert Session(KEY).unpack(frames).content == {"n": [None, None, 1.5]}


def test_a_wrong_signature_is_refused() -> None:
    frames = received({})
    frames[frames.index(DELIMITER) + 1] = b"0" * 64
    with pytest.raises(SignatureError):
        Session(KEY).unpack(frames)


def test_a_changed_frame_is_refused() -> None:
    frames = received({})
    frames[-1] = b'{"code":"2"}'
    with pytest.raises(SignatureError):
        Session(KEY).unpack(frames)


def test_a_message_is_accepted_once() -> None:
    session = Session(KEY)
    frames = received({})
    session.unpack(frames)
    with pytest.raises(SignatureError, match="came before"):
        session.unpack(frames)


def test_without_a_key_nothing_is_signed() -> None:
    frames = Session(b"").pack("x", {"a": 1})
    assert frames[1] == b""
    assert Session(b"").unpack(frames).content == {"a": 1}


def test_other_hashes_of_the_scheme_work() -> None:
    session = Session(KEY, "hmac-sha512")
    assert Session(KEY, "hmac-sha512").unpack(session.pack("x", {})).type == "x"


@pytest.mark.parametrize("scheme", ["hmac-nothing", "rsa-sha256", ""])
def test_an_unknown_scheme_is_refused(scheme: str) -> None:
    with pytest.raises(ConnectionFileError):
        Session(KEY, scheme)


HEADER = b'{"msg_id":"1","msg_type":"x"}'


@pytest.mark.parametrize(
    "frames",
    [
        [],
        [b"no delimiter"],
        [DELIMITER],
        [DELIMITER, b"", b"{}", b"{}"],
        [DELIMITER, b"", b"{}", b"{}", b"{}", b"{}"],
        [DELIMITER, b"", b'{"msg_id":1,"msg_type":"x"}', b"{}", b"{}", b"{}"],
        [DELIMITER, b"", HEADER, b"[]", b"{}", b"{}"],
        [DELIMITER, b"", HEADER, b"{}", b"null", b"{}"],
        [DELIMITER, b"", HEADER, b"{}", b"{}", b"{"],
        [DELIMITER, b"", HEADER, b"{}", b"{}", b"\xff\xfe"],
        [DELIMITER, b"", HEADER, b"{}", b"{}", b'{"a":' + b"[" * 100_000],
        [DELIMITER, b"", HEADER, b"{}", b"{}", b'{"a":' + b"9" * 5_000 + b"}"],
        [DELIMITER, b"", b'{"msg_id":"' + b"1" * 70_000 + b'"}', b"", b"", b""],
    ],
)
def test_what_is_no_message_is_refused(frames: list[bytes]) -> None:
    with pytest.raises(MessageError):
        Session(b"").unpack(frames)


@given(frames=st.lists(st.binary(max_size=40) | st.just(DELIMITER), max_size=9))
def test_bytes_at_random_never_do_worse_than_being_refused(frames: list[bytes]) -> None:
    with suppress(MessageError):
        assert isinstance(Session(b"").unpack(frames), Message)


def test_message_ids_are_never_the_same() -> None:
    session = Session(KEY)
    ids = {session.pack("x", {})[2] for _ in range(1000)}
    assert len(ids) == 1000


def test_the_timestamp_is_utc_to_the_microsecond() -> None:
    assert timestamp().endswith("Z")
    assert len(timestamp()) == len("2026-01-01T00:00:00.000000Z")
