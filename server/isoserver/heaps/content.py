"""What a heap's bytes say of themselves, and whether they are what they should be."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

import zstandard

from isokernel.errors import SnapshotEngineError, SnapshotFormatError
from isokernel.runtime import scripts
from isokernel.v8.library import load
from isokernel.v8.snapshot import Snapshot
from isoserver.errors import HeapDamagedError, HeapEngineError

__all__ = ["Facts", "examine", "is_key", "pack", "unpack", "verify"]

_KEY: Final = re.compile(r"[0-9a-f]{64}")


class Facts(NamedTuple):
    """What is known of a heap from its bytes.

    Attributes:
        key: The SHA-256 of what V8 wrote, in hex.
        size: Bytes of all of it.
        engine: The engine that has written it.
    """

    key: str
    size: int
    engine: str


def is_key(text: str) -> bool:
    """Tell whether this can be a heap's key: 64 lower-case hex digits."""
    return _KEY.fullmatch(text) is not None


def examine(data: bytes) -> Facts:
    """Read a heap that this engine has written.

    Raises:
        HeapDamagedError: It isn't one, or is cut.
        HeapEngineError: Another engine has written it.
    """
    try:
        # Its own hash is no proof: it stands beside what it is of.
        snapshot = Snapshot.from_bytes(memoryview(data), check=False)
        snapshot.check_scripts(scripts.identity())
    except SnapshotEngineError as error:
        raise HeapEngineError(error.saved, error.engine) from error
    except SnapshotFormatError as error:
        message = f"the heap is damaged: {error}"
        raise HeapDamagedError(message) from error
    return Facts(snapshot.key, len(data), load().identity())


def verify(key: str, data: bytes) -> None:
    """Check that this is the heap of that key, and of this engine.

    Raises:
        HeapDamagedError: It isn't.
        HeapEngineError: Another engine has written it.
    """
    found = examine(data).key
    if found != key:
        message = f"the heap {key} is damaged: what is stored has the hash {found}"
        raise HeapDamagedError(message)


def pack(data: bytes, level: int) -> bytes:
    """Compress a heap, for a file."""
    return zstandard.ZstdCompressor(level=level, write_checksum=True).compress(data)


def unpack(packed: bytes, size_max: int) -> bytes:
    """Give what `pack` took.

    Args:
        packed: What it gave.
        size_max: Bytes that a heap may have.

    Raises:
        HeapDamagedError: It isn't that, or is too large.
    """
    try:
        size = zstandard.get_frame_parameters(packed).content_size
        if size > size_max:  # also when it doesn't say
            message = (
                f"the heap is damaged or too large: {size} bytes, {size_max} may be"
            )
            raise HeapDamagedError(message)
        return zstandard.ZstdDecompressor().decompress(packed)
    except zstandard.ZstdError as error:
        message = f"the heap is damaged: it can't be unpacked: {error}"
        raise HeapDamagedError(message) from error
