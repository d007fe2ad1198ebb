"""Jupyter's wire format: signed multipart frames to messages and back.

A message is routing identities, a delimiter, an HMAC signature, four JSON frames
(header, parent header, metadata, content) and any number of binary buffers. The parent
header is kept as the bytes that came: they go back unchanged into every answer, which
saves decoding and encoding them for each line of output.
"""

from __future__ import annotations

import hmac
import itertools
import json
import math
import os
import threading
import time
from typing import TYPE_CHECKING, Any

from isokernel.errors import ConnectionFileError, MessageError, SignatureError
from isokernel.protocol.information import PROTOCOL_VERSION

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "DELIMITER",
    "Message",
    "Session",
    "sent_id",
    "timestamp",
]

DELIMITER = b"<IDS|MSG>"
EMPTY = b"{}"

_SIGNED_FRAMES = 4
# A header is kept for as long as its cell may print, so its size must have a bound.
_HEADER_BYTES_MAX = 64 * 1024
_SIGNATURES_KEPT = 65_536

_encode = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, separators=(",", ":")
).encode


class Message:
    """One message that came in and whose signature holds.

    Attributes:
        identities: Routing frames; a reply starts with them.
        header: The sender's header; `msg_id` and `msg_type` are there and are text.
        header_frame: The header as it came, the parent header of every answer.
        parent_header: The header of what this message answers, or empty.
        metadata: Whatever the sender attached.
        content: The message proper.
        buffers: Binary attachments, not copied into anything else.
    """

    __slots__ = (
        "buffers",
        "content",
        "header",
        "header_frame",
        "identities",
        "metadata",
        "parent_header",
    )

    def __init__(
        self, identities: list[bytes], frames: Sequence[bytes], buffers: list[bytes]
    ) -> None:
        """Read the four JSON frames.

        Raises:
            MessageError: A frame isn't a JSON object, or the header lacks a field.
        """
        if len(frames[0]) > _HEADER_BYTES_MAX:
            message = "the header is too long"
            raise MessageError(message)
        self.identities = identities
        self.header_frame = bytes(frames[0])
        self.header = _read(frames[0], "header")
        self.parent_header = _read(frames[1], "parent header")
        self.metadata = _read(frames[2], "metadata")
        self.content = _read(frames[3], "content")
        self.buffers = buffers
        for field in ("msg_id", "msg_type"):
            if not isinstance(self.header.get(field), str):
                message = f"the header has no {field}"
                raise MessageError(message)

    @property
    def type(self) -> str:
        """The message type."""
        return str(self.header["msg_type"])

    @property
    def id(self) -> str:
        """The id that the sender gave to it."""
        return str(self.header["msg_id"])

    @property
    def sent(self) -> float | None:
        """When it was made, by the sender's clock; None if the header doesn't say."""
        from datetime import datetime  # noqa: PLC0415 - not needed for a start

        date = self.header.get("date")
        if not isinstance(date, str):
            return None
        try:
            # Before Python 3.11 no Z was understood.
            moment = datetime.fromisoformat(date.replace("Z", "+00:00"))
        except ValueError:
            return None
        return None if moment.tzinfo is None else moment.timestamp()


