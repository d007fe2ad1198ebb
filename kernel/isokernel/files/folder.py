"""One context's folder: opened once, and nothing outside of it can be reached.

Every path is found below the folder's descriptor by the system itself (`openat2`), in
one call, so nothing can be exchanged between a check and its use. What was found is
held by a descriptor, looked at, and only then opened for reading or writing: devices,
sockets and pipes are refused without being touched. Links are followed as long as they
stay in the folder; where the system has no `openat2`, they aren't followed at all.

For any thread. What changes the folder happens one after the other, for its limits.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
import threading
from collections import Counter
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from isokernel.errors import FileError, FileLimitError
from isokernel.files import names, tree
from isokernel.files.handle import Handle, Replacement
from isokernel.sandbox.syscalls import open_below

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from isokernel.files.tree import Entry

__all__ = ["Folder", "FolderLimits", "Usage"]

_LOOK: Final = os.O_PATH | os.O_CLOEXEC
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_CREATE: Final = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
_MISSING: Final = {errno.ENOSYS, errno.EPERM}
"""How openat2 fails where the system, or a filter of system calls, hasn't got it."""
_ATTEMPTS: Final = 16
_FILE_MODE: Final = 0o666
_FOLDER_MODE: Final = 0o777


class FolderLimits(NamedTuple):
    """The most that a folder may hold; None for any number.

    Attributes:
        bytes_max: Of all files together.
        files_max: Files and folders.
        file_bytes_max: Of one file.
        open_max: Files that are open at once.
    """

    bytes_max: int | None = None
    files_max: int | None = None
    file_bytes_max: int | None = None
    open_max: int | None = None


class Usage(NamedTuple):
    """What a folder holds.

    Attributes:
        size_bytes: Of all files together.
        files: Files and folders.
    """

    size_bytes: int
    files: int


