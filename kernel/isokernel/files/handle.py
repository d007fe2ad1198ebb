"""An open file in a context's folder; one that replaces another when it is whole."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from isokernel.errors import FileError

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

    from isokernel.files.folder import Folder

__all__ = ["CHUNK_BYTES", "Handle", "Replacement"]

CHUNK_BYTES: Final = 1 << 20
"""How much is read or written at once."""


class Handle:
    """An open file or folder. For any thread; `close` it, or use it in `with`.

    Attributes:
        descriptor: The system's number of it.
        path: The path that it was opened by.
        number: The file's number in its file system.
    """

    def __init__(
        self, folder: Folder, descriptor: int, path: str, access: int, number: int
    ) -> None:
        """Take a descriptor over; called by `Folder.open`.

        Args:
            folder: The folder that it is in.
            descriptor: The open file.
            path: The path that it was opened by.
            access: How it may be used: `O_RDONLY`, `O_WRONLY` or `O_RDWR`, `O_APPEND`.
            number: The file's number in its file system.
        """
        self._folder = folder
        self.descriptor = descriptor
        self.path = path
        self.number = number
        self._readable = access & os.O_ACCMODE != os.O_WRONLY
        self._writable = access & os.O_ACCMODE != os.O_RDONLY
        self._appends = bool(access & os.O_APPEND)

    def __del__(self) -> None:
        """Close it when nobody has it: who asked may have gone before it was open."""
        self.close()

    def __enter__(self) -> Self:
        """Return it."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Close it; safe to call twice."""
        with self._folder.locked():
            if self.descriptor < 0:
                return
            self._folder.closed(self)
            os.close(self.descriptor)
            self.descriptor = -1

    def stat(self) -> os.stat_result:
        """Return what the system says about it.

        Raises:
            FileError: It is closed.
        """
        self._check(allowed=True)
        return os.fstat(self.descriptor)

    def read(self, size_bytes: int, position: int | None = None) -> bytes:
        """Read up to so many bytes, `CHUNK_BYTES` at most; none at the end.

        Args:
            size_bytes: How many.
            position: Where from; None goes on after what was read or written last.

        Raises:
            FileError: It can't be read.
        """
        self._check(allowed=self._readable)
        size = max(0, min(size_bytes, CHUNK_BYTES))
        try:
            if position is None:
                return os.read(self.descriptor, size)
            return os.pread(self.descriptor, size, position)
        except OSError as error:
            raise FileError.of(error, self.path) from None

    def read_all(self) -> bytes:
        """Return everything from the beginning.

        Raises:
            FileError: It can't be read.
        """
        chunks: list[bytes] = []
        size = 0
        while chunk := self.read(CHUNK_BYTES, size):
            chunks.append(chunk)
            size += len(chunk)
        return b"".join(chunks)

    def write(self, data: bytes | memoryview, position: int | None = None) -> int:
        """Write data, all of it or none.

        Args:
            data: The bytes.
            position: Where to; None goes on after what was read or written last. A
                file that was opened to append is written to at its end.

        Returns:
            How many bytes were written.

        Raises:
            FileError: It can't be written.
            FileLimitError: A limit is reached.
        """
        folder, size = self._folder, len(data)
        with folder.locked():
            self._check(allowed=self._writable)
            before = os.fstat(self.descriptor).st_size
            moves = position is None and not self._appends
            start = before if self._appends else position
            if start is None:
                start = os.lseek(self.descriptor, 0, os.SEEK_CUR)
            if start < 0:
                raise FileError(self.path, "EINVAL")
            growth = max(0, start + size - before) if size else 0
            if growth:
                folder.check_size(self.path, start + size)
            folder.grow(self.path, growth)
            try:
                self._write_all(data, start)
            except OSError as error:
                with suppress(OSError):
                    os.ftruncate(self.descriptor, before)
                folder.grow(self.path, -growth)
                raise FileError.of(error, self.path) from None
            if moves:
                os.lseek(self.descriptor, start + size, os.SEEK_SET)
            return size

    def _write_all(self, data: bytes | memoryview, start: int) -> None:
        rest = memoryview(data)
        while rest:
            written = os.pwrite(self.descriptor, rest, start)
            rest, start = rest[written:], start + written

    def truncate(self, size_bytes: int) -> None:
        """Cut it, or fill it with zeros, to a size.

        Raises:
            FileError: It can't be changed.
            FileLimitError: A limit is reached.
        """
        folder = self._folder
        with folder.locked():
            self._check(allowed=self._writable, code="EINVAL")
            growth = size_bytes - os.fstat(self.descriptor).st_size
            if growth > 0:
                folder.check_size(self.path, size_bytes)
                folder.grow(self.path, growth)
            try:
                os.ftruncate(self.descriptor, size_bytes)
            except (OSError, OverflowError) as error:
                if growth > 0:
                    folder.grow(self.path, -growth)
                if isinstance(error, OverflowError):
                    raise FileError(self.path, "EFBIG") from None
                raise FileError.of(error, self.path) from None
            if growth < 0:
                folder.grow(self.path, growth)

    def sync(self) -> None:
        """Have the system write it to its disk.

        Raises:
            FileError: It can't be.
        """
        self._check(allowed=True)
        try:
            os.fsync(self.descriptor)
        except OSError as error:
            raise FileError.of(error, self.path) from None

    def copy_from(self, source: Handle) -> None:
        """Write all of another file at this one's beginning.

        Raises:
            FileError: One of them can't be used.
            FileLimitError: A limit is reached.
        """
        size = source.stat().st_size
        with self._folder.locked():
            self._folder.check_size(self.path, size)
            self._folder.grow(self.path, size)
            copied = 0
            try:
                while copied < size:
                    step = self._copy_step(source, copied, size - copied)
                    if not step:
                        break
                    copied += step
            except OSError as error:
                raise FileError.of(error, self.path) from None
            finally:
                self._folder.grow(self.path, copied - size)

    def _copy_step(self, source: Handle, position: int, size: int) -> int:
        try:
            return os.copy_file_range(
                source.descriptor, self.descriptor, size, position, position
            )
        except OSError as error:
            if error.errno not in {errno.EXDEV, errno.EINVAL, errno.ENOSYS}:
                raise
        data = os.pread(source.descriptor, min(size, CHUNK_BYTES), position)
        self._write_all(data, position)
        return len(data)

    def _check(self, *, allowed: bool, code: str = "EBADF") -> None:
        if self.descriptor < 0:
            raise FileError(self.path, "EBADF")
        if not allowed:
            raise FileError(self.path, code)


