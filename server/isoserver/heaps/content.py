"""A heap's bytes: whether they are what they should be, and compressed for a file."""

from __future__ import annotations

from typing import NamedTuple

import zstandard

from isokernel.errors import SnapshotEngineError, SnapshotFormatError
from isokernel.runtime import scripts
from isokernel.v8.library import load
from isokernel.v8.snapshot import Snapshot
from isoserver.errors import HeapDamagedError, HeapEngineError

__all__ = ["Facts", "examine", "pack", "unpack", "verify"]


class Facts(NamedTuple):
    """What a heap's bytes tell.

    Attributes:
        key: The heap key: the SHA-256 of what V8 wrote.
        size: How many bytes the heap has.
        engine: The identity of the engine that wrote it.
    """

    key: str
    size: int
    engine: str


def examine(data: bytes) -> Facts:
    """Check that a heap is whole and can be read by this engine.

    Raises:
        HeapDamagedError: This isn't a heap, or not all of it.
        HeapEngineError: Another engine wrote it.
    """
    try:
        # The hash in the header proves nothing: it stands beside what it is of.
        snapshot = Snapshot.from_bytes(memoryview(data), check=False)
        snapshot.check_scripts(scripts.identity())
    except SnapshotEngineError as error:
        raise HeapEngineError(error.saved, error.engine) from error
    except SnapshotFormatError as error:
        message = f"the heap is damaged: {error}"
        raise HeapDamagedError(message) from error
    return Facts(snapshot.key, len(data), load().identity())


def verify(key: str, data: bytes) -> None:
    """Check that this is the heap of that key; see `examine`.

    Raises:
        HeapDamagedError: It is not.
        HeapEngineError: Another engine wrote it.
    """
    found = examine(data).key
    if found != key:
        message = f"the heap {key} is damaged: the stored data has the hash {found}"
        raise HeapDamagedError(message)


def pack(data: bytes, level: int) -> bytes:
    """Compress a heap for its file, by zstandard with a checksum."""
    return zstandard.ZstdCompressor(level=level, write_checksum=True).compress(data)


def unpack(packed: bytes, bytes_max: int) -> bytes:
    """Return the heap in a file.

    Args:
        packed: The file's content, as `pack` returned it.
        bytes_max: How large the heap may be.

    Raises:
        HeapDamagedError: The file is damaged, or the heap is too large.
    """
    try:
        size = zstandard.get_frame_parameters(packed).content_size
        if size > bytes_max:  # also when the file doesn't tell the size
            message = (
                f"the heap is damaged or too large: it has {size} bytes; the limit is "
                f"{bytes_max} (heap_bytes_max)"
            )
            raise HeapDamagedError(message)
        return zstandard.ZstdDecompressor().decompress(packed)
    except zstandard.ZstdError as error:
        message = f"the heap is damaged: it can't be decompressed: {error}"
        raise HeapDamagedError(message) from error
