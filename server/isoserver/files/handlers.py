"""The files of a context over HTTP: listed, read, written, moved, deleted."""

from __future__ import annotations

import asyncio
import mimetypes
import os
import re
import stat
from contextlib import contextmanager, suppress
from email.utils import formatdate
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, ClassVar, Final
from urllib.parse import quote

from tornado.iostream import StreamClosedError
from tornado.web import stream_request_body

from isokernel.errors import FileError
from isokernel.files.folder import Usage
from isokernel.files.handle import CHUNK_BYTES
from isokernel.files.tree import kind_of
from isoserver.errors import (
    ContextFileChangedError,
    ContextFileError,
    FieldProblem,
    InvalidRequestError,
    RangeError,
)
from isoserver.files.models import (
    FileChange,
    FileListQuery,
    etag,
    file_answer,
    usage_answer,
)
from isoserver.http.handlers import Handler
from isoserver.http.models import cut_page

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TypeVar

    from isokernel.files.folder import Folder
    from isokernel.files.handle import Handle, Replacement
    from isoserver.contexts.context import Context

    R = TypeVar("R")

__all__ = ["FileHandler", "FilesHandler"]

_RANGE: Final = re.compile(r"bytes=(\d*)-(\d*)")
_NOTHING: Final = Usage(0, 0)


class _FolderHandler(Handler):
    """Root of the handlers of files: finds the folder, calls it in threads."""

    _context: Context

    async def folder(self, context_id: str, *, make: bool = False) -> Folder | None:
        """Return the folder of one of the caller's contexts; None if it has none.

        Raises:
            ContextMissingError: There is no such context.
        """
        self._context = context = self.find_context(context_id)
        context.touch()
        files = self.parts.files
        if self.request.method != "GET":
            await files.settled(context.key)
        return await asyncio.to_thread(
            partial(files.open if make else files.find, context.key)
        )

    async def store(self) -> None:
        """Have a change be where it will last, before it is answered.

        Raises:
            ContextMissingError: The context was deleted meanwhile.
            MovingError: It may have gone to another server without the change.
            ServerError: It is to be saved at once, and can't be.
        """
        await self.parts.contexts.changed(self._context)

    async def call(self, function: Callable[..., R], *args: Any, **named: Any) -> R:
        """Call something that blocks.

        Raises:
            ContextFileError: A `FileError` was raised.
        """
        with _as_ours():
            return await asyncio.to_thread(partial(function, *args, **named))


class FilesHandler(_FolderHandler):
    """All files of a context."""

    async def get(self, context_id: str) -> None:
        """List a folder."""
        await self.list(context_id, self.parse_query(FileListQuery))

    async def list(self, context_id: str, asked: FileListQuery) -> None:
        """Answer what is in a folder."""
        folder = await self.folder(context_id)
        limits = self.parts.files.limits
        usage, found = _NOTHING, []
        if folder is not None:
            limits = folder.limits
            usage = await self.call(folder.usage)
            found = await self.call(folder.list, asked.path, recursive=asked.recursive)
        elif asked.path.strip("/"):
            raise ContextFileError.of(FileError(asked.path, "ENOENT"))
        page, following = cut_page(
            found[asked.offset : asked.offset + asked.limit + 1],
            asked.limit,
            asked.offset,
        )
        prefix = "/".join(part for part in asked.path.split("/") if part)
        files = [
            file_answer(f"{prefix}/{one.path}".lstrip("/"), one.kind, one.facts)
            for one in page
        ]
        shown = usage_answer(usage, limits.bytes_max, limits.files_max)
        self.answer({"files": files, "usage": shown, "next_offset": following})

    async def post(self, context_id: str) -> None:
        """Move or copy a file, or make a folder."""
        self.check_open()
        asked = self.parse(FileChange)
        if asked.action != "make_folder" and asked.to is None:
            raise InvalidRequestError(FieldProblem("to", "is missing"))
        folder = await self.folder(context_id, make=True)
        assert folder is not None  # noqa: S101 - it was made
        target = asked.to or ""
        if asked.action == "make_folder":
            target = asked.path
            await self.call(folder.make, target, parents=True)
        elif asked.action == "copy":
            exclusive = not asked.overwrite
            await self.call(folder.copy, asked.path, target, exclusive=exclusive)
        else:
            replaces = asked.overwrite
            await self.call(folder.move, asked.path, target, replaces=replaces)
        facts = await self.call(folder.stat, target, follow=False)
        await self.store()
        self.answer(file_answer(target.lstrip("/"), kind_of(facts.st_mode), facts))


