"""Frames: what is encoded is decoded, however the bytes are cut."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isokernel.errors import FrameError
from isokernel.protocol.frames import Decoder, Frame, encode

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@settings(max_examples=40)  # each has four frames of its own, and cuts
@given(
    st.lists(st.dictionaries(st.text(), _JSON), max_size=4),
    st.lists(st.integers(1, 50), min_size=1),
)
def test_frames_survive_any_cut(
    contents: list[dict[str, Any]], cuts: list[int]
) -> None:
    data = b"".join(
        encode("stream", content, parent=number, buffers=[b"\0\xff"])
        for number, content in enumerate(contents)
    )
    decoder, found = Decoder(), []
    at = turn = 0
    while at < len(data):
        cut = cuts[turn % len(cuts)]
        found += decoder.feed(data[at : at + cut])
        at, turn = at + cut, turn + 1
    assert [frame.content for frame in found] == contents
    assert [frame.parent for frame in found] == list(range(len(contents)))
    assert decoder.waiting == 0


def test_a_frame_has_what_it_was_given() -> None:
    data = encode("comm_msg", {"a": 1}, id=7, metadata={"m": 2}, buffers=[b"raw"])
    assert Decoder().feed(data) == [
        Frame("comm_msg", {"a": 1}, id=7, metadata={"m": 2}, buffers=[b"raw"])
    ]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("\ud800!", "\N{REPLACEMENT CHARACTER}!"),
        ("\ud83d\ude00", "\N{GRINNING FACE}"),
        (10**30, 1e30),
        (-(10**400), float("-inf")),
        (
            {"\udfff": ["\udfff"]},
            {"\N{REPLACEMENT CHARACTER}": ["\N{REPLACEMENT CHARACTER}"]},
        ),
    ],
)
def test_what_has_no_word_is_replaced(value: Any, shown: Any) -> None:
    [frame] = Decoder().feed(encode("stream", {"value": value}, parent=1))
    assert frame.content == {"value": shown}


def test_a_frame_beyond_the_bound_is_refused_by_its_sender() -> None:
    with pytest.raises(FrameError, match="the limit is 100"):
        encode("stream", {"text": "x" * 100}, parent=1, max_bytes=100)


def test_what_is_no_data_is_refused() -> None:
    with pytest.raises(FrameError, match="can't be encoded as a frame"):
        encode("stream", {"text": object()}, parent=1)


def test_a_frame_beyond_the_bound_is_refused_before_it_is_whole() -> None:
    data = encode("stream", {"text": "x" * 1000}, parent=1)
    with pytest.raises(FrameError, match="the limit is 100"):
        Decoder(max_bytes=100).feed(data[:4])


@pytest.mark.parametrize("packed", [b"\xc1", b"\x01", b"\x80", b"\x81\xa4type\x01"])
def test_what_is_no_frame_is_refused(packed: bytes) -> None:
    with pytest.raises(FrameError, match="not a frame"):
        Decoder().feed(len(packed).to_bytes(4, "big") + packed)
