"""From bytes to events and executions, however the bytes come."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as some

from isokernel.client import (
    Ended,
    Event,
    Execution,
    NetworkError,
    ProtocolError,
    StreamError,
)
from isokernel.client.reading import ExecutionReader, Frames


def _message(kind: str, parent: str | None = "1", **content: Any) -> bytes:
    header = {} if parent is None else {"msg_id": parent}
    message = {"msg_type": kind, "parent_header": header, "content": content}
    return b"data: " + msgspec.json.encode(message) + b"\n\n"


OK = _message("execute_reply", status="ok", execution_count=1)
CANCELLED = OK.replace(b'"ok"', b'"aborted"').replace(
    b'"content"', b'"execution_status":"cancelled","content"'
)


def _reader(output_bytes_max: int = 1 << 20) -> ExecutionReader:
    return ExecutionReader("1", output_bytes_max=output_bytes_max, trusted=False)


def _read(*messages: bytes, output_bytes_max: int = 1 << 20) -> Execution:
    reader = _reader(output_bytes_max)
    reader.feed(b"".join([*messages, OK]))
    return reader.finish()


STREAM = (
    b": ping\n\n"
    + _message("status", execution_state="busy")
    + _message("stream", name="stdout", text="ä\n€\n")
    + b": ping\n\n"
    + _message("unknown", x=1).replace(b"\n", b"\r\n")
    + OK
)


@given(cuts=some.lists(some.integers(0, len(STREAM))))
def test_it_is_all_one_how_bytes_are_cut(cuts: list[int]) -> None:
    reader = _reader()
    events: list[Event] = []
    places = [0, *sorted(cuts), len(STREAM)]
    for begin, end in pairwise(places):
        events += reader.feed(STREAM[begin:end])
    assert len(events) == 2
    assert isinstance(events[-1], Ended)
    assert events[-1].execution.stdout == "ä\n€\n"


def test_events_have_several_lines_and_a_limit() -> None:
    frames = Frames(bytes_max=20)
    assert frames.feed(b"event: x\ndata:a\ndata:b\n\ndata:c\n\n") == [b"a\nb", b"c"]
    assert frames.last_id == ""
    assert frames.feed(b"id: 1.2\ndata:d\n\nid: 1.3\ndata:e\n") == [b"d"]
    # The connection breaks, and another one goes on after the last whole event.
    frames.reset()
    assert frames.last_id == "1.2"
    assert frames.feed(b"id: 1.3\ndata:e\n\ndata:f\n\n") == [b"e", b"f"]
    assert frames.last_id == "1.3"
    assert frames.feed(b"data:" + b"x" * 15) == []
    with pytest.raises(ProtocolError, match="20 bytes"):
        frames.feed(b"y")
    with pytest.raises(ProtocolError):
        Frames(bytes_max=20).feed(b"data:aaaaaaa\n" * 2)


@pytest.mark.parametrize(
    "data",
    [b"{", b"[]", b'{"msg_type": 5}', b'{"msg_type": "a", "content": []}', b"[" * 9**5],
)
def test_what_is_no_message_is_an_error(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        _reader().feed(b"data: " + data + b"\n\n")


def test_an_end_without_a_reply_is_an_error() -> None:
    reader = _reader()
    reader.feed(_message("stream", name="stdout", text="a"))
    with pytest.raises(NetworkError, match="ended before"):
        reader.check_end()
    with pytest.raises(StreamError, match="was closed"):
        reader.finish()
    with pytest.raises(StreamError, match="too slow"):
        reader.feed(_message("execute_reply", status="aborted", evalue="too slow"))
    reader.feed(CANCELLED)
    assert reader.finish().status == "cancelled"


@given(
    pieces=some.lists(some.text(max_size=30), max_size=50),
    limit=some.integers(8, 200),
)
def test_text_is_whole_or_has_head_and_tail(pieces: list[str], limit: int) -> None:
    printed = [_message("stream", name="stderr", text=text) for text in pieces]
    execution = _read(*printed, output_bytes_max=limit)
    text = "".join(pieces)
    assert execution.truncated == (len(text) > limit)
    if len(text) <= limit:
        assert execution.stderr == text
    else:
        tail = limit // 4
        said = f"\n[{len(text) - limit} characters left out]\n"
        assert execution.stderr == text[: limit - tail] + said + text[-tail:]


def test_hostile_content_is_data() -> None:
    """A process that code controls sends what it likes."""
    execution = _read(
        _message("stream", name=5, text=[1]),
        _message("display_data", data=5, metadata=[], transient="x"),
        _message(
            "display_data", data={"image/png": "no base64!", "text/plain": [1, 2]}
        ),
        _message("update_display_data"),
        _message("error", ename=None, evalue=[], traceback="no list"),
        _message("execute_input", execution_count="7"),
        _message("execute_result", data={"text/html": {"a": 1}}),
    )
    assert execution.stdout == "[1]"
    assert [output.text for output in execution.outputs] == ["", "12", ""]
    assert execution.outputs[1].png is None
    assert execution.status == "completed"
    assert execution._repr_mimebundle_()
    for text in ("[" * 5000 + "]" * 5000, "{", 5):
        reader = _reader()
        reader.feed(_message("execute_reply", status="ok", result_json=text))
        assert reader.finish().value is None


def test_late_output_is_apart() -> None:
    execution = _read(
        _message("stream", None, name="stdout", text="old"),
        _message("display_data", None, data={"text/plain": "old"}),
        _message("error", None, ename="Error"),
        _message("stream", name="stdout", text="new"),
    )
    assert (execution.stdout, execution.late.stdout) == ("new", "old")
    assert execution.outputs == []