@stream_request_body
class FileHandler(FilesHandler):
    """One file of a context, or one folder."""

    streams_body: ClassVar[bool] = True
    _replacement: Replacement | None = None
    _refusal: Exception | None = None
    _prepared = False
    _received = b""

    # -- reading -----------------------------------------------------------------------

    async def get(self, context_id: str, path: str) -> None:  # type: ignore[override]
        """Send a file, or a part of it; list a folder."""
        folder = await self.folder(context_id)
        if folder is None:
            raise ContextFileError.of(FileError(path, "ENOENT"))
        handle = await self.call(folder.open, path, os.O_RDONLY)
        try:
            facts = handle.stat()
            if stat.S_ISDIR(facts.st_mode):
                asked = self.parse_query(FileListQuery).model_copy(
                    update={"path": path}
                )
                await self.list(context_id, asked)
            else:
                await self._send(handle, path, facts)
        finally:
            handle.close()

    async def _send(self, handle: Handle, path: str, facts: os.stat_result) -> None:
        tag = etag(facts)
        self.set_header("ETag", tag)
        self.set_header("Last-Modified", formatdate(facts.st_mtime, usegmt=True))
        self.set_header("Accept-Ranges", "bytes")
        if tag in _tags(self.request.headers.get("If-None-Match", "")):
            self.set_status(HTTPStatus.NOT_MODIFIED)
            self.finish()
            return
        kind, coding = mimetypes.guess_type(path)
        self.set_header(
            "Content-Type",
            "application/octet-stream" if coding or kind is None else kind,
        )
        name = quote(path.rstrip("/").rpartition("/")[2])
        # A page that code has written must not run as one of the server's.
        self.set_header("Content-Disposition", f"attachment; filename*=UTF-8''{name}")
        start, end = 0, facts.st_size
        asked = self._range(tag, facts.st_size)
        if asked is not None:
            start, end = asked
            self.set_status(HTTPStatus.PARTIAL_CONTENT)
            place = f"bytes {start}-{end - 1}/{facts.st_size}"
            self.set_header("Content-Range", place)
        self.set_header("Content-Length", str(end - start))
        with suppress(StreamClosedError):
            while start < end:
                size = min(CHUNK_BYTES, end - start)
                chunk = await self.call(handle.read, size, start)
                if not chunk:  # it was cut meanwhile: there can't be a whole answer
                    self.request.connection.stream.close()  # type: ignore[union-attr]
                    return
                self.write(chunk)
                await self.flush()
                start += len(chunk)
        self.finish()

    def _range(self, tag: str, size: int) -> tuple[int, int] | None:
        """Return the bytes that are asked for; None for all of them.

        Raises:
            RangeError: The file has none of them.
        """
        asked = _RANGE.fullmatch(self.request.headers.get("Range", ""))
        if asked is None or not any(asked.groups()):
            return None
        if self.request.headers.get("If-Range", tag) != tag:
            return None
        first, last = asked.groups()
        if not first:
            start, end = max(0, size - int(last)), size
        else:
            start, end = int(first), min(size, int(last) + 1 if last else size)
            if last and int(last) < start:
                return None
        if start >= end:
            raise RangeError(size)
        return start, end

    # -- writing -----------------------------------------------------------------------

    async def prepare(self) -> None:
        """Begin to take a file; what can't be taken is read all the same, and refused.

        A client that is still sending doesn't read an answer.
        """
        await super().prepare()
        self._prepared = True
        if self.request.method != "PUT":
            return
        try:
            await self._begin(**self.path_kwargs)
        except Exception as error:  # noqa: BLE001 - raised by `put`
            self._refusal = error

    async def _begin(self, context_id: str, path: str) -> None:
        self.check_open()
        folder = await self.folder(context_id, make=True)
        assert folder is not None  # noqa: S101 - it was made
        # Else the folder was made of a context that is gone.
        self.parts.contexts.check_here(self._context)
        exclusive = False
        wanted = self.request.headers.get("If-Match")
        unwanted = self.request.headers.get("If-None-Match")
        tag = ""
        with suppress(FileError):
            tag = etag(await asyncio.to_thread(folder.stat, path))
        self.created = not tag
        if wanted is not None and (not tag or {tag, "*"}.isdisjoint(_tags(wanted))):
            raise ContextFileChangedError(path)
        if unwanted is not None:
            exclusive = "*" in _tags(unwanted)
            if tag and (exclusive or tag in _tags(unwanted)):
                raise ContextFileChangedError(path)
        parent = path.rstrip("/").rpartition("/")[0]
        if parent:
            await self.call(folder.make, parent, parents=True)
        self._replacement = await self.call(folder.replace, path, exclusive=exclusive)
        self._folder = folder

    async def data_received(self, chunk: bytes) -> None:
        """Write a piece of the body; called by Tornado, which waits for it."""
        self._received += chunk  # Tornado's pieces are small, a thread's turn is not
        if len(self._received) >= CHUNK_BYTES:
            await self._write_received()

    async def _write_received(self) -> None:
        data, self._received = self._received, b""
        if self._replacement is None or self._refusal is not None:
            return
        try:
            await self.call(self._replacement.write, data)
        except Exception as error:  # noqa: BLE001 - raised by `put`
            self._refusal = error

    async def put(self, context_id: str, path: str) -> None:
        """Have the file that was sent take its place, as a whole."""
        del context_id
        await self._write_received()
        if self._refusal is not None:
            raise self._refusal
        assert self._replacement is not None  # noqa: S101 - `prepare` has begun it
        # The upload may have taken long; it isn't to be in vain.
        self.parts.contexts.check_here(self._context)
        await self.parts.files.settled(self._context.key)
        await self.call(self._replacement.commit)
        facts = await self.call(self._folder.stat, path)
        await self.store()
        self.set_header("ETag", etag(facts))
        status = HTTPStatus.CREATED if self.created else HTTPStatus.OK
        self.answer(file_answer(path.lstrip("/"), "file", facts), status)

    async def delete(self, context_id: str, path: str) -> None:
        """Delete a file, or a folder with what is in it if that is asked for."""
        self.check_open()
        recursive = self.choice("recursive", "false", "true") == "true"
        folder = await self.folder(context_id)
        if folder is None:
            raise ContextFileError.of(FileError(path, "ENOENT"))
        facts = await self.call(folder.stat, path, follow=False)
        if stat.S_ISDIR(facts.st_mode):
            await self.call(folder.delete_folder, path, recursive=recursive)
        else:
            await self.call(folder.delete, path)
        await self.store()
        self.set_status(HTTPStatus.NO_CONTENT)
        self.finish()

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Say that the connection ends if Tornado is about to close it amid a body."""
        if not self._prepared:
            self.set_header("Connection", "close")
        super().write_error(status_code, **kwargs)

    def on_finish(self) -> None:
        """Discard what was sent in part."""
        self._discard()
        super().on_finish()

    def on_connection_close(self) -> None:
        """Discard what was sent in part; called by Tornado."""
        self._discard()
        super().on_connection_close()

    def _discard(self) -> None:
        replacement, self._replacement = self._replacement, None
        if replacement is not None:
            replacement.discard()


@contextmanager
def _as_ours() -> Iterator[None]:
    try:
        yield
    except FileError as error:
        raise ContextFileError.of(error) from None


def _tags(header: str) -> set[str]:
    return {tag.strip().removeprefix("W/") for tag in header.split(",")}