class Folder:
    """A folder of files, and the only way to them.

    Attributes:
        limits: The most that it may hold.
        writable: Whether anything in it can be changed.
    """

    def __init__(
        self,
        place: Path | int,
        limits: FolderLimits | None = None,
        *,
        writable: bool = True,
        owner: int | None = None,
        shared: bool = False,
    ) -> None:
        """Open a folder.

        Args:
            place: Where it is; or a descriptor of it, which is taken over.
            limits: The most that it may hold; None for anything.
            writable: Whether anything in it can be changed.
            owner: The user and group that get what is made; None for those of the
                process.
            shared: Whether others change it too: then the file system bounds it as a
                whole, and what it holds isn't remembered, but counted for each new
                file if their number has a limit.

        Raises:
            OSError: It can't be opened.
        """
        self._root = -1
        self._lock = threading.RLock()
        if not isinstance(place, int):
            place = os.open(place, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._root = place
        self.limits = limits or FolderLimits()
        self.writable = writable
        self._owner = owner
        self._shared = shared
        self._usage: Usage | None = None
        self._open: Counter[int] = Counter()  # handles, by the file's number
        self._unlinked: set[int] = set()  # open, but without a name
        self._beneath = True

    def __del__(self) -> None:
        """Close the folder when nobody has it any more."""
        self.close()

    def close(self) -> None:
        """Close the folder; handles of files stay open."""
        with self._lock:
            root, self._root = self._root, -1
        if root >= 0:
            os.close(root)

    # -- finding -----------------------------------------------------------------------

    @contextmanager
    def _found(self, path: str, flags: int = _LOOK) -> Iterator[int]:
        """Hold what a path leads to; `FileError` for whatever the system refuses."""
        place = names.relative(path)
        try:
            found = self._find(place, flags)
        except OSError as error:
            raise FileError.of(error, path) from None
        try:
            yield found
        except OSError as error:
            raise FileError.of(error, path) from None
        finally:
            os.close(found)

    def _find(self, place: str, flags: int) -> int:
        """Open what is at a place below the folder.

        Raises:
            OSError: It isn't there, or not below the folder.
        """
        for _ in range(_ATTEMPTS if self._beneath else 0):
            try:
                return open_below(self._root, place, flags)
            except OSError as error:  # noqa: PERF203 - it seldom fails
                if error.errno in _MISSING and not self._has_openat2():
                    break
                if error.errno != errno.EAGAIN:
                    raise
        if self._beneath:  # something is moved all the time
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return self._walk(place, flags)

    def _has_openat2(self) -> bool:
        try:
            os.close(open_below(self._root, ".", _LOOK))
        except OSError:
            self._beneath = False
        return self._beneath

    def _walk(self, place: str, flags: int) -> int:
        """Open step by step what `_find` opens at once; follows no links."""
        path = [part for part in place.split("/") if part not in {"", "."}]
        held = [os.dup(self._root)]
        try:
            for number, name in enumerate(path, 1):
                if name == "..":
                    os.close(held.pop())
                    continue
                last = number == len(path) and not place.endswith("/")
                step = flags | os.O_NOFOLLOW if last else _LOOK | os.O_NOFOLLOW
                held.append(os.open(name, step | os.O_CLOEXEC, dir_fd=held[-1]))
                mode = os.fstat(held[-1]).st_mode
                if stat.S_ISLNK(mode) and not (last and flags & os.O_NOFOLLOW):
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
                if not last and not stat.S_ISDIR(mode):
                    raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
            if not path or path[-1] == ".." or place.endswith("/"):
                return os.open(f"/proc/self/fd/{held[-1]}", flags | os.O_CLOEXEC)
            return held.pop()
        finally:
            for descriptor in held:
                os.close(descriptor)

    @contextmanager
    def _place(self, path: str) -> Iterator[tuple[int, names.Place]]:
        """Hold the folder that a path's last name is in."""
        place = names.split(path)
        try:
            parent = self._find(place.parent, _LOOK | os.O_DIRECTORY)
        except OSError as error:
            raise FileError.of(error, path) from None
        try:
            yield parent, place
        except OSError as error:
            raise FileError.of(error, path) from None
        finally:
            os.close(parent)

    # -- looking -----------------------------------------------------------------------

    def stat(self, path: str, *, follow: bool = True) -> os.stat_result:
        """Return what the system says about a file, folder or link.

        Args:
            path: The path.
            follow: Whether a link at its end is followed.

        Raises:
            FileError: There is nothing, or it leads out of the folder.
        """
        with self._found(path, _LOOK if follow else _LOOK | os.O_NOFOLLOW) as found:
            return os.fstat(found)

    def access(self, path: str, mode: int) -> None:
        """Check that something is there and may be used so.

        Raises:
            FileError: It isn't there, or can't.
        """
        with self._found(path) as found:
            if mode & os.W_OK and not self.writable:
                raise FileError(path, "EROFS")
            if not os.access(f"/proc/self/fd/{found}", mode):
                raise FileError(path, "EACCES")

    def _kind(self, path: str) -> str:
        """Return the kind of what a path leads to, as `Entry.kind`; empty if nothing.

        Raises:
            FileError: It leads out of the folder, or can't be looked at.
        """
        try:
            return tree.kind_of(self.stat(path).st_mode)
        except FileError as error:
            if error.code != "ENOENT":
                raise
            return ""

    def list(self, path: str = "/", *, recursive: bool = False) -> list[Entry]:
        """List what is in a folder, sorted; links to folders aren't followed.

        Raises:
            FileError: It isn't there, or is no folder.
        """
        with self._found(path, _FOLDER) as found:
            walked = tree.walk(found, recursive=recursive)
            return [each for each in walked if not names.is_part(each.path)]

    def real_path(self, path: str) -> str:
        """Return the path without links and dots.

        Raises:
            FileError: There is nothing, or it leads out of the folder.
        """
        with self._found(path) as found:
            real, root = (
                os.readlink(f"/proc/self/fd/{each}")  # noqa: PTH115
                for each in (found, self._root)
            )
        if real != root and not real.startswith(root.rstrip("/") + "/"):
            raise FileError(path, "ENOENT")  # it was deleted meanwhile
        return "/" + real[len(root) :].lstrip("/")

    def resolve(self, path: str, *, follow: bool = True) -> str:
        """Return where a path leads, also if nothing is there yet.

        Args:
            path: The path.
            follow: Whether a link at its end is followed.

        Returns:
            A path from `/`, without links and dots as far as something is there.

        Raises:
            FileError: It can't be a path, or leads out of the folder.
        """
        rest: list[str] = []
        names_left = [name for name in names.relative(path).split("/") if name]
        ends = "/" if path.endswith("/") else ""
        if not follow and names_left and names_left[-1] not in {".", ".."}:
            rest.append(names_left.pop())
        while names_left:
            try:
                found = self.real_path("/".join(names_left))
            except FileError as error:  # noqa: PERF203 - mostly the first works
                if error.code != "ENOENT" or names_left[-1] in {".", ".."}:
                    raise
                rest.append(names_left.pop())
            else:
                break
        else:
            found = "/"
        return "/".join([found.rstrip("/"), *reversed(rest)]) + (ends if rest else "")

    # -- limits ------------------------------------------------------------------------

    def usage(self) -> Usage:
        """Return what it holds; the first call looks at every file."""
        with self._lock:
            usage = self._usage
            if usage is None:
                root = os.open(".", _FOLDER, dir_fd=self._root)
                try:
                    usage = Usage(*tree.size(root))
                finally:
                    os.close(root)
                self._usage = None if self._shared else usage
            return usage

    @property
    def _counts(self) -> bool:
        bounds = self.limits.bytes_max, self.limits.files_max
        return not self._shared and any(bound is not None for bound in bounds)

    def grow(self, path: str, size_bytes: int, files: int = 0) -> None:
        """Count what is about to be added, or negative numbers for what is gone.

        Called with `locked` held.

        Raises:
            FileLimitError: That would be more than the limits allow.
        """
        limits = self.limits
        if self._shared and files > 0 and limits.files_max is not None:
            self._check_number(path, self.usage().files + files)
        if not self._counts:
            return
        now = self.usage()
        then = Usage(now.size_bytes + size_bytes, now.files + files)
        if files > 0:
            self._check_number(path, then.files)
        most = limits.bytes_max
        if size_bytes > 0 and most is not None and then.size_bytes > most:
            text = f"the folder would have {then.size_bytes} bytes"
            raise FileLimitError(path, text, most, "files_bytes_max")
        self._usage = Usage(max(then.size_bytes, 0), max(then.files, 0))

    def _check_number(self, path: str, files: int) -> None:
        limit = self.limits.files_max
        if limit is not None and files > limit:
            text = f"the folder would have {files} files and folders"
            raise FileLimitError(path, text, limit, "files_max")

    def check_size(self, path: str, size_bytes: int) -> None:
        """Check that one file may be so large.

        Raises:
            FileLimitError: It may not.
        """
        limit = self.limits.file_bytes_max
        if limit is not None and size_bytes > limit:
            text = f"the file would have {size_bytes} bytes"
            raise FileLimitError(path, text, limit, "file_bytes_max")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep everybody else from changing anything."""
        with self._lock:
            yield

    @contextmanager
    def _changing(self, path: str) -> Iterator[None]:
        with self._lock:
            if self._root < 0:
                raise FileError(path, "EBADF", "the folder is closed")
            if not self.writable:
                raise FileError(path, "EROFS", "the folder can only be read here")
            if self._counts:
                self.usage()  # before anything changes
            yield

    def _gone(self, path: str, found: os.stat_result) -> None:
        """Count what has lost a name."""
        size = 0
        if stat.S_ISREG(found.st_mode) and found.st_nlink == 1:
            if self._open[found.st_ino]:
                self._unlinked.add(found.st_ino)  # its bytes stay until it is closed
            else:
                size = found.st_size
        self.grow(path, -size, -1)

    def _opened(self, descriptor: int, path: str, access: int) -> Handle:
        limit = self.limits.open_max
        if limit is not None and self._open.total() >= limit:
            text = f"{limit + 1} files would be open"
            raise FileLimitError(path, text, limit, "files_open_max")
        number = os.fstat(descriptor).st_ino
        self._open[number] += 1
        return Handle(self, descriptor, path, access, number)

    def closed(self, handle: Handle) -> None:
        """Count an open file less; called by `Handle.close`, before it closes."""
        with self._lock:
            self._open[handle.number] -= 1
            if self._open[handle.number] > 0:
                return
            del self._open[handle.number]
            if handle.number in self._unlinked:
                self._unlinked.discard(handle.number)
                self.grow(handle.path, -os.fstat(handle.descriptor).st_size)

    def _owned(self, descriptor: int) -> None:
        if self._owner is not None:
            os.fchown(descriptor, self._owner, self._owner)

    # -- files -------------------------------------------------------------------------

    def open(self, path: str, flags: int, mode: int = _FILE_MODE) -> Handle:
        """Open a file; folders can only be read, and nothing else is opened.

        Args:
            path: The path.
            flags: Those of open(2): how to read and write, `O_CREAT`, `O_EXCL`,
                `O_TRUNC`, `O_APPEND`, `O_DIRECTORY`, `O_NOFOLLOW`; others are ignored.
            mode: The permissions of a file that is made.

        Raises:
            FileError: It can't be opened so.
            FileLimitError: A limit is reached.
        """
        access = flags & os.O_ACCMODE
        if access == os.O_RDONLY and not flags & (os.O_CREAT | os.O_TRUNC):
            with self._lock:
                return self._open_found(path, flags)
        with self._changing(path):
            for _ in range(_ATTEMPTS):
                if flags & os.O_CREAT:
                    with suppress(_ExistsError):
                        return self._create(path, flags, mode)
                try:
                    return self._open_found(path, flags)
                except FileError as error:
                    # Deleted since it wasn't created; or a link that leads nowhere.
                    if error.code != "ENOENT" or not flags & os.O_CREAT:
                        raise
            raise FileError(path, "ENOENT")

    def _create(self, path: str, flags: int, mode: int) -> Handle:
        with self._place(path) as (parent, place):
            if place.is_folder:
                raise FileError(path, "EISDIR")
            self.grow(path, 0, 1)
            try:
                made = os.open(place.name, _CREATE, mode & 0o777, dir_fd=parent)
            except OSError as error:
                self.grow(path, 0, -1)
                if error.errno == errno.EEXIST and not flags & os.O_EXCL:
                    raise _ExistsError from None
                raise
            try:
                self._owned(made)
                return self._opened(made, path, flags & (os.O_ACCMODE | os.O_APPEND))
            except BaseException:
                os.close(made)
                os.unlink(place.name, dir_fd=parent)
                self.grow(path, 0, -1)
                raise

    def _open_found(self, path: str, flags: int) -> Handle:
        access = flags & (os.O_ACCMODE | os.O_APPEND)
        if flags & os.O_EXCL and flags & os.O_CREAT:
            raise FileError(path, "EEXIST")
        with self._found(path, _LOOK | flags & os.O_NOFOLLOW) as found:
            seen = os.fstat(found)
            kind = tree.kind_of(seen.st_mode)
            if kind == "link":
                raise FileError(path, "ELOOP")
            if kind == "other":
                text = "devices, sockets and pipes can't be opened"
                raise FileError(path, "EACCES", text)
            if kind == "folder":
                if access != os.O_RDONLY:
                    raise FileError(path, "EISDIR")
            elif flags & os.O_DIRECTORY:
                raise FileError(path, "ENOTDIR")
            how = os.O_RDONLY if access == os.O_RDONLY else os.O_RDWR
            # Of what is held: nobody can have put anything else in its place.
            opened = os.open(f"/proc/self/fd/{found}", how | os.O_CLOEXEC)
            try:
                handle = self._opened(opened, path, access)
            except BaseException:
                os.close(opened)
                raise
        if flags & os.O_TRUNC and kind == "file":
            try:
                handle.truncate(0)
            except BaseException:
                handle.close()
                raise
        return handle

    def read(self, path: str) -> bytes:
        """Return all of a file.

        Raises:
            FileError: It can't be read.
        """
        with self.open(path, os.O_RDONLY) as handle:
            return handle.read_all()

    def write(self, path: str, data: bytes) -> None:
        """Write a file as a whole: nobody ever sees a part of it.

        Raises:
            FileError: It can't be written.
            FileLimitError: A limit is reached.
        """
        with self.replace(path) as replacement:
            replacement.write(data)
            replacement.commit()

    def replace(
        self, path: str, *, exclusive: bool = False, mode: int = _FILE_MODE
    ) -> Replacement:
        """Begin a file that appears at a path, whole, by `Replacement.commit`.

        Args:
            path: The path; what is there stays as it is until then.
            exclusive: Whether nothing may be there then.
            mode: The permissions of a new file; those of one that is replaced stay.

        Raises:
            FileError: A file can't be made there.
            FileLimitError: A limit is reached.
        """
        with suppress(FileError):
            seen = self.stat(path)
            if stat.S_ISREG(seen.st_mode):
                mode = stat.S_IMODE(seen.st_mode) & 0o777
            # Where a link leads is where the file is to be.
            if stat.S_ISLNK(self.stat(path, follow=False).st_mode):
                path = self.real_path(path)
        with self._changing(path):
            place = names.split(path)
            seen_kind = ""
            with suppress(FileError):
                seen_kind = tree.kind_of(self.stat(path, follow=False).st_mode)
            if place.is_folder or seen_kind == "folder":
                raise FileError(path, "EISDIR")
            if seen_kind == "other":
                text = "devices, sockets and pipes can't be replaced"
                raise FileError(path, "EACCES", text)
            if exclusive and seen_kind:
                raise FileError(path, "EEXIST")
            if seen_kind:
                self.access(path, os.W_OK)
            name = names.new_part()
            beside = f"{place.parent}/{name}"
            handle = self._create(beside, os.O_RDWR, mode)
            if seen_kind == "file":
                os.fchmod(handle.descriptor, mode)
            return Replacement(self, handle, beside, path, exclusive=exclusive)

    def settle(self, beside: str, path: str, *, exclusive: bool) -> None:
        """Have a file take its path; called by `Replacement.commit`."""
        self.move(beside, path, replaces=not exclusive)

    def truncate(self, path: str, size_bytes: int = 0) -> None:
        """Cut a file, or fill it with zeros, to a size.

        Raises:
            FileError: It can't be changed.
            FileLimitError: A limit is reached.
        """
        with self.open(path, os.O_WRONLY) as handle:
            handle.truncate(size_bytes)

    # -- names -------------------------------------------------------------------------

    def make(
        self, path: str, *, parents: bool = False, mode: int = _FOLDER_MODE
    ) -> str | None:
        """Make a folder.

        Args:
            path: The path.
            parents: Whether the folders above are made too, and it may exist.
            mode: Its permissions.

        Returns:
            The path of the first folder that was made; None if there was none to make.

        Raises:
            FileError: It can't be made.
            FileLimitError: A limit is reached.
        """
        with self._changing(path):
            if not parents:
                self._make(path, mode)
                return path
            first = None
            done: list[str] = []
            for name in names.relative(path).split("/"):
                if name in {"", "."}:
                    continue
                done.append(name)
                step = "/".join(done)
                kind = self._kind(step)
                if not kind and name != "..":
                    self._make(step, mode)
                    first = first or step
                elif kind != "folder":
                    last = step == names.relative(path).rstrip("/")
                    raise FileError(path, "EEXIST" if last else "ENOTDIR")
            return first

    def _make(self, path: str, mode: int) -> None:
        with self._place(path) as (parent, place):
            self.grow(path, 0, 1)
            try:
                os.mkdir(place.name, mode & 0o777, dir_fd=parent)
            except OSError:
                self.grow(path, 0, -1)
                raise
            if self._owner is not None:
                os.chown(
                    place.name,
                    self._owner,
                    self._owner,
                    dir_fd=parent,
                    follow_symlinks=False,
                )

    def make_temporary(self, prefix: str) -> str:
        """Make a folder whose name begins so; six characters make it a new one.

        Returns:
            Its path.

        Raises:
            FileError: It can't be made.
            FileLimitError: A limit is reached.
        """
        letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
        for _ in range(_ATTEMPTS):
            path = prefix + "".join(secrets.choice(letters) for _ in range(6))
            try:
                self.make(path, mode=0o700)
            except FileError as error:
                if error.code != "EEXIST":
                    raise
            else:
                return path
        raise FileError(prefix, "EEXIST")

    def move(self, path: str, target: str, *, replaces: bool = True) -> None:
        """Move a file or folder, as rename(2) does: what is at the target is replaced.

        Args:
            path: Where it is.
            target: Where it is to be.
            replaces: Whether something may be there.

        Raises:
            FileError: It can't be moved there.
        """
        with (
            self._changing(path),
            self._place(path) as (parent, place),
            self._place(target) as (other, goal),
        ):
            seen = os.stat(place.name, dir_fd=parent, follow_symlinks=False)
            folder = stat.S_ISDIR(seen.st_mode)
            if not folder and (place.is_folder or goal.is_folder):
                raise FileError(path, "ENOTDIR")
            if folder:
                self._check_depth(parent, place.name, target)
            replaced = None
            with suppress(FileNotFoundError):
                replaced = os.stat(goal.name, dir_fd=other, follow_symlinks=False)
            if replaced is not None and not replaces:
                raise FileError(target, "EEXIST")
            os.rename(place.name, goal.name, src_dir_fd=parent, dst_dir_fd=other)
            if replaced is not None and not os.path.samestat(replaced, seen):
                self._gone(target, replaced)

    def _check_depth(self, parent: int, name: str, target: str) -> None:
        moved = os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=parent)
        try:
            below = tree.depth(moved)
        finally:
            os.close(moved)
        real = self.real_path(names.split(target).parent)
        if below + 1 + len([part for part in real.split("/") if part]) > (
            names.DEPTH_MAX
        ):
            text = f"more than {names.DEPTH_MAX} folders in each other"
            raise FileError(target, "ENAMETOOLONG", text)

    def copy(self, path: str, target: str, *, exclusive: bool = False) -> None:
        """Copy a file; on file systems that can, its bytes are shared until changed.

        Args:
            path: Which file.
            target: Where the copy is to be; a file that is there is replaced.
            exclusive: Whether nothing may be there.

        Raises:
            FileError: It can't be copied.
            FileLimitError: A limit is reached.
        """
        with self.open(path, os.O_RDONLY) as source:
            found = source.stat()
            if not stat.S_ISREG(found.st_mode):
                raise FileError(path, "EISDIR")
            with suppress(FileError):
                if os.path.samestat(self.stat(target), found):
                    if exclusive:
                        raise FileError(target, "EEXIST")
                    return
            mode = stat.S_IMODE(found.st_mode)
            with self.replace(target, exclusive=exclusive, mode=mode) as replacement:
                replacement.copy_from(source)
                replacement.commit()

    def delete(self, path: str) -> None:
        """Delete a file or link.

        Raises:
            FileError: There is none, or it is a folder.
        """
        with self._changing(path), self._place(path) as (parent, place):
            seen = os.stat(place.name, dir_fd=parent, follow_symlinks=False)
            if stat.S_ISDIR(seen.st_mode):
                raise FileError(path, "EISDIR")
            if place.is_folder:
                raise FileError(path, "ENOTDIR")
            os.unlink(place.name, dir_fd=parent)
            self._gone(path, seen)

    def set_times(self, path: str, modified_ns: int) -> None:
        """Say when something was changed last, in nanoseconds since 1970.

        Raises:
            FileError: It isn't there.
        """
        with self._changing(path), self._found(path) as found:
            # Links of /proc lead to what is held, and nowhere else.
            os.utime(f"/proc/self/fd/{found}", ns=(modified_ns, modified_ns))

    def clear(self) -> None:
        """Delete everything, and close the folder: nothing can be added any more."""
        with self._lock:
            if self._root < 0:
                return
            folder = os.open(".", _FOLDER, dir_fd=self._root)
            self.close()
        try:
            with suppress(OSError):
                tree.empty(folder, lambda _found: None)
        finally:
            os.close(folder)

    def delete_folder(self, path: str, *, recursive: bool = False) -> None:
        """Delete a folder.

        Args:
            path: The path; a link to a folder is none.
            recursive: Whether what is in it is deleted too.

        Raises:
            FileError: It isn't there, is no folder, or not empty.
        """
        with self._changing(path), self._place(path) as (parent, place):
            if recursive:
                folder = os.open(place.name, _FOLDER | os.O_NOFOLLOW, dir_fd=parent)
                try:
                    tree.empty(folder, lambda found: self._gone(path, found))
                finally:
                    os.close(folder)
            os.rmdir(place.name, dir_fd=parent)
            self.grow(path, 0, -1)


class _ExistsError(Exception):
    """A file that was to be made is there already."""
