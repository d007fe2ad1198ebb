"""What code asks of its folder: the calls `files.*`, answered by who holds the folder.

A small file is read or written by one call; a larger one piece by piece, by a number
that stands for the open file and belongs to its context. What is decided on is the path
without links and dots, and that path is what is used.
"""

from __future__ import annotations

import asyncio
import os
import stat
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from isokernel.capabilities import Answer, Asked, CapabilityError
from isokernel.errors import FileError, FileLimitError
from isokernel.files.folder import Folder
from isokernel.files.handle import CHUNK_BYTES, Handle, Replacement

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from isokernel.capabilities import Call, Grant

__all__ = ["FileCalls", "OpenFolder"]

OpenFolder: TypeAlias = "Callable[[Grant], Folder]"
"""Returns the folder of a context; blocks."""

_ANSWER_BYTES: Final = 8 * CHUNK_BYTES
"""Of a file that is sent with the answer to `files.load`; more is read afterwards."""
_FIRST_HANDLE: Final = 3
_WRITES: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class _Held(NamedTuple):
    """An open file of a context."""

    handle: Handle
    replacement: Replacement | None


class _Context:
    """What is open for one context."""

    def __init__(self, folder: Folder) -> None:
        self.folder = folder
        self.held: dict[int, _Held] = {}
        self.last = _FIRST_HANDLE - 1

    def hold(self, handle: Handle, replacement: Replacement | None = None) -> int:
        self.last += 1
        self.held[self.last] = _Held(handle, replacement)
        return self.last

    def close(self) -> None:
        held, self.held = self.held, {}
        for one in held.values():
            if one.replacement is not None:
                one.replacement.discard()
            one.handle.close()


def _folder_of_grant(grant: Grant) -> Folder:
    if grant.folder is None:
        raise FileError(path="/", code="ENOENT", detail="the context has no folder")
    return Folder(grant.folder)


