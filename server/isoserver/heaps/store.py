"""Where heaps are: files named by their keys, in a folder or an object store.

Every method blocks until the store has answered: call it in one of `StoreThreads`. A
file appears whole or not at all. One that is to be deleted is set aside first, so that
it can be brought back for whoever has come to own the heap meanwhile.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import secrets
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple, ParamSpec, TypeVar

from isokernel.errors import reason_of
from isokernel.timeouts import timeout
from isoserver.errors import HeapStoreError, ServerError
from isoserver.settings.server import S3_URLS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Future

__all__ = ["CONTENTS", "HEAPS", "HeapFile", "HeapStore", "StoreThreads"]

HEAPS: Final = ".heap"
CONTENTS: Final = ".content"
"""The ending of files that have the contents of contexts' files."""
_PART: Final = ".part"
_ASIDE: Final = ".aside"
_ENDING: Final = "the store of heaps isn't used any more: the server is ending"
_ANSWER_SECONDS: Final = 20.0
_LEAST_BYTES_PER_SECOND: Final = 1 << 20
"""That many of what is sent are waited for in addition: no library has a bound for it,
but for the next bytes of what comes back."""
_READ_SECONDS: Final = 10.0
_LONG: Final = frozenset({"cat_file", "cp_file", "find"})
"""What may take longer in all."""
_THREADS: Final = 16
_LOOK_SECONDS: Final = 0.1
_ENDINGS: Final = 20
_SILENT: Final = "the store of heaps answers nothing that it is asked"
_SILENT_SECONDS: Final = 8.0
"""How long what is given up has waited for a thread. To ask the store takes up to 20 s
more, and clients wait for half a minute."""

_WAIT_SECONDS: Final = _ANSWER_SECONDS + _SILENT_SECONDS
"""How long a thread is waited for at most while nothing comes to an end: a folder of
another machine's may fail never."""

P = ParamSpec("P")
R = TypeVar("R")


class HeapFile(NamedTuple):
    """A file in the store.

    Attributes:
        key: The heap key, or the hash of a file's content.
        ending: `HEAPS` or `CONTENTS`.
        changed_at: When it was written, in seconds since 1970; 0 if that isn't known.
        state: `whole`, `aside`, or `part` of one that was never finished.
        path: Where it is.
        size: How many bytes it has.
    """

    key: str
    ending: str
    changed_at: float
    state: str
    path: str
    size: int


def _translated(method: Callable[P, R]) -> Callable[P, R]:
    """Raise what a store's library raises as a `HeapStoreError`."""

    @functools.wraps(method)
    def translated(*args: P.args, **kwargs: P.kwargs) -> R:
        store: HeapStore = args[0]  # type: ignore[assignment]  # they are methods
        try:
            done = method(*args, **kwargs)
        except ServerError:
            raise
        except FileNotFoundError as error:
            if not _is_bucket_missing(error):
                raise
            message = f"the store of heaps isn't there: {reason_of(error)}"
            raise HeapStoreError(message) from error
        except Exception as error:  # each library has its own
            store.check_open()  # what was given up has come to nothing
            reason = reason_of(error) or "it does not answer"
            message = f"the store of heaps can't be used: {reason}"
            raise HeapStoreError(message) from error
        return done

    return translated


def _is_bucket_missing(error: FileNotFoundError) -> bool:
    """Tell the absence of a whole bucket of S3's from that of one file in it."""
    answer = getattr(error.__cause__, "response", {})
    return bool(answer.get("Error", {}).get("Code") == "NoSuchBucket")


