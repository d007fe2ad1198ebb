"""Saved heaps: V8 startup blobs of live isolates, with what is needed to read them.

The format: magic, length of the header, the header (JSON: the engine's identity, what
`references` has kept, the names of the operations, the identity of the scripts, the
blob's size and SHA-256), the blob.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import struct
from typing import Any, Final, NamedTuple, TypeAlias

from isokernel.errors import SnapshotEngineError, SnapshotFormatError
from isokernel.v8.library import load

Buffer: TypeAlias = "bytes | bytearray | memoryview"

_MAGIC: Final = b"isokernel heap 1\n"
_LENGTH: Final = struct.Struct(">I")
_HEADER_MAX: Final = 65_536
_ALIGNMENT: Final = 16  # of the blob in a file, as V8 reads it in place
_DAMAGED: Final = "the heap's header is damaged"


class Snapshot(NamedTuple):
    """A saved heap.

    Attributes:
        blob: What V8 wrote.
        references: What it refers to, see `ExternalReferences.kept`.
        operations: Names of the host functions, in their order.
        scripts: Identity of the scripts, beside the user's, that are on it.
    """

    blob: Buffer
    references: tuple[int | str, ...]
    operations: tuple[str, ...]
    scripts: str = ""

    @property
    def key(self) -> str:
        """The heap key: SHA-256 of the blob, in hexadecimal."""
        return hashlib.sha256(self.blob).hexdigest()

    @property
    def header(self) -> bytes:
        """Everything before the blob, in a file."""
        return self._header(self.key)

    @property
    def unsealed(self) -> bytes:
        """A header of the same length without the blob's hash, which takes time."""
        return self._header("0" * hashlib.sha256().digest_size * 2)

    def _header(self, key: str) -> bytes:
        header = json.dumps(
            {
                "engine": load().identity(),
                "references": self.references,
                "operations": self.operations,
                "scripts": self.scripts,
                "size": len(self.blob),
                "sha256": key,
            },
            separators=(",", ":"),
        ).encode()
        padding = -(len(_MAGIC) + _LENGTH.size + len(header)) % _ALIGNMENT
        header += b" " * padding
        return b"".join((_MAGIC, _LENGTH.pack(len(header)), header))

    def to_bytes(self) -> bytes:
        """Return header and blob in one piece, for a file."""
        return self.header + self.blob

    @classmethod
    def from_bytes(cls, data: Buffer, *, check: bool = True) -> Snapshot:
        """Read what `to_bytes` returned; the blob isn't copied if `data` is a view.

        Args:
            data: Header and blob.
            check: Whether to check the blob's hash, which takes 1 ms for each MB.

        Raises:
            SnapshotFormatError: The data is no heap, is cut or damaged, or comes from
                another engine.
        """
        header, blob = _split(data)
        engine = load().identity()
        if header.get("engine") != engine:
            raise SnapshotEngineError(str(header.get("engine")), engine)
        if header.get("size") != len(blob):
            message = f"the heap has {len(blob)} bytes, expected {header.get('size')}"
            raise SnapshotFormatError(message)
        try:
            heap = cls(
                blob,
                tuple(header["references"]),
                tuple(header["operations"]),
                str(header["scripts"]),
            )
        except (KeyError, TypeError) as error:
            raise SnapshotFormatError(_DAMAGED) from error
        if not all(isinstance(each, (int, str)) for each in heap.references):
            raise SnapshotFormatError(_DAMAGED)
        if check and heap.key != header.get("sha256"):
            message = "the heap is damaged: its hash isn't that of its header"
            raise SnapshotFormatError(message)
        return heap

    def check_scripts(self, scripts: str) -> None:
        """Check that the heap fits the scripts that are here.

        Raises:
            SnapshotEngineError: It was made with others.
        """
        if self.scripts != scripts:
            engine = load().identity()
            saved = f"{engine}, runtime {self.scripts}"
            raise SnapshotEngineError(saved, f"{engine}, runtime {scripts}")

    @classmethod
    def from_file(cls, descriptor: int, *, check: bool = True) -> Snapshot:
        """Read a heap from a file, in place; as `from_bytes`.

        The blob is a view of the file's pages, so it must not be changed.
        """
        size = os.fstat(descriptor).st_size
        if not size:
            return cls.from_bytes(b"")
        # V8 wants an address, and ctypes gives none of what can't be written to.
        view = mmap.mmap(descriptor, size, access=mmap.ACCESS_COPY)
        return cls.from_bytes(memoryview(view), check=check)


def seal(descriptor: int) -> str:
    """Write the blob's hash into a file whose header is `unsealed`, and return it.

    Raises:
        SnapshotFormatError: The file is no heap.
    """
    heap = Snapshot.from_file(descriptor, check=False)
    key = heap.key
    os.pwrite(descriptor, heap._header(key), 0)  # noqa: SLF001 -- of the same module
    return key


def _split(data: Buffer) -> tuple[dict[str, Any], Buffer]:
    start = len(_MAGIC) + _LENGTH.size
    if bytes(data[: len(_MAGIC)]) != _MAGIC or len(data) < start:
        message = "this is not a heap of isokernel"
        raise SnapshotFormatError(message)
    (length,) = _LENGTH.unpack_from(data, len(_MAGIC))
    if length > _HEADER_MAX or len(data) < start + length:
        raise SnapshotFormatError(_DAMAGED)
    try:
        header = json.loads(bytes(data[start : start + length]))
    except ValueError as error:
        raise SnapshotFormatError(_DAMAGED) from error
    if not isinstance(header, dict):
        raise SnapshotFormatError(_DAMAGED)
    return header, data[start + length :]
