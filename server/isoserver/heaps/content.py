"""A heap's bytes: whether they are what they should be, and compressed for a file."""

from __future__ import annotations

import hashlib
import struct
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import zstandard

from isokernel.errors import SnapshotEngineError, SnapshotFormatError
from isokernel.packages.lock import LOCK_MARK, decode_lock, encode_lock, split_lock
from isokernel.runtime import scripts
from isokernel.v8.library import load
from isokernel.v8.snapshot import Snapshot
from isoserver.errors import HeapDamagedError, HeapEngineError
from isoserver.files.manifest import Manifest

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "Facts",
    "Parts",
    "examine",
    "join",
    "pack",
    "split",
    "unpack",
    "unpack_all",
    "verify",
]

_WITH_FILES: Final = b"isokernel: a heap with files\n"
_LENGTH: Final = struct.Struct("<I")


class Parts(NamedTuple):
    """What a heap consists of.

    Attributes:
        snapshot: What V8 wrote.
        files: The context's files, if it had any.
        lock: Which packages its modules are of; empty if it had none.
    """

    snapshot: memoryview
    files: Manifest | None
    lock: dict[str, dict[str, str]]


class Facts(NamedTuple):
    """What a heap's bytes tell.

    Attributes:
        key: The heap key: the SHA-256 of what V8 wrote; with files, that of this and
            of the hash of their manifest; with a lock, that of all this and of its
            hash.
        size: How many bytes the heap has.
        engine: The identity of the engine that wrote it.
        files: The context's files, if it had any.
    """

    key: str
    size: int
    engine: str
    files: Manifest | None = None


def join(
    snapshot: bytes, files: Manifest | None, lock: Mapping[str, Any] | None = None
) -> bytes:
    """Return a heap: what V8 wrote and, if there are any, which files and packages.

    Raises:
        HeapDamagedError: V8 can't have written that. It comes from a process that is
            not trusted, and must not name files and packages of its own.
    """
    if snapshot.startswith((_WITH_FILES, LOCK_MARK)):
        message = "the heap is damaged: it begins with a list of files or packages"
        raise HeapDamagedError(message)
    parts = [encode_lock(lock or {})]
    if files is not None:
        manifest = files.encode()
        parts += [_WITH_FILES, _LENGTH.pack(len(manifest)), manifest]
    return b"".join([*parts, snapshot]) if any(parts) else snapshot


def split(data: bytes) -> Parts:
    """Return what a heap consists of.

    Raises:
        HeapDamagedError: This isn't a heap.
    """
    try:
        locked, view = split_lock(memoryview(data))
        lock = decode_lock(locked)
        if bytes(view[: len(_WITH_FILES)]) != _WITH_FILES:
            return Parts(view, None, lock)
        begin = len(_WITH_FILES) + _LENGTH.size
        (size,) = _LENGTH.unpack_from(view, len(_WITH_FILES))
        files = Manifest.decode(bytes(view[begin : begin + size]))
        return Parts(view[begin + size :], files, lock)
    except (struct.error, ValueError) as error:
        message = f"the heap is damaged: its list of files or packages: {error}"
        raise HeapDamagedError(message) from error


def examine(data: bytes) -> Facts:
    """Check that a heap is whole and can be read by this engine.

    Raises:
        HeapDamagedError: This isn't a heap, or not all of it.
        HeapEngineError: Another engine wrote it.
    """
    written, files, lock = split(data)
    try:
        # The hash in the header proves nothing: it stands beside what it is of.
        snapshot = Snapshot.from_bytes(written, check=False)
        snapshot.check_scripts(scripts.identity())
    except SnapshotEngineError as error:
        raise HeapEngineError(error.saved, error.engine) from error
    except SnapshotFormatError as error:
        message = f"the heap is damaged: {error}"
        raise HeapDamagedError(message) from error
    key = snapshot.key
    if files is not None:
        key = hashlib.sha256(f"{key} {files.digest}".encode()).hexdigest()
    if lock:
        digest = hashlib.sha256(encode_lock(lock)).hexdigest()
        key = hashlib.sha256(f"{key} lock {digest}".encode()).hexdigest()
    return Facts(key, len(data), load().identity(), files)


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


def unpack_all(packed: bytes, *bytes_max: int) -> list[bytes]:
    """Return what is in a file of several parts, each as `pack` returned it.

    Args:
        packed: The file's content.
        bytes_max: How large the first part may be, the second, and so on; the last
            number holds for all that follow.

    Raises:
        HeapDamagedError: The file is damaged, or a part is too large.
    """
    found: list[bytes] = []
    rest = packed
    while rest or not found:
        limit = bytes_max[min(len(found), len(bytes_max) - 1)]
        found.append(unpack(rest, limit))
        decoder = zstandard.ZstdDecompressor().decompressobj()
        decoder.decompress(rest)
        rest = decoder.unused_data
    return found
