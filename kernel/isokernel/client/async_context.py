"""A context of a server, driven by calls that are awaited."""

from __future__ import annotations

import uuid
from contextlib import suppress
from functools import partial
from inspect import isawaitable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, Final, Literal, ParamSpec, TypeVar

import anyio

from isokernel.client import calls
from isokernel.client.answers import HeapInfo
from isokernel.client.errors import ClientError, ContextStateError
from isokernel.client.executors import AsyncExecutor
from isokernel.client.listeners import Listeners
from isokernel.client.reading import ExecutionReader
from isokernel.client.requests import Rejoining
from isokernel.client.settings import ClientSettings

if TYPE_CHECKING:
    import os
    from collections.abc import (
        AsyncGenerator,
        AsyncIterator,
        Callable,
        Mapping,
        Sequence,
    )
    from types import TracebackType

    from typing_extensions import Self

    from isokernel.client.answers import (
        Completions,
        ContextInfo,
        ContextPackages,
        FileInfo,
        Inspection,
    )
    from isokernel.client.async_client import AsyncClient
    from isokernel.client.events import Event
    from isokernel.client.executions import Execution, Failure, Output
    from isokernel.client.requests import Request, Steps

__all__ = [
    "DEFAULT_LANGUAGE",
    "AsyncContext",
    "AsyncContextFiles",
    "AsyncExecutionStream",
]

P = ParamSpec("P")
T = TypeVar("T")
_CLOSE_SECONDS: Final = 10.0
DEFAULT_LANGUAGE = "typescript"