class HeapStore:
    """The files of heaps. From any thread."""

    def __init__(self, url: str, ending: str = HEAPS) -> None:
        """Create a store at an address; the first method called opens it.

        Args:
            url: A folder, or a URL that fsspec knows: s3://BUCKET/PATH, memory://PATH.
            ending: That of the files' names.
        """
        self._url = url
        self._ending = ending
        self._given_up = False

    @functools.cached_property
    def _opened(self) -> tuple[Any, str]:
        from fsspec.core import url_to_fs  # noqa: PLC0415 - 20 ms of a start

        # Cached listings would hide what other processes have written since.
        options = {"use_listings_cache": False, **_options(self._url)}
        file_system, root = url_to_fs(self._url, **options)
        file_system.retries = 1  # s3fs's own, besides those of the library that it uses
        return file_system, root.rstrip("/")

    @property
    def _fs(self) -> Any:
        return self._opened[0]

    @property
    def _is_local(self) -> bool:
        return "file" in self._fs.protocol

    def check_open(self) -> None:
        """Refuse what comes too late.

        Raises:
            HeapStoreError: The store was given up.
        """
        if self._given_up:
            raise HeapStoreError(_ENDING)

    def give_up(self) -> None:
        """Ask nothing more of the store: whoever waits for it is told so."""
        self._given_up = True
        opened = self.__dict__.get("_opened")
        loop = None if opened is None else getattr(opened[0], "loop", None)
        if loop is not None:  # in which fsspec asks a store that is elsewhere
            loop.call_soon_threadsafe(_cancel_all, loop)

    def _ask(self, what: str, *args: Any, size: int = 0, **options: Any) -> Any:
        """Ask the store for one thing.

        fsspec returns nothing for what was cancelled, as if it was done.

        Args:
            what: A method of fsspec's.
            args: What it is given.
            size: How many bytes are sent, which takes time.
            options: What it is given besides.
        """
        self.check_open()
        if getattr(self._fs, "async_impl", False) and what not in _LONG:
            options["timeout"] = _ANSWER_SECONDS + size / _LEAST_BYTES_PER_SECOND
        found = getattr(self._fs, what)(*args, **options)
        self.check_open()
        return found

    def _move(self, path: str, to: str) -> None:
        if self._is_local:
            self._ask("mv", path, to)
            return
        self._ask("cp_file", path, to)
        self._ask("rm_file", path)

    @_translated
    def open(self) -> None:
        """Make the folder, and check that it can be read.

        Raises:
            HeapStoreError: There is no such kind of store, its library is missing, or
                it can't be used.
        """
        if self._is_local:
            self._ask("makedirs", self._opened[1], exist_ok=True)
        try:
            self._ask("cat_file", self._path("0" * 64))
        except FileNotFoundError as error:
            if _is_bucket_missing(error):
                raise

    @_translated
    def write(self, key: str, packed: bytes) -> None:
        """Store a file; one that is there is replaced, at once and as a whole.

        Raises:
            HeapStoreError: It isn't stored, also if what is missing is the folder, the
                bucket, or a part of the upload.
        """
        try:
            self._write(key, packed)
        except FileNotFoundError as error:
            message = f"the store of heaps can't be written: {reason_of(error)}"
            raise HeapStoreError(message) from error

    def _write(self, key: str, packed: bytes) -> None:
        path = self._path(key)
        if not self._is_local:
            # An object appears when it is whole.
            self._ask("pipe_file", path, packed, size=len(packed))
            return
        part = f"{path}.{secrets.token_hex(8)}{_PART}"
        try:
            self._ask("pipe_file", part, packed)
            self._move(part, path)
        except BaseException:
            # On a disk that is full, what was written would keep it full.
            with suppress(OSError):
                self._fs.rm_file(part)
            raise

    @_translated
    def read(self, key: str) -> bytes:
        """Read a file, also one that is set aside.

        Raises:
            FileNotFoundError: There is none.
        """
        path = self._path(key)
        for place in (path, path + _ASIDE):
            with suppress(FileNotFoundError):
                return bytes(self._ask("cat_file", place))
        return bytes(self._ask("cat_file", path))  # it may have been brought back

    @_translated
    def exists(self, key: str) -> bool:
        """Tell whether there is a file that isn't set aside.

        One that is may be about to be deleted, however long ago that was decided: the
        process may have been stopped since.
        """
        return bool(self._ask("exists", self._path(key)))

    @_translated
    def size(self, key: str) -> int:
        """Return the bytes of a file that isn't set aside.

        Raises:
            FileNotFoundError: There is none.
        """
        return int(self._ask("size", self._path(key)) or 0)

    @_translated
    def set_aside(self, key: str) -> bool:
        """Set a file aside, to be brought back or deleted; False if there is none."""
        path = self._path(key)
        try:
            self._move(path, path + _ASIDE)
        except FileNotFoundError:
            return False
        return True

    @_translated
    def bring_back(self, key: str) -> None:
        """Bring back what was set aside, unless it was written again meanwhile."""
        path = self._path(key)
        with suppress(FileNotFoundError):
            if self._ask("exists", path):
                self._ask("rm_file", path + _ASIDE)
            else:
                self._move(path + _ASIDE, path)

    def delete_aside(self, key: str) -> None:
        """Delete a file that was set aside, if there is one."""
        self.delete(self._path(key) + _ASIDE)

    @_translated
    def delete(self, path: str) -> None:
        """Delete a file that `files` has listed, if it is still there."""
        with suppress(FileNotFoundError):
            self._ask("rm_file", path)

    @property
    def parts(self) -> Sequence[str]:
        """What keys begin with, for `files` to list one part after the other."""
        return "0123456789abcdef" if self._can_list_parts else ("",)

    @property
    def _can_list_parts(self) -> bool:
        return self._url.startswith(S3_URLS)

    @_translated
    def files(self, part: str = "") -> list[HeapFile]:
        """List files, whatever their state and ending.

        Args:
            part: Only those whose keys begin with it, one of `parts`.
        """
        options: dict[str, Any] = {"prefix": part} if self._can_list_parts else {}
        try:
            found = self._ask("find", self._opened[1], detail=True, **options)
        except FileNotFoundError:
            return []
        files = (_file(path, facts) for path, facts in found.items())
        return [file for file in files if file is not None]

    def _path(self, key: str) -> str:
        return f"{self._opened[1]}/{key}{self._ending}"


