"""Messages on a websocket, in both of Jupyter's forms.

Of jupyter_server's documentation (Websocket kernel wire protocols): the form that a
client offers as a subprotocol, and the older one for those that offer none.

    v1        always binary: n, n offsets as little-endian u64, then channel, header,
              parent_header, metadata, content and buffers; the last offset is the end
    legacy    JSON as text; with buffers binary: count and offsets as big-endian u32,
              the JSON first
"""

from __future__ import annotations

import itertools
import struct
from typing import Any, Final, NamedTuple

import msgspec

from isoserver.errors import FieldProblem, InvalidRequestError

__all__ = ["V1", "FrontMessage", "decode", "encode"]

V1: Final = "v1.kernel.websocket.jupyter.org"
"""The subprotocol's name."""
_PARTS: Final = 5
_PARTS_MAX: Final = 10_000
_U64: Final = 8
_U32: Final = 4
_CHANNEL: Final = "shell"
"""What a request without a channel means."""


class FrontMessage(NamedTuple):
    """One message, either way.

    Attributes:
        channel: `shell`, `control`, `stdin` or `iopub`.
        header: Its header.
        parent_header: That of what it answers.
        metadata: Its metadata.
        content: The message proper.
        buffers: Binary attachments.
    """

    channel: str
    header: dict[str, Any]
    parent_header: dict[str, Any]
    metadata: dict[str, Any]
    content: dict[str, Any]
    buffers: tuple[bytes, ...] = ()

    @property
    def kind(self) -> str:
        """Jupyter's type of the message."""
        return str(self.header["msg_type"])


class _Legacy(msgspec.Struct):
    """The JSON of the older form."""

    header: dict[str, Any]
    channel: str | None = None
    parent_header: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None
    content: dict[str, Any] | None = None


_object: Final = msgspec.json.Decoder(dict[str, Any])
_legacy: Final = msgspec.json.Decoder(_Legacy)


def decode(data: str | bytes, *, v1: bool) -> FrontMessage:
    """Read a message.

    Args:
        data: As the websocket has it.
        v1: Whether the client speaks the newer form.

    Raises:
        InvalidRequestError: It is no message of Jupyter's.
    """
    try:
        message = _decode_v1(data) if v1 else _decode_legacy(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, struct.error) as error:
        raise _no_message(str(error)) from None
    for field in ("msg_id", "msg_type"):
        if not isinstance(message.header.get(field), str):
            msg = f"the header has no {field}"
            raise _no_message(msg)
    return message


def encode(message: FrontMessage, *, v1: bool) -> str | bytes:
    """Write a message.

    The older form goes without buffers: a client of a gateway (jupyter_server) fails
    at a binary message, and hears of nothing that follows.
    """
    if not v1:
        kind, number = message.kind, message.header["msg_id"]
        fields = {**message._asdict(), "msg_id": number, "msg_type": kind}
        fields["buffers"] = []
        return msgspec.json.encode(fields, enc_hook=str).decode()
    parts = [message.channel.encode()]
    parts += (msgspec.json.encode(part, enc_hook=str) for part in message[1:_PARTS])
    parts += message.buffers
    place = _U64 * (len(parts) + 2)
    offsets = [place]
    for part in parts:
        place += len(part)
        offsets.append(place)
    head = struct.pack(f"<{len(offsets) + 1}Q", len(offsets), *offsets)
    return b"".join((head, *parts))


def _decode_v1(data: str | bytes) -> FrontMessage:
    if isinstance(data, str):
        what = "text, where the protocol has binary messages"
        raise _no_message(what)
    parts = _parts(data, "<Q", _U64)
    if len(parts) < _PARTS:
        what = "too few parts"
        raise _no_message(what)
    channel = parts[0].decode()
    header, parent, metadata, content = map(_object.decode, parts[1:_PARTS])
    return FrontMessage(
        channel or _CHANNEL, header, parent, metadata, content, tuple(parts[_PARTS:])
    )


def _decode_legacy(data: str | bytes) -> FrontMessage:
    text: str | bytes = data
    buffers: tuple[bytes, ...] = ()
    if isinstance(data, bytes):
        text, *rest = _parts(data, ">I", _U32, ends=False)
        buffers = tuple(rest)
    found = _legacy.decode(text)
    return FrontMessage(
        found.channel or _CHANNEL,
        found.header,
        found.parent_header or {},
        found.metadata or {},
        found.content or {},
        buffers,
    )


def _parts(data: bytes, form: str, width: int, *, ends: bool = True) -> list[bytes]:
    """Cut data at the offsets that it begins with.

    Args:
        data: The message.
        form: How a number is written, for `struct`.
        width: Bytes of one.
        ends: Whether the last offset is the end, and not the start of a part.
    """
    (count,) = struct.unpack_from(form, data)
    if not 1 <= count <= _PARTS_MAX:
        what = f"{count} parts"
        raise _no_message(what)
    offsets = list(struct.unpack_from(f"{form[0]}{count}{form[1]}", data, width))
    if not ends:
        offsets.append(len(data))
    if offsets[0] < width * (count + 1) or offsets[-1] > len(data):
        what = "an offset that leads out of it"
        raise _no_message(what)
    pairs = list(itertools.pairwise(offsets))
    if any(start > end for start, end in pairs):
        what = "offsets out of order"
        raise _no_message(what)
    return [data[start:end] for start, end in pairs]


def _no_message(why: str) -> InvalidRequestError:
    return InvalidRequestError(FieldProblem("message", f"isn't Jupyter's: {why}"))