class AsyncContext:
    """A context: a REPL on the server, whose names and values stay.

    It is made when it is first used, or by `async with`, whose end deletes it:

        async with AsyncContext() as c:
            execution = await c.run("6 * 7")

    Attributes:
        executor: What sends its requests.
    """

    def __init__(  # noqa: PLR0913 -- each has a default
        self,
        *,
        language: str | None = None,
        heap: str | HeapInfo | None = None,
        packages: Sequence[str] = (),
        capabilities: Mapping[str, Any] | None = None,
        cwd: str | None = None,
        durability: str | float | None = None,
        id: str | None = None,  # noqa: A002 -- what it is called everywhere
        keep: bool | None = None,
        client: AsyncClient | AsyncContext | None = None,
        base_url: str | None = None,
        api_key: str | None = None,
    ) -> None:
        """Say what context; nothing is sent yet.

        Args:
            language: What code is in unless a call says otherwise; if omitted, that of
                the heap, else TypeScript, of which JavaScript is a part.
            heap: A heap that it goes on from: a key, as `save` returns it.
            packages: Packages that it begins with, such as `d3@7`.
            capabilities: What its code may do beyond it, of what the server allows.
            cwd: Its working folder, inside of its own.
            durability: When the server saves it, to go on from there after a crash:
                `sleep`, `execution`, or within so many seconds after an execution.
            id: A context that is there already.
            keep: Whether it outlives `async with` and `close`; if omitted, one that was
                there already does.
            client: Whose connections it uses; if omitted, it has its own.
            base_url: The server's URL, without a client; ISOKERNEL_URL if omitted.
            api_key: The key, without a client; ISOKERNEL_API_KEY if omitted.

        Raises:
            ClientSettingsError: The URL or the key can't be one.
        """
        if client is None:
            self.executor = AsyncExecutor(ClientSettings.read(base_url, api_key))
        else:
            self.executor = client.executor
        self.executor.retain()
        if language is None and heap is None:
            language = DEFAULT_LANGUAGE
        self._make = partial(
            calls.create_context,
            language=language,
            heap=heap.heap if isinstance(heap, HeapInfo) else heap,
            cwd=cwd,
            packages=packages,
            capabilities=capabilities,
            durability=durability,
        )
        self._id = id
        self._kept = id is not None if keep is None else keep
        self._closed = False
        self._making = anyio.Lock()

    # -- its life ----------------------------------------------------------------------

    @property
    def id(self) -> str:
        """Its id.

        Raises:
            ContextStateError: It isn't made yet.
        """
        if self._id is None:
            message = "the context isn't started: use `async with`, or start()"
            raise ContextStateError(message)
        return self._id

    async def start(self) -> Self:
        """Make it, unless it is made already."""
        if self._closed:
            message = "the context is closed"
            raise ContextStateError(message)
        if self._id is None:
            async with self._making:
                if self._id is None:
                    self._id = (await self.executor.run(self._make())).id
        return self

    async def close(self) -> None:
        """Delete it, unless it is to be kept, and let go of the connections."""
        if self._closed:
            return
        self._closed = True
        # Also where the task is cancelled: else the context would stay.
        with anyio.move_on_after(_CLOSE_SECONDS, shield=True):
            try:
                if self._id is not None and not self._kept:
                    await self.executor.run(calls.delete_context(self._id))
            finally:
                await self.executor.release()

    async def delete(self) -> None:
        """Delete it, also if it was to be kept."""
        self._kept = False
        await self.close()

    async def __aenter__(self) -> Self:
        """Make it."""
        try:
            return await self.start()
        except BaseException:
            await self.close()
            raise

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Delete it, unless it is to be kept."""
        try:
            await self.close()
        except ClientError:
            if error is None:  # else that says what went wrong
                raise

    def __repr__(self) -> str:
        """Return its id, if it has one."""
        return f"AsyncContext(id={self._id!r})"

    # -- cells -------------------------------------------------------------------------

    async def run(  # noqa: PLR0913 -- each has a default
        self,
        code: str,
        *,
        language: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 -- the server's
        on_stdout: Callable[[str], Any] | None = None,
        on_stderr: Callable[[str], Any] | None = None,
        on_result: Callable[[Output], Any] | None = None,
        on_error: Callable[[Failure], Any] | None = None,
        result_characters_max: int | None = None,
        capabilities: Mapping[str, Any] | None = None,
        execution_id: str | None = None,
        on_leave: Literal["cancel", "continue"] = "cancel",
    ) -> Execution:
        """Run a cell, and return what became of it; code that fails is no exception.

        Args:
            code: The source text.
            language: What it is in, if not in the context's language.
            timeout: Seconds that it may run; 30 if omitted.
            on_stdout: Called with what is printed, as it comes; awaited, as the others
                are, if it is asynchronous.
            on_stderr: Called with what is printed to standard error.
            on_result: Called with what is displayed, the value of the cell among it.
            on_error: Called with how the code failed.
            result_characters_max: Characters of the value's JSON; of a longer one,
                head and tail are kept.
            capabilities: What it may do beyond the context.
            execution_id: What it is to be called, unique in its context; else it gets a
                name.
            on_leave: What becomes of the cell if this call ends before, as by Ctrl-C.

        Raises:
            NetworkError: The server can't be reached, or not any more.
            StatusError: The server refuses.
            StreamError: The cell wasn't run, or isn't known any more.
        """
        told = Listeners(on_stdout, on_stderr, on_result, on_error)
        stream = self.stream(
            code,
            language=language,
            timeout=timeout,
            result_characters_max=result_characters_max,
            capabilities=capabilities,
            execution_id=execution_id,
            on_leave=on_leave,
        )
        async with stream:
            async for event in stream:
                told_back = told.tell(event)
                if isawaitable(told_back):
                    await told_back
        return await stream.wait()

    def stream(  # noqa: PLR0913 -- each has a default
        self,
        code: str,
        *,
        language: str | None = None,
        timeout: float | None = None,
        result_characters_max: int | None = None,
        capabilities: Mapping[str, Any] | None = None,
        execution_id: str | None = None,
        on_leave: Literal["cancel", "continue"] = "cancel",
    ) -> AsyncExecutionStream:
        """Run a cell, and iterate over what happens; it begins with the iteration.

        Args:
            code: The source text.
            language: What it is in, if not in the context's language.
            timeout: Seconds that it may run; 30 if omitted.
            result_characters_max: Characters of the value's JSON.
            capabilities: What it may do beyond the context.
            execution_id: What it is to be called, unique in its context.
            on_leave: What becomes of the cell if the iteration ends before it.
        """
        name = execution_id or uuid.uuid4().hex
        request = partial(
            calls.execute,
            code=code,
            execution_id=name,
            language=language,
            timeout=timeout,
            result_characters_max=result_characters_max,
            capabilities=capabilities,
        )
        return AsyncExecutionStream(self, name, request, cancels=on_leave == "cancel")

    def follow(self, execution_id: str) -> AsyncExecutionStream:
        """Iterate over what happens in an execution, whoever began it, from its start.

        `wait()` returns it when it is over; leaving the stream doesn't cancel it.
        """
        request = partial(calls.follow_execution, execution_id=execution_id)
        return AsyncExecutionStream(self, execution_id, request, cancels=False)

    async def cancel(self, execution_id: str) -> None:
        """Cancel one execution, whether it waits or runs, unless it is over."""
        await self._call(calls.cancel_execution, execution_id)

    async def interrupt(self) -> ContextInfo:
        """Stop what runs; names and values stay."""
        return await self._call(calls.interrupt_context)

    async def complete(self, code: str, cursor: int | None = None) -> Completions:
        """Return what could stand at the cursor, by default the end of the code."""
        return await self._call(calls.complete, code, cursor)

    async def inspect(
        self, code: str, cursor: int | None = None, *, source: bool = False
    ) -> Inspection:
        """Return what is known of the name at the cursor."""
        return await self._call(calls.inspect, code, cursor, source=source)

    # -- its state ---------------------------------------------------------------------

    async def info(self) -> ContextInfo:
        """Return how it stands."""
        return await self._call(calls.show_context)

    async def save(self) -> str:
        """Save its whole state, and return the key that AsyncContext(heap=…) takes."""
        return await self._call(calls.save_context)

    async def fork(self, *, keep: bool = False) -> AsyncContext:
        """Make a context with the state of this one.

        Args:
            keep: Whether it outlives `async with` and `close`.
        """
        made = await self._call(calls.fork_context)
        return AsyncContext(client=self, id=made.id, keep=keep)

    async def forks(self, count: int, *, keep: bool = False) -> list[AsyncContext]:
        """Make several contexts with the state of this one, all of one moment.

        Args:
            count: How many, up to 16.
            keep: Whether they outlive `async with` and `close`.
        """
        made = await self._call(calls.fork_context_often, count)
        return [AsyncContext(client=self, id=one.id, keep=keep) for one in made]

    async def restart(self, *, from_checkpoint: bool = False) -> ContextInfo:
        """Begin anew under the same id, with nothing or from the last `save`."""
        return await self._call(calls.restart_context, from_checkpoint=from_checkpoint)

    async def packages(self) -> ContextPackages:
        """Return which packages its code has loaded."""
        return await self._call(calls.list_packages)

    async def notebook(self) -> dict[str, Any]:
        """Return what was run in it, with outputs, as a Jupyter notebook."""
        return await self._call(calls.read_notebook)

    async def run_notebook(
        self,
        notebook: Mapping[str, Any],
        *,
        timeout: float | None = None,  # noqa: ASYNC109 -- the server's
    ) -> dict[str, Any]:
        """Run a Jupyter notebook, up to a cell that fails; return it with outputs.

        Args:
            notebook: It, as `json.load` has it.
            timeout: Seconds that each cell may run.
        """
        return await self._call(calls.run_notebook, notebook, timeout)

    @property
    def files(self) -> AsyncContextFiles:
        """The files in its folder."""
        return AsyncContextFiles(self)

    async def _call(
        self,
        call: Callable[Concatenate[str, P], Steps[T]],
        *args: P.args,
        **named: P.kwargs,
    ) -> T:
        await self.start()
        return await self.executor.run(call(self.id, *args, **named))


class AsyncContextFiles:
    """The files in the folder of a context; for all paths, that is `/`."""

    def __init__(self, context: AsyncContext) -> None:
        """Name the context.

        Args:
            context: Whose files they are.
        """
        self._context = context

    async def list(
        self, path: str = "/", *, recursive: bool = False, limit: int | None = 10_000
    ) -> list[FileInfo]:
        """Return what is in a folder, in the order of the names.

        Args:
            path: The folder.
            recursive: Whether what is in its folders is listed, too.
            limit: How many at most; None for all.
        """
        return await self._call(
            calls.list_files, path, recursive=recursive, limit=limit
        )

    async def read(self, path: str, start: int = 0, end: int | None = None) -> bytes:
        """Return a file, or the bytes from `start` to before `end`."""
        return await self._call(calls.read_file, path, start, end)

    async def read_text(self, path: str, encoding: str = "utf-8") -> str:
        """Return a file as text."""
        return (await self.read(path)).decode(encoding)

    async def write(
        self,
        path: str,
        content: bytes | str,
        *,
        if_match: str | None = None,
        new: bool = False,
    ) -> FileInfo:
        """Write a file, which appears as a whole; folders on the way are made.

        Args:
            path: Where.
            content: Its bytes, or its text in UTF-8.
            if_match: The `etag` that the file must have; else it is a ConflictError.
            new: Whether it must not be there yet.
        """
        data = content.encode() if isinstance(content, str) else content
        return await self._call(
            calls.write_file, path, data, if_match=if_match, new=new
        )

    async def upload(
        self, local: str | os.PathLike[str], path: str | None = None
    ) -> FileInfo:
        """Copy a file of this machine, in pieces; without a path, its name stays."""
        source = Path(local)
        return await self._call(
            calls.write_file, path or source.name, source, if_match=None, new=False
        )

    async def download(
        self, path: str, local: str | os.PathLike[str] | None = None
    ) -> Path:
        """Copy a file to this machine, in pieces; it appears there as a whole.

        Args:
            path: The file.
            local: Where to; a file of the same name in the working folder if omitted.

        Returns:
            Where it is.
        """
        await self._context.start()
        target = Path(local or path.rstrip("/").rpartition("/")[2])
        request = calls.file_request("GET", self._context.id, path)
        await self._context.executor.save(request, target)
        return target

    async def delete(self, path: str, *, recursive: bool = False) -> None:
        """Delete a file, or a folder; with `recursive`, also one that isn't empty."""
        await self._call(calls.delete_file, path, recursive=recursive)

    async def move(self, path: str, to: str, *, overwrite: bool = False) -> FileInfo:
        """Move a file or folder; `overwrite` replaces a file that is there."""
        return await self._change("move", path, to, overwrite=overwrite)

    async def copy(self, path: str, to: str, *, overwrite: bool = False) -> FileInfo:
        """Copy a file; `overwrite` replaces one that is there."""
        return await self._change("copy", path, to, overwrite=overwrite)

    async def make_folder(self, path: str) -> FileInfo:
        """Make a folder, with those on the way."""
        return await self._change("make_folder", path)

    async def _change(
        self, action: str, path: str, to: str | None = None, *, overwrite: bool = False
    ) -> FileInfo:
        return await self._call(
            calls.change_file, action, path, to, overwrite=overwrite
        )

    async def _call(
        self,
        call: Callable[Concatenate[str, P], Steps[T]],
        *args: P.args,
        **named: P.kwargs,
    ) -> T:
        return await self._context._call(call, *args, **named)  # noqa: SLF001