class StoreThreads:
    """Threads for what waits for a store, so that nothing else waits with it.

    Where the store is away, it is given up by those that have a thread, each in its own
    time. What has waited long for a thread by then isn't to wait as long again: it
    fails with them. While the store answers, however slowly, all have their turn.
    """

    def __init__(self) -> None:
        """Begin none; each is begun when it is first needed."""
        self._threads = ThreadPoolExecutor(_THREADS, "isok-heaps")
        self._lock = threading.Lock()
        self._asked: dict[Future[Any], float] = {}
        self._answered = 0.0
        self._closed = False

    async def run(
        self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Call a function that asks a store, in a thread.

        Raises:
            HeapStoreError: There is no thread for it, as the store answers none.
        """
        context = contextvars.copy_context()
        asking = functools.partial(context.run, function, *args, **kwargs)
        with self._lock:
            try:
                work = self._threads.submit(self._note, asking)
            except RuntimeError as error:  # they are closed
                raise HeapStoreError(_ENDING) from error
            self._asked[work] = time.monotonic()
        done = asyncio.wrap_future(work)
        try:
            while not done.done():
                silent = time.monotonic() - max(self._asked[work], self._answered)
                left: float | None = _WAIT_SECONDS - silent
                if silent >= _WAIT_SECONDS:
                    left = 0.0 if work.cancel() else None  # it has a thread by now
                await asyncio.wait({done}, timeout=left)
            if done.cancelled():
                raise HeapStoreError(_ENDING if self._closed else _SILENT)
            return done.result()
        finally:
            done.cancel()
            with self._lock:
                del self._asked[work]

    def _note(self, asking: Callable[[], R]) -> R:
        """Ask, and note when an answer has come, or that none has."""
        try:
            found = asking()
        except HeapStoreError:
            self._give_up()
            raise
        except BaseException:  # of what it has answered
            self._answered = time.monotonic()
            raise
        self._answered = time.monotonic()
        return found

    def _give_up(self) -> None:
        """Have what waits for a thread fail, where nothing was answered meanwhile."""
        now = time.monotonic()
        with self._lock:
            for work, since in self._asked.items():
                if now - max(since, self._answered) >= _SILENT_SECONDS:
                    work.cancel()  # unless it has a thread

    async def close(self, give_up: Callable[[], None]) -> None:
        """Begin no more, and wait for those that there are, for a while.

        Args:
            give_up: Ends what is asked of the store. Called again and again, as a
                thread may just be about to ask.
        """
        self._closed = True
        self._threads.shutdown(wait=False, cancel_futures=True)
        loop, ended = asyncio.get_running_loop(), asyncio.Event()

        def wait() -> None:
            self._threads.shutdown()
            with suppress(RuntimeError):  # nobody has waited for so long
                loop.call_soon_threadsafe(ended.set)

        # Not one of the loop's threads, which its end would wait for.
        threading.Thread(target=wait, name="isok-heaps-end", daemon=True).start()
        for _ in range(_ENDINGS):
            with suppress(asyncio.TimeoutError):
                async with timeout(_LOOK_SECONDS):
                    await ended.wait()
                return
            give_up()


def _cancel_all(loop: asyncio.AbstractEventLoop) -> None:
    waits = False
    for task in asyncio.all_tasks(loop):
        # Who waits for one that never begins wouldn't be told.
        coroutine: Any = task.get_coro()
        if inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED:
            waits = True
        else:
            task.cancel()
    if waits:
        loop.call_soon(_cancel_all, loop)


def _options(url: str) -> dict[str, Any]:
    """Return what a kind of store is told besides its URL."""
    # A store that can't be reached is given up after 10 s, one that takes requests and
    # answers none after 20 s (`_ANSWER_SECONDS`), in place of minutes: clients wait.
    if url.startswith(S3_URLS):
        retries = {"max_attempts": 1}
        return {"config_kwargs": {"retries": retries, "read_timeout": _READ_SECONDS}}
    return {}


def _file(path: str, facts: dict[str, Any]) -> HeapFile | None:
    name = path.rpartition("/")[2]
    for ending in (HEAPS, CONTENTS):
        key, found, rest = name.partition(ending)
        if found:
            break
    else:
        return None
    state = "part" if rest.endswith(_PART) else "aside" if rest == _ASIDE else "whole"
    size = int(facts.get("size") or 0)
    return HeapFile(key, ending, _changed_at(facts), state, path, size)


def _changed_at(facts: dict[str, Any]) -> float:
    for name in ("mtime", "LastModified", "last_modified", "created"):
        value = facts.get(name)
        if value is not None:
            stamp = value.timestamp() if hasattr(value, "timestamp") else value
            return float(stamp)
    return 0.0