class FileCalls:
    """Answers the calls `files.*`; a `Provider`."""

    def __init__(
        self,
        open_folder: OpenFolder = _folder_of_grant,
        settled: Callable[[Grant], Awaitable[None]] | None = None,
    ) -> None:
        """Hold nothing.

        Args:
            open_folder: Opens the folder of a context at its first call; that of the
                grant, without limits, if not given.
            settled: Waits until a context's folder may be used.
        """
        self._settled = settled
        self._open_folder = open_folder
        self._contexts: dict[str, _Context] = {}
        self._calls = {
            name.removeprefix("_do_"): getattr(self, name)
            for name in dir(self)
            if name.startswith("_do_")
        }

    async def call(self, call: Call) -> Answer:
        """Answer a call; see `Provider`."""
        do = self._calls.get(call.name.partition(".")[2])
        if do is None:
            message = f"{call.name}: there is no such call"
            raise CapabilityError(message, code="not_provided")
        if self._settled is not None:
            await self._settled(call.grant)
        try:
            context = self._contexts.get(call.grant.context_id)
            if context is None:
                folder = await asyncio.to_thread(self._open_folder, call.grant)
                context = self._contexts.setdefault(
                    call.grant.context_id, _Context(folder)
                )
            answer: Answer = await do(_Asking(call, context))
        except FileError as error:
            raise _told(error) from None
        except OSError as error:
            raise _told(FileError.of(error, "")) from None
        return answer

    async def close(self, context_id: str) -> None:
        """Close what a context has open; see `Provider`."""
        context = self._contexts.pop(context_id, None)
        if context is not None:
            await asyncio.to_thread(context.close)

    # -- whole files -------------------------------------------------------------------

    async def _do_load(self, asking: _Asking) -> Answer:
        """Read a file: all of it, or its beginning and a handle for the rest.

        The path that is returned has no links.
        """
        path = await asking.path("read")
        context = asking.context

        def load() -> Answer:
            handle = context.folder.open(path, os.O_RDONLY)
            keeps = False
            try:
                size = handle.stat().st_size
                chunks, read = [], 0
                while read < _ANSWER_BYTES and (chunk := handle.read(CHUNK_BYTES)):
                    chunks.append(chunk)
                    read += len(chunk)
                keeps = read >= _ANSWER_BYTES
                number = context.hold(handle) if keeps else None
                value = {"size": size, "handle": number, "path": path}
                return Answer(value, b"".join(chunks))
            finally:
                if not keeps:
                    handle.close()

        return await asyncio.to_thread(load)

    async def _do_store(self, asking: _Asking) -> Answer:
        """Write a file that appears as a whole; with `more`, return a handle."""
        path = await asking.path("write")
        exclusive, mode = asking.flag("exclusive"), asking.number("mode", 0o666)
        context, more, data = asking.context, asking.flag("more"), asking.data

        def store() -> Answer:
            replacement = context.folder.replace(path, exclusive=exclusive, mode=mode)
            try:
                replacement.write(data)
                if more:
                    return Answer(context.hold(replacement.handle, replacement))
                replacement.commit()
            except BaseException:
                replacement.discard()
                raise
            return Answer()

        return await asyncio.to_thread(store)

    async def _do_append(self, asking: _Asking) -> Answer:
        """Write at the end of a file, which is made if there is none."""
        path = await asking.path("write")
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        folder, data, mode = asking.folder, asking.data, asking.number("mode", 0o666)

        def append() -> None:
            with folder.open(path, flags, mode) as handle:
                handle.write(data)

        return await asking.run(append)

    # -- open files --------------------------------------------------------------------

    async def _do_open(self, asking: _Asking) -> Answer:
        flags, mode = asking.number("flags"), asking.number("mode", 0o666)
        path = await asking.path("write" if flags & _WRITES else "read")
        handle = await asyncio.to_thread(asking.folder.open, path, flags, mode)
        return Answer(asking.context.hold(handle))

    async def _do_read(self, asking: _Asking) -> Answer:
        handle, position = asking.handle(), asking.position()
        size = asking.number("size", CHUNK_BYTES)
        return Answer(None, await asyncio.to_thread(handle.read, size, position))

    async def _do_write(self, asking: _Asking) -> Answer:
        handle, position = asking.handle(), asking.position()
        return Answer(await asyncio.to_thread(handle.write, asking.data, position))

    async def _do_close(self, asking: _Asking) -> Answer:
        held = asking.context.held.pop(asking.number("handle"), None)
        if held is None:
            raise FileError(path="", code="EBADF")
        if held.replacement is None:
            return await asking.run(held.handle.close)
        if asking.flag("commit"):
            return await asking.run(partial(_commit, held.replacement))
        return await asking.run(held.replacement.discard)

    async def _do_sync(self, asking: _Asking) -> Answer:
        return await asking.run(asking.handle().sync)

    # -- looking -----------------------------------------------------------------------

    async def _do_stat(self, asking: _Asking) -> Answer:
        if "handle" in asking.arguments:
            return Answer(_facts(asking.handle().stat()))
        follow = not asking.flag("link")
        path = await asking.path("read", follow=follow)
        found = await asyncio.to_thread(asking.folder.stat, path, follow=follow)
        return Answer(_facts(found))

    async def _do_list(self, asking: _Asking) -> Answer:
        path, recursive = await asking.path("read"), asking.flag("recursive")
        found = await asyncio.to_thread(asking.folder.list, path, recursive=recursive)
        return Answer([[each.path, each.kind] for each in found])

    async def _do_access(self, asking: _Asking) -> Answer:
        mode = asking.number("mode", 0)
        path = await asking.path("write" if mode & os.W_OK else "read")
        return await asking.run(partial(asking.folder.access, path, mode))

    async def _do_real_path(self, asking: _Asking) -> Answer:
        path = await asking.path("read")
        return Answer(await asyncio.to_thread(asking.folder.real_path, path))

    # -- changing ----------------------------------------------------------------------

    async def _do_make(self, asking: _Asking) -> Answer:
        path = await asking.path("write")
        parents, mode = asking.flag("parents"), asking.number("mode", 0o777)
        make = partial(asking.folder.make, path, parents=parents, mode=mode)
        return Answer(await asyncio.to_thread(make))

    async def _do_make_temporary(self, asking: _Asking) -> Answer:
        prefix = await asking.path("write", follow=False)
        return Answer(await asyncio.to_thread(asking.folder.make_temporary, prefix))

    async def _do_move(self, asking: _Asking) -> Answer:
        path = await asking.path("write", follow=False)
        target = await asking.path("write", "to", follow=False)
        return await asking.run(partial(asking.folder.move, path, target))

    async def _do_copy(self, asking: _Asking) -> Answer:
        path, target = await asking.path("read"), await asking.path("write", "to")
        exclusive = asking.flag("exclusive")
        return await asking.run(
            partial(asking.folder.copy, path, target, exclusive=exclusive)
        )

    async def _do_delete(self, asking: _Asking) -> Answer:
        path = await asking.path("write", follow=False)
        return await asking.run(partial(asking.folder.delete, path))

    async def _do_delete_folder(self, asking: _Asking) -> Answer:
        path = await asking.path("write", follow=False)
        recursive = asking.flag("recursive")
        return await asking.run(
            partial(asking.folder.delete_folder, path, recursive=recursive)
        )

    async def _do_truncate(self, asking: _Asking) -> Answer:
        size = asking.number("size", 0)
        if "handle" in asking.arguments:
            return await asking.run(partial(asking.handle().truncate, size))
        path = await asking.path("write")
        return await asking.run(partial(asking.folder.truncate, path, size))