class AsyncExecutionStream:
    """What happens while a cell runs: iterate over it, then ask for `wait()`.

    If the connection breaks, it goes on after the last event that has come. Its events
    aren't kept; the execution at its end has what `output_bytes_max` allows.
    """

    def __init__(
        self,
        context: AsyncContext,
        execution_id: str,
        request: Callable[[str], Request],
        *,
        cancels: bool,
    ) -> None:
        """Note what to send; the iteration sends it.

        Args:
            context: Where it runs.
            execution_id: What it is called.
            request: The request of its events, by the id of its context.
            cancels: Whether who leaves the stream cancels it.
        """
        settings = context.executor.settings
        self._context = context
        self._request = request
        self._cancels = cancels
        self._reader = ExecutionReader(
            execution_id,
            output_bytes_max=settings.output_bytes_max,
            trusted=settings.trust_outputs,
        )
        self._events = self._read()

    @property
    def execution_id(self) -> str:
        """What the execution is called: `follow` takes it, and `cancel`."""
        return self._reader.execution_id

    @property
    def execution(self) -> Execution | None:
        """The execution; None until its end has come."""
        return self._reader.execution

    async def wait(self) -> Execution:
        """Read to the end, and return the execution.

        Raises:
            StreamError: The stream was closed before.
        """
        async for _ in self._events:
            pass
        return self._reader.finish()

    async def close(self) -> None:
        """Read no more; `on_leave` says what becomes of a cell that still runs."""
        await self._events.aclose()

    async def _read(self) -> AsyncGenerator[Event, None]:
        reader, executor = self._reader, self._context.executor
        context_id = (await self._context.start()).id
        reader.begin(context_id)
        request, joined = self._request(context_id), False
        rejoining = Rejoining(executor.settings.retries_max)
        try:
            while not reader.over():
                try:
                    async with executor.open(request) as response:
                        joined = True
                        async for chunk in executor.body(response):
                            for event in reader.feed(chunk):
                                yield event
                    reader.check_end()
                except ClientError as error:  # noqa: PERF203 -- each turn is a connection
                    if reader.over():
                        break
                    if not joined:
                        raise
                    await anyio.sleep(rejoining.pause(error, reader.place))
                    reader.rejoin()
                    request = calls.follow_execution(
                        context_id, reader.execution_id, reader.place
                    )
        except ClientError:
            raise
        except BaseException:  # whoever iterates has left
            await self._leave(context_id)
            raise

    async def _leave(self, context_id: str) -> None:
        """Cancel the execution, unless it is over or is to go on."""
        if self._cancels and self._reader.execution is None:
            steps = calls.cancel_execution(context_id, self._reader.execution_id)
            # Whoever leaves may be a task that is cancelled.
            scope = anyio.move_on_after(_CLOSE_SECONDS, shield=True)
            with suppress(ClientError), scope:
                await self._context.executor.run(steps)

    def __aiter__(self) -> AsyncIterator[Event]:
        """Iterate over what happens."""
        return self

    async def __anext__(self) -> Event:
        """Return what happens next."""
        return await anext(self._events)

    async def __aenter__(self) -> Self:
        """Return it."""
        return self

    async def __aexit__(self, *_raised: object) -> None:
        """Close it."""
        await self.close()