class Session:
    """Packs and unpacks the messages of one kernel. Any thread may use it.

    Attributes:
        id: Names this run of the kernel in every header that it sends.
    """

    def __init__(self, key: bytes, scheme: str = "hmac-sha256") -> None:
        """Sign with `key`; an empty one means that nothing is signed or checked.

        Raises:
            ConnectionFileError: The scheme isn't HMAC with a hash that Python has.
        """
        family, _, hash_name = scheme.partition("-")
        if family != "hmac":
            message = f"unknown signature scheme {scheme!r}"
            raise ConnectionFileError(message)
        try:
            self._mac = hmac.new(key, digestmod=hash_name) if key else None
        except ValueError as error:
            message = f"unknown signature scheme {scheme!r}"
            raise ConnectionFileError(message) from error
        self.id = os.urandom(16).hex()
        self._serial = itertools.count(1)
        self._lock = threading.Lock()
        self._seen: dict[bytes, None] = {}

    def pack(  # noqa: PLR0913 - the parts of a message
        self,
        kind: str,
        content: dict[str, Any],
        *,
        parent: bytes = EMPTY,
        metadata: dict[str, Any] | None = None,
        buffers: Sequence[bytes] = (),
        route: Sequence[bytes] = (),
    ) -> list[bytes]:
        """Make the frames of a message, ready for `send_multipart`.

        Args:
            kind: The message type.
            content: The message proper.
            parent: The header of the message that caused this one, as it came.
            metadata: Attached data.
            buffers: Binary attachments.
            route: What goes before the delimiter: identities, or iopub's topic.
        """
        header = {
            "msg_id": f"{self.id}_{next(self._serial)}",
            "msg_type": kind,
            "username": "kernel",
            "session": self.id,
            "date": timestamp(),
            "version": PROTOCOL_VERSION,
        }
        signed = (
            _frame(header),
            parent,
            _frame(metadata) if metadata else EMPTY,
            _frame(content),
        )
        return [*route, DELIMITER, self._sign(signed), *signed, *buffers]

    def unpack(self, frames: Sequence[bytes]) -> Message:
        """Check and read one message.

        Raises:
            SignatureError: Not signed with our key, or this very message came before.
            MessageError: The frames aren't a Jupyter message.
        """
        try:
            delimiter = frames.index(DELIMITER)
        except ValueError:
            message = "no delimiter"
            raise MessageError(message) from None
        signature = frames[delimiter + 1 : delimiter + 2]
        signed = frames[delimiter + 2 : delimiter + 2 + _SIGNED_FRAMES]
        if len(signed) < _SIGNED_FRAMES:
            message = "too few frames"
            raise MessageError(message)
        self._verify(signature[0], signed)
        buffers = list(frames[delimiter + 2 + _SIGNED_FRAMES :])
        return Message(list(frames[:delimiter]), signed, buffers)

    def _sign(self, frames: Sequence[bytes]) -> bytes:
        if self._mac is None:
            return b""
        mac = self._mac.copy()
        for frame in frames:
            mac.update(frame)
        return mac.hexdigest().encode()

    def _verify(self, signature: bytes, frames: Sequence[bytes]) -> None:
        if self._mac is None:
            return
        if not hmac.compare_digest(signature, self._sign(frames)):
            message = "the signature is wrong"
            raise SignatureError(message)
        with self._lock:
            if signature in self._seen:
                message = "the message came before"
                raise SignatureError(message)
            self._seen[signature] = None
            if len(self._seen) > _SIGNATURES_KEPT:
                del self._seen[next(iter(self._seen))]


def sent_id(frames: Sequence[bytes]) -> str:
    """Return the id of a message that `Session.pack` made."""
    header = json.loads(frames[frames.index(DELIMITER) + 2])
    return str(header["msg_id"])


def timestamp() -> str:
    """Return the time now as ISO 8601 in UTC, to the microsecond."""
    seconds, microseconds = divmod(time.time_ns() // 1000, 1_000_000)
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{moment}.{microseconds:06d}Z"


def _read(frame: bytes, what: str) -> dict[str, Any]:
    try:
        value = json.loads(frame.decode())
    except (ValueError, RecursionError) as error:
        message = f"the {what} isn't JSON: {error}"
        raise MessageError(message) from error
    if not isinstance(value, dict):
        message = f"the {what} isn't a JSON object"
        raise MessageError(message)
    return value


def _frame(value: dict[str, Any]) -> bytes:
    try:
        text = _encode(value)
    except ValueError:
        text = _encode(_finite(value))
    try:
        return text.encode()
    except UnicodeEncodeError:
        # JavaScript's strings may hold half of a surrogate pair; JSON in UTF-8 may not,
        # and a notebook with one in it could not be saved.
        whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return whole.encode()


def _finite(value: Any) -> Any:
    """Replace what JSON can't represent (1e999 reads as infinity) by null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value