class _Asking:
    """A call, with its arguments checked as they are read."""

    def __init__(self, call: Call, context: _Context) -> None:
        self.context = context
        self.folder = context.folder
        self.arguments = call.arguments
        self.data = call.data or b""
        self._name = call.name
        self._grant = call.grant

    async def path(
        self, access: str, name: str = "path", *, follow: bool = True
    ) -> str:
        """Return a path without links and dots, once it is allowed."""
        given = self.arguments.get(name)
        if not isinstance(given, str):
            raise self._invalid(name)
        found = await asyncio.to_thread(self.folder.resolve, given, follow=follow)
        await self._grant.decide(Asked("files", found, {"access": access}))
        return found

    def number(self, name: str, default: int | None = None) -> int:
        value = self.arguments.get(name, default)
        if type(value) is not int or not 0 <= value < 1 << 53:
            raise self._invalid(name)
        return value

    def position(self) -> int | None:
        given = self.arguments.get("position")
        return None if given is None else self.number("position")

    def flag(self, name: str) -> bool:
        return self.arguments.get(name) is True

    def handle(self) -> Handle:
        held = self.context.held.get(self.number("handle"))
        if held is None:
            raise FileError(path="", code="EBADF")
        return held.handle

    async def run(self, function: Callable[[], object]) -> Answer:
        await asyncio.to_thread(function)
        return Answer()

    def _invalid(self, name: str) -> CapabilityError:
        message = f"{self._name}: the argument {name} is missing or invalid"
        return CapabilityError(message, code="invalid_arguments")


def _commit(replacement: Replacement) -> None:
    try:
        replacement.commit()
    except BaseException:
        replacement.discard()
        raise


def _facts(found: os.stat_result) -> dict[str, Any]:
    kind = stat.S_IFMT(found.st_mode)
    return {
        "mode": kind | stat.S_IMODE(found.st_mode),
        "size": found.st_size,
        "nlink": found.st_nlink,
        "ino": found.st_ino % (1 << 53),
        "blocks": found.st_blocks,
        "atimeMs": found.st_atime_ns / 1e6,
        "mtimeMs": found.st_mtime_ns / 1e6,
        "ctimeMs": found.st_ctime_ns / 1e6,
    }


def _told(error: FileError) -> CapabilityError:
    details = {"detail": error.detail} if error.detail else {}
    if isinstance(error, FileLimitError):
        details["setting"] = error.setting
    return CapabilityError(str(error), code=error.code, **details)
