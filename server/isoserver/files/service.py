"""Where each context's folder is; it is made when something is put into it.

Folders are named by a hash of workspace and id, as ids may be any text. What is done in
a folder blocks: call it in a thread.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import shutil
import threading
from collections import OrderedDict
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final, TypeAlias
from weakref import WeakKeyDictionary, WeakValueDictionary

from isokernel.errors import FileError, reason_of
from isokernel.files.folder import Folder, FolderLimits
from isoserver.errors import ContextFileError, FolderError
from isoserver.files.captures import Capture, InThread, copy_tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from structlog.typing import FilteringBoundLogger

    from isokernel.capabilities import Grant, Provider
    from isoserver.settings.server import ServerSettings

__all__ = ["Files", "Key", "provider"]

Key = tuple[str, str]
"""Workspace and id of a context."""
Digests: TypeAlias = dict[str, tuple[tuple[int, ...], str]]
"""By path, what a file was like when its content was hashed, and the hash."""
_OPEN_MAX: Final = 256
"""Folders that stay open although nobody uses them; each is a descriptor."""


class Files:
    """The folders of all contexts. For any thread.

    Attributes:
        limits: What each of them may hold.
    """

    def __init__(
        self,
        settings: ServerSettings,
        place: Path,
        log: FilteringBoundLogger | None = None,
    ) -> None:
        """Open nothing.

        Args:
            settings: The server's settings.
            place: The folder that the folders of contexts are in.
            log: Told of files that can't be kept.
        """
        self._log = log
        self._place = place
        self.limits = FolderLimits(
            settings.files_bytes_max,
            settings.files_max,
            settings.file_bytes_max,
            settings.files_open_max,
        )
        self._lock = threading.Lock()
        self._folders: WeakValueDictionary[Key, Folder] = WeakValueDictionary()
        self._recent: OrderedDict[Key, Folder] = OrderedDict()
        self._keys: dict[str, Key] = {}  # by the names of folders
        self._attached: dict[Key, Folder] = {}
        self._frozen: dict[Key, list[asyncio.Future[None]]] = {}
        self._digests: WeakKeyDictionary[Folder, Digests] = WeakKeyDictionary()

    def find(self, key: Key) -> Folder | None:
        """Return a context's folder; None if nothing was ever put into it.

        Raises:
            FolderError: It can't be opened.
        """
        return self._open(key, make=False)

    def has_folder(self, key: Key) -> bool:
        """Return whether anything was ever put into a context's folder."""
        return self.path(key).is_dir()

    def open(self, key: Key) -> Folder:
        """Return a context's folder, and make it if there is none.

        Raises:
            FolderError: It can't be made.
        """
        folder = self._open(key, make=True)
        assert folder is not None  # noqa: S101 - it was made
        return folder

    def report(self, context_id: str, lost: list[str]) -> None:
        """Log that files of a context could not be kept, and why."""
        if self._log is not None:
            self._log.warning(
                "files can't be kept", context=context_id, count=len(lost), why=lost[0]
            )

    def kept(self, key: Key, *, make: bool = False) -> Folder | None:
        """Return where a context's files are kept, also while a kernel has them.

        Raises:
            FolderError: It can't be opened or made.
        """
        return self._open(key, make=make, kept=True)

    def attach(self, key: Key, folder: Folder) -> None:
        """Have a context's files be in another folder: where its kernel has them."""
        with self._lock:
            self._attached[key] = folder

    def detach(self, key: Key, folder: Folder | None) -> None:
        """Undo `attach`, unless another folder is attached by now."""
        with self._lock:
            if self._attached.get(key) is folder:
                self._attached.pop(key, None)

    def _open(self, key: Key, *, make: bool, kept: bool = False) -> Folder | None:
        with self._lock:
            attached = self._attached.get(key)
            if attached is not None and not kept:
                return attached
            folder = self._folders.get(key)
            try:
                if folder is None:
                    path = self.path(key)
                    if make:
                        path.mkdir(0o700, parents=True, exist_ok=True)
                    folder = Folder(path, self.limits)
            except FileNotFoundError:
                return None
            except OSError as error:
                text = f"a context's folder can't be used: {reason_of(error)}"
                raise FolderError(text) from error
            self._folders[key] = self._recent[key] = folder
            self._recent.move_to_end(key)
            while len(self._recent) > _OPEN_MAX:
                self._recent.popitem(last=False)
            return folder

    def delete(self, key: Key) -> None:
        """Delete a context's folder, if it has one."""
        with self._lock:
            self._attached.pop(key, None)
            self._recent.pop(key, None)
            folder = self._folders.pop(key, None)
            path = self.path(key)
            self._keys.pop(path.name, None)
        if folder is None:
            with suppress(OSError):
                folder = Folder(path)
        if folder is None:
            return
        folder.clear()
        with suppress(OSError):
            path.rmdir()

    def keep_only(self, keys: Iterable[Key]) -> None:
        """Delete the folders of contexts that aren't there any more."""
        kept = {self.path(key).name for key in keys}
        with suppress(FileNotFoundError):
            for path in self._place.iterdir():
                if path.name not in kept:
                    with suppress(OSError):
                        folder = Folder(path)
                        folder.clear()
                    shutil.rmtree(path, ignore_errors=True)

    # -- the whole of a folder ---------------------------------------------------------

    def freeze(self, key: Key) -> None:
        """Have whatever changes a folder wait; in the event loop, as what follows."""
        loop = asyncio.get_running_loop()
        self._frozen.setdefault(key, []).append(loop.create_future())

    def thaw(self, key: Key) -> None:
        """Undo one `freeze`."""
        frozen = self._frozen[key]
        frozen.pop(0).set_result(None)
        if not frozen:
            del self._frozen[key]

    async def settled(self, key: Key) -> None:
        """Wait until a folder may be changed; whoever changes it calls this before."""
        while frozen := self._frozen.get(key):
            await asyncio.wait([frozen[0]])

    def digests(self, folder: Folder) -> Digests:
        """Return what is known of the contents of a folder's files, to be changed."""
        return self._digests.setdefault(folder, {})

    def capture(
        self, key: Key, stored: Callable[[str], bool], run: InThread
    ) -> Capture:
        """Return what reads a context's files; see `Capture`."""
        return Capture(self, key, stored, run, self._place / f"stage-{_token()}")

    def replace(self, key: Key, make: Callable[[Folder], None] | None) -> None:
        """Have a context's folder be another one; blocks.

        Args:
            key: The context.
            make: Puts files into the new folder, which is empty and has no place yet;
                None for no folder.

        Raises:
            ContextFileError: A file can't be put there.
            FolderError: The folder can't be made.
        """
        if make is None:
            self.delete(key)
            return
        new = self._place / f"new-{_token()}"
        try:
            new.mkdir(0o700, parents=True)
            folder = Folder(new, self.limits)
            make(folder)
            self.delete(key)
            with self._lock:
                new.rename(self.path(key))
                self._folders[key] = self._recent[key] = folder
        except FileError as error:
            raise ContextFileError.of(error) from None
        except OSError as error:
            text = f"a context's folder can't be made: {reason_of(error)}"
            raise FolderError(text) from error
        finally:
            shutil.rmtree(new, ignore_errors=True)

    def copy(self, key: Key, target: Key) -> None:
        """Give a context a copy of another one's folder, if that has one; blocks.

        Raises:
            ContextFileError: Something can't be copied.
            FolderError: The folder can't be made.
        """
        source = self.find(key)
        if source is not None:
            self.replace(target, partial(copy_tree, source))

    def close(self) -> None:
        """Close all folders that nobody uses."""
        with self._lock:
            self._recent.clear()

    def folder_of(self, key: Key) -> Path:
        """Return `path`, by which `of_grant` then finds the context."""
        path = self.path(key)
        self._keys[path.name] = key
        return path

    def of_grant(self, grant: Grant) -> Folder:
        """Return the folder of the context that has a grant; blocks."""
        assert grant.folder is not None  # noqa: S101 - from `folder_of`
        return self.open(self._keys[grant.folder.name])

    async def settled_for(self, grant: Grant) -> None:
        """Wait until the folder of the context that has a grant may be used."""
        assert grant.folder is not None  # noqa: S101 - as above
        await self.settled(self._keys[grant.folder.name])

    def path(self, key: Key) -> Path:
        """Return where a context's folder is, or would be."""
        name = hashlib.sha256("\0".join(key).encode("utf-8", "surrogatepass"))
        return self._place / name.hexdigest()[:40]


def _token() -> str:
    return secrets.token_hex(8)


def provider(files: Files) -> Provider:
    """Return what answers the calls of code to its folder."""
    # Imported when code makes the first call.
    from isokernel.files.provider import FileCalls  # noqa: PLC0415

    return FileCalls(files.of_grant, files.settled_for)
