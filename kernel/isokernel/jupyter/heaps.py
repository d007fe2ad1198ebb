"""Saved heaps of a notebook: one file each, in a folder of the user's.

A restored heap takes the place of the running one inside this process: sockets,
history and connection are the process's and stay, and what JavaScript knew is all in
the heap. It is done between two cells, as a heap can neither be written nor left while
JavaScript runs.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Final

from isokernel.errors import EngineError, HeapFileError, IsokernelError, reason_of
from isokernel.jupyter.process import log_failure
from isokernel.v8.snapshot import Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable

    from isokernel.context import Context

__all__ = ["NotebookHeaps"]

_NAME: Final = re.compile(r"[\w-][\w.-]{0,99}")
_ENDING: Final = ".heap"
_LEVEL: Final = 3  # of zstd; a higher one takes longer for little


class NotebookHeaps:
    """Saves and restores the context of a kernel. Everything on the V8 thread."""

    def __init__(
        self,
        folder: str,
        bytes_max: int,
        use: Callable[[Snapshot, dict[str, Any]], None],
        lock: Callable[[], dict[str, Any]],
    ) -> None:
        """Keep heaps in a folder.

        Args:
            folder: Where; made when it is first needed.
            bytes_max: What a heap may have, uncompressed.
            use: Replaces the running context by one that is restored from a heap, with
                the lock of its packages.
            lock: Returns the lock of the running one.
        """
        self._folder = folder
        self._bytes_max = bytes_max
        self._use = use
        self._lock = lock
        self._wanted: list[str] = []
        self._next: tuple[Snapshot, dict[str, Any]] | None = None

    def serve(self, action: str, name: str) -> str:
        """Serve the user's code; see `ContextHeaps.serve`.

        Saving and restoring are only noted: both need JavaScript to be at rest.

        Raises:
            HeapFileError: There is no such heap, or it can't be used.
        """
        if action == "list":
            return json.dumps(self._list())
        if not _NAME.fullmatch(name):
            message = f"{name!r} is no name: letters, digits, '_', '-' and '.'"
            raise HeapFileError(message)
        if action == "restore":
            self._next = self._read(name)
        else:
            self._wanted.append(name)
        return ""

    def save(self, context: Context) -> bool:
        """Save what was asked for, if anything was; no JavaScript runs."""
        wanted, self._wanted = self._wanted, []
        for name in wanted:
            try:
                outcome = self._write(name, context.heaps.save())
            except (IsokernelError, OSError) as error:
                outcome = {"error": str(error) + _advice(error)}
            context.heaps.report(json.dumps(outcome))
        return bool(wanted)

    def restore(self) -> None:
        """Restore a heap if that was asked for; no cell runs."""
        heap, self._next = self._next, None
        if heap is not None:
            try:
                self._use(*heap)
            except EngineError as error:
                log_failure("restoring a heap", error)

    def _path(self, name: str) -> str:
        return f"{self._folder}/{name}{_ENDING}"

    def _write(self, name: str, heap: Snapshot) -> dict[str, Any]:
        """Write a file, whole or not at all."""
        import zstandard  # noqa: PLC0415 -- not for a kernel's start

        data = heap.to_bytes()
        if lock := self._lock():
            from isokernel.packages.lock import encode_lock  # noqa: PLC0415 - likewise

            data = encode_lock(lock) + data
        data = zstandard.ZstdCompressor(level=_LEVEL).compress(data)
        os.makedirs(self._folder, mode=0o700, exist_ok=True)  # noqa: PTH103
        part = f"{self._path(name)}.{os.getpid()}.part"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        try:
            with open(os.open(part, flags, 0o600), "wb") as file:  # noqa: PTH123
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, self._path(name))  # noqa: PTH105 -- no pathlib here
        finally:
            with contextlib.suppress(OSError):
                os.unlink(part)  # noqa: PTH108 -- likewise
        return {"name": name, "key": heap.key, "size": len(data)}

    def _read(self, name: str) -> tuple[Snapshot, dict[str, Any]]:
        import zstandard  # noqa: PLC0415 -- not for a kernel's start

        from isokernel.packages.lock import decode_lock, split_lock  # noqa: PLC0415

        try:
            with open(self._path(name), "rb") as file:  # noqa: PTH123
                data = zstandard.ZstdDecompressor().decompress(
                    file.read(), max_output_size=self._bytes_max
                )
            locked, heap = split_lock(memoryview(data))
            return Snapshot.from_bytes(heap), decode_lock(locked)
        except FileNotFoundError as error:
            message = f"there is no heap {name!r} in {self._folder}"
            raise HeapFileError(message) from error
        except (OSError, ValueError, EngineError, zstandard.ZstdError) as error:
            message = f"the heap {name!r} can't be used: {reason_of(error)}"
            raise HeapFileError(message) from error

    def _list(self) -> list[dict[str, Any]]:
        found = []
        with contextlib.suppress(FileNotFoundError), os.scandir(self._folder) as files:
            for file in files:
                name = file.name.removesuffix(_ENDING)
                if name != file.name:
                    status = file.stat()
                    saved = datetime.fromtimestamp(status.st_mtime, timezone.utc)
                    size = status.st_size
                    found.append(
                        {"name": name, "size": size, "saved": saved.isoformat()}
                    )
        return sorted(found, key=lambda entry: str(entry["saved"]), reverse=True)


def _advice(error: Exception) -> str:
    """What in the heap is in the way, where that is known."""
    kind, path, holder = (
        getattr(error, name, None) for name in ("kind", "path", "holder")
    )
    if kind is None:
        return ""
    place = f" in {holder}" if holder and holder not in (path or "") else ""
    return f" ({path}{place} is a {kind})" if path else f" (there is a {kind}{place})"
