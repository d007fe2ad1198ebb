"""Saved heaps: V8 startup blobs of live isolates.

Writing one consumes the isolate and aborts the process when something on the heap
can't be saved, so it is done in a forked child: the live isolate goes on at once and
is never harmed. Forking is safe because V8 runs without threads of its own.

The format: magic, length of the header, the header (JSON: the engine's identity, the
distances of `references`, the names of the operations, the blob's size), the blob.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import select
import struct
import time
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from isokernel.errors import SnapshotFailedError, SnapshotFormatError
from isokernel.v8.library import NO_CALLBACK, load
from isokernel.v8.stacks import make_stacks

if TYPE_CHECKING:
    from collections.abc import Callable

    from isokernel.v8.isolate import Isolate

_MAGIC: Final = b"isokernel heap 1\n"
_LENGTH: Final = struct.Struct(">I")
_HEADER_MAX: Final = 65_536
_CLEAR: Final = 0  # FunctionCodeHandling::kClear: functions compile again, lazily
_ROUNDS: Final = 64  # each finds one unknown native function; 4 are usual
_DEADLINE: Final = 60.0  # seconds for one child; 100,000 objects take 0.3 s
_MESSAGE_MAX: Final = 65_536
_UNKNOWN = re.compile(r"Unknown external reference (0x[0-9a-f]+)")
_OK, _FAILED = 0, 1


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A saved heap.

    Attributes:
        blob: What V8 wrote.
        references: Distances of the native functions that it refers to.
        operations: Names of the host functions, in their order.
    """

    blob: bytes
    references: tuple[int, ...]
    operations: tuple[str, ...]

    def to_bytes(self) -> bytes:
        """Everything in one piece, for a file."""
        header = json.dumps(
            {
                "engine": load().identity(),
                "references": self.references,
                "operations": self.operations,
                "size": len(self.blob),
            },
            separators=(",", ":"),
        ).encode()
        return b"".join((_MAGIC, _LENGTH.pack(len(header)), header, self.blob))

    @classmethod
    def from_bytes(cls, data: bytes) -> Snapshot:
        """Read what `to_bytes` gave.

        Raises:
            SnapshotFormatError: It isn't one, is cut, or is of another engine.
        """
        header, blob = _split(data)
        engine = load().identity()
        if header.get("engine") != engine:
            message = (
                f"the heap was saved by the engine {header.get('engine')!r}; "
                f"this is {engine!r}"
            )
            raise SnapshotFormatError(message)
        if header.get("size") != len(blob):
            message = f"the heap has {len(blob)} bytes, expected {header.get('size')}"
            raise SnapshotFormatError(message)
        return cls(blob, tuple(header["references"]), tuple(header["operations"]))


def _split(data: bytes) -> tuple[dict[str, Any], bytes]:
    start = len(_MAGIC) + _LENGTH.size
    if not data.startswith(_MAGIC) or len(data) < start:
        message = "this is not a heap of isokernel"
        raise SnapshotFormatError(message)
    (length,) = _LENGTH.unpack_from(data, len(_MAGIC))
    if length > _HEADER_MAX or len(data) < start + length:
        message = "the heap's header is damaged"
        raise SnapshotFormatError(message)
    try:
        header = json.loads(data[start : start + length])
    except ValueError as error:
        message = "the heap's header is damaged"
        raise SnapshotFormatError(message) from error
    if not isinstance(header, dict):
        message = "the heap's header is damaged"
        raise SnapshotFormatError(message)
    return header, data[start + length :]


def save(isolate: Isolate, prepare: Callable[[], None] | None = None) -> Snapshot:
    """Save a live isolate, which stays as it is.

    Call it on the isolate's thread, with no JavaScript running.

    Args:
        isolate: What to save.
        prepare: Called in the child first, on the copy of the isolate.

    Raises:
        SnapshotFailedError: V8 couldn't; the error has its words.
    """
    for _ in range(_ROUNDS):
        status, blob, message = _attempt(isolate, prepare)
        if status == _OK:
            return Snapshot(
                blob, tuple(isolate.references.distances), isolate.operation_names
            )
        unknown = _UNKNOWN.search(message)
        if unknown is None or not isolate.references.add(int(unknown[1], 16)):
            raise SnapshotFailedError(_reason(status, message))
    raise SnapshotFailedError(_reason(_FAILED, "too many unknown native functions"))


def _reason(status: int, message: str) -> str:
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    fatal = [line for line in lines if line.startswith("# ") and len(line) > 2]  # noqa: PLR2004
    said = (fatal or lines or ["V8 gave no reason"])[0].lstrip("# ")
    return said if status > 0 else f"{said} (signal {-status})"


def _attempt(
    isolate: Isolate, prepare: Callable[[], None] | None
) -> tuple[int, bytes, str]:
    """Fork, write in the child; (exit status or -signal, blob, what V8 said)."""
    reader, writer = os.pipe()
    storage = os.memfd_create("isokernel-heap")
    try:
        with warnings.catch_warnings():
            # Python warns of forking with threads; the child only calls V8, and exits.
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if pid == 0:
            _child(isolate, prepare, storage, writer)
        os.close(writer)
        writer = -1
        message = _read_until_exit(reader, pid)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        size = os.fstat(storage).st_size
        return status, os.pread(storage, size, 0) if status == _OK else b"", message
    finally:
        os.close(reader)
        os.close(storage)
        if writer >= 0:
            os.close(writer)


def _read_until_exit(reader: int, pid: int) -> str:
    """What the child writes to its stderr; a child that takes too long is killed."""
    deadline = time.monotonic() + _DEADLINE
    chunks: list[bytes] = []
    while True:
        ready, _, _ = select.select([reader], [], [], deadline - time.monotonic())
        if not ready:
            os.kill(pid, 9)
            return f"it took longer than {_DEADLINE:g} s"
        chunk = os.read(reader, _MESSAGE_MAX)
        if not chunk:
            return b"".join(chunks)[:_MESSAGE_MAX].decode(errors="replace")
        chunks.append(chunk)


def _child(
    isolate: Isolate, prepare: Callable[[], None] | None, storage: int, errors: int
) -> None:
    status = _FAILED
    try:
        os.dup2(errors, 1)  # V8 prints its complaints to either
        os.dup2(errors, 2)
        isolate.on_fatal = _say
        if prepare is not None:
            prepare()
        with open(storage, "wb", closefd=False) as file:
            file.write(_write(isolate))
        status = _OK
    except BaseException as error:  # noqa: BLE001 -- the child must not go on
        os.write(errors, f"{type(error).__name__}: {error}".encode())
    finally:
        os._exit(status)


def _say(reason: str) -> None:
    """Why V8 aborts, before it says so at length."""
    os.write(2, f"# {reason}\n".encode())


def _write(isolate: Isolate) -> memoryview:
    """Consume the isolate. In the child only."""
    isolate.claim()
    make_stacks(isolate)
    library, creator = isolate.library, isolate.consume()
    isolate.optimizer.set()
    # Optimized code can't be saved. CreateBlob collects garbage by itself, often
    # enough: asking for it before made a blob 10% slower and no smaller.
    library.deoptimize_all(isolate.pointer)
    context = isolate.context
    library.creator_context(creator, context, *(NO_CALLBACK,) * 3)
    isolate.release_all()
    data = library.creator_blob(creator, _CLEAR)
    return memoryview((ctypes.c_char * data.size).from_address(data.data))