class Replacement:
    """A file that nobody sees before it is whole. Use it in `with`.

    Attributes:
        handle: The file as it is written.
    """

    def __init__(
        self, folder: Folder, handle: Handle, beside: str, path: str, *, exclusive: bool
    ) -> None:
        """Take a new file over; called by `Folder.replace`.

        Args:
            folder: The folder that it is in.
            handle: The file.
            beside: Where it is until then.
            path: Where it is to be.
            exclusive: Whether nothing may be there.
        """
        self.handle = handle
        self._folder = folder
        self._beside = beside
        self._path = path
        self._exclusive = exclusive
        self._open = True

    def __del__(self) -> None:
        """Discard it when nobody has it any more, as a handle is closed."""
        self.discard()

    def __enter__(self) -> Self:
        """Return it."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Discard it unless it was committed."""
        self.discard()

    def write(self, data: bytes | memoryview) -> None:
        """Write more; see `Handle.write`."""
        self.handle.write(data)

    def copy_from(self, source: Handle) -> None:
        """Copy a file; see `Handle.copy_from`."""
        self.handle.copy_from(source)

    def commit(self) -> None:
        """Have it take its place.

        Raises:
            FileError: Something else is there, or the folder is gone.
        """
        self._folder.settle(self._beside, self._path, exclusive=self._exclusive)
        self._open = False
        self.handle.close()

    def discard(self) -> None:
        """Delete it; nothing happens after `commit`."""
        if not self._open:
            return
        self._open = False
        self.handle.close()
        with suppress(FileError):
            self._folder.delete(self._beside)
