"""A server, driven by calls that are awaited."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from isokernel.client import calls
from isokernel.client.async_context import AsyncContext
from isokernel.client.executors import AsyncExecutor
from isokernel.client.settings import (
    ANSWER_BYTES_MAX,
    OUTPUT_BYTES_MAX,
    RETRIES_MAX,
    TIMEOUT_SECONDS,
    ClientSettings,
)

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Mapping, Sequence

    from typing_extensions import Self

    from isokernel.client.answers import (
        ContextInfo,
        HeapInfo,
        Languages,
        OutputPage,
        Run,
        RunStatus,
        RunSummary,
        SessionEntry,
    )
    from isokernel.client.requests import Steps

__all__ = ["AsyncClient", "AsyncContexts", "AsyncHeaps", "AsyncRuns", "ExecutorClient"]

T = TypeVar("T")


class AsyncClient:
    """A server, with connections that all calls share.

    Attributes:
        executor: What sends its requests.
        contexts: Its contexts.
        runs: Code that it keeps and runs by itself.
        heaps: Saved contexts.
    """

    def __init__(  # noqa: PLR0913 -- each has a default
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        workspace: str | None = None,
        timeout: float = TIMEOUT_SECONDS,
        retries_max: int = RETRIES_MAX,
        answer_bytes_max: int = ANSWER_BYTES_MAX,
        output_bytes_max: int = OUTPUT_BYTES_MAX,
        trust_outputs: bool = False,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        """Say which server; nothing is sent yet.

        Args:
            base_url: Its URL; ISOKERNEL_URL if omitted, else http://127.0.0.1:3000.
            api_key: A key or token; ISOKERNEL_API_KEY if omitted.
            workspace: The workspace, where the key or token gives access to several.
            timeout: Seconds that the server may say nothing; cells may run longer.
            retries_max: How often a request that failed is sent again, where that is
                safe.
            answer_bytes_max: Bytes of an answer that is held in memory.
            output_bytes_max: Bytes of output that an `Execution` keeps.
            trust_outputs: Whether notebooks show outputs as they are, with scripts
                that they may have.
            ssl_context: Whom to trust, if not the usual authorities.

        Raises:
            ClientSettingsError: The URL or the key can't be one.
        """
        settings = ClientSettings.read(
            base_url,
            api_key,
            workspace=workspace,
            timeout=timeout,
            retries_max=retries_max,
            answer_bytes_max=answer_bytes_max,
            output_bytes_max=output_bytes_max,
            trust_outputs=trust_outputs,
            ssl_context=ssl_context,
        )
        self._connect(AsyncExecutor(settings))
        self.executor.retain()

    def _connect(self, executor: AsyncExecutor) -> None:
        self.executor = executor
        self.contexts = AsyncContexts(self)
        self.runs = AsyncRuns(executor)
        self.heaps = AsyncHeaps(executor)

    async def version(self) -> str:
        """Return the server's version."""
        return await self.executor.run(calls.version())

    async def languages(self) -> Languages:
        """Return what code can be in."""
        return await self.executor.run(calls.list_languages())

    async def close(self) -> None:
        """Close the connections."""
        await self.executor.close()

    async def __aenter__(self) -> Self:
        """Return it."""
        return self

    async def __aexit__(self, *_raised: object) -> None:
        """Close the connections."""
        await self.close()

    def __repr__(self) -> str:
        """Return which server it is, without the key."""
        return f"AsyncClient({self.executor.settings.url!r})"


class ExecutorClient(AsyncClient):
    """A client of what an executor sends to; its last context closes that."""

    def __init__(self, executor: AsyncExecutor) -> None:
        """Take the executor.

        Args:
            executor: What sends its requests.
        """
        self._connect(executor)


class AsyncContexts:
    """The contexts of the workspace."""

    def __init__(self, client: AsyncClient) -> None:
        """Name the server.

        Args:
            client: Whose connections contexts use.
        """
        self._client = client

    async def create(  # noqa: PLR0913 -- each has a default
        self,
        *,
        language: str | None = None,
        heap: str | HeapInfo | None = None,
        packages: Sequence[str] = (),
        capabilities: Mapping[str, Any] | None = None,
        cwd: str | None = None,
        durability: str | float | None = None,
        keep: bool = False,
    ) -> AsyncContext:
        """Make a context, as `AsyncContext` does, at once."""
        context = AsyncContext(
            language=language,
            heap=heap,
            packages=packages,
            capabilities=capabilities,
            cwd=cwd,
            durability=durability,
            keep=keep,
            client=self._client,
        )
        return await context.start()

    def connect(self, context_id: str) -> AsyncContext:
        """Return a context that is there already; `async with` doesn't delete it."""
        return AsyncContext(id=context_id, client=self._client)

    async def get(self, context_id: str) -> ContextInfo:
        """Return how a context stands."""
        return await self._client.executor.run(calls.show_context(context_id))

    async def list(self) -> list[ContextInfo]:
        """Return all of them, oldest first."""
        return await self._client.executor.run(calls.list_contexts())

    async def delete(self, context_id: str) -> None:
        """Delete a context; one that isn't there is as good as deleted."""
        await self._client.executor.run(calls.delete_context(context_id))


class AsyncHeaps:
    """Saved contexts, under their keys."""

    def __init__(self, executor: AsyncExecutor) -> None:
        """Name the server.

        Args:
            executor: What sends requests.
        """
        self._executor = executor

    async def get(self, key: str) -> HeapInfo:
        """Return what is known of a heap."""
        return await self._call(calls.get_heap(key))

    async def set_tags(self, key: str, tags: Mapping[str, str]) -> None:
        """Replace all tags of a heap; one with tags is kept."""
        await self._call(calls.set_tags(key, tags))

    async def delete(self, key: str) -> None:
        """Delete a heap."""
        await self._call(calls.delete_heap(key))

    async def sessions(self) -> list[str]:
        """Return the names of sessions that have a history."""
        return await self._call(calls.list_sessions())

    async def history(self, session: str) -> list[SessionEntry]:
        """Return what led from which heap to which in a session, oldest first."""
        return await self._call(calls.list_session(session))

    async def list(
        self, tags: Mapping[str, str] | None = None, *, limit: int | None = 100
    ) -> list[HeapInfo]:
        """Return heaps, newest first.

        Args:
            tags: Tags that they must have.
            limit: How many at most; None for all.
        """
        return await self._call(calls.list_heaps(tags, limit))

    async def _call(self, steps: Steps[T]) -> T:
        return await self._executor.run(steps)


class AsyncRuns:
    """Code that the server keeps and runs by itself; it can be looked up for days."""

    def __init__(self, executor: AsyncExecutor) -> None:
        """Name the server.

        Args:
            executor: What sends requests.
        """
        self._executor = executor

    async def submit(  # noqa: PLR0913 -- each has a default
        self,
        code: str,
        *,
        language: str | None = None,
        session: str | None = None,
        heap: str | None = None,
        timeout: int | None = None,
        memory_mb: int | None = None,
        tags: Mapping[str, str] | None = None,
        result_characters_max: int | None = None,
        capabilities: Mapping[str, Any] | None = None,
        webhook: str | None = None,
    ) -> str:
        """Have code run, and return the id of the run at once.

        Args:
            code: The source text.
            language: What it is in; that of the session if omitted, else TypeScript.
            session: The context that it runs in, made if there is none; one of its own
                if omitted.
            heap: The heap that it goes on from.
            timeout: Seconds that it may run.
            memory_mb: MiB of V8's heap, or of all memory in other languages.
            tags: What the heap that it yields is tagged with.
            result_characters_max: Characters of the result.
            capabilities: What it may do beyond its context.
            webhook: A URL that the server tells when the run has ended.
        """
        steps = calls.submit_run(
            code,
            language=language,
            session=session,
            heap=heap,
            timeout=timeout,
            memory_mb=memory_mb,
            tags=tags,
            result_characters_max=result_characters_max,
            capabilities=capabilities,
            webhook=webhook,
        )
        return await self._call(steps)

    async def get(self, run_id: str) -> Run:
        """Return how a run stands, or how it ended."""
        return await self._call(calls.get_run(run_id))

    async def wait(self, run_id: str, timeout: float | None = None) -> Run:
        """Return a run when it has ended.

        Args:
            run_id: The run.
            timeout: Seconds to wait at most.

        Raises:
            WaitTimeoutError: It hasn't ended by then; it goes on.
        """
        return await self._call(calls.wait_run(run_id, timeout))

    async def output(
        self,
        run_id: str,
        *,
        line_offset: int | None = None,
        line_limit: int | None = None,
        byte_offset: int | None = None,
        byte_limit: int | None = None,
    ) -> OutputPage:
        """Return a page of what a run has printed: of lines, or of bytes.

        Args:
            run_id: The run.
            line_offset: The first line, from 1.
            line_limit: How many lines; 100 if omitted.
            byte_offset: The first byte, from 0; the page is one of bytes then.
            byte_limit: How many bytes; 4096 if omitted.
        """
        steps = calls.run_output(
            run_id,
            line_offset=line_offset,
            line_limit=line_limit,
            byte_offset=byte_offset,
            byte_limit=byte_limit,
        )
        return await self._call(steps)

    async def follow(self, run_id: str) -> AsyncIterator[str]:
        """Iterate over what a run prints, from its beginning to its end."""
        following = calls.Following(run_id)
        while not following.ended:
            text = await self._call(following.more())
            if text:
                yield text

    async def cancel(self, run_id: str) -> Run:
        """Cancel a run unless it has ended, and return how it stands."""
        return await self._call(calls.cancel_run(run_id))

    async def list(
        self, *, status: RunStatus | None = None, limit: int | None = 100
    ) -> list[RunSummary]:
        """Return runs, newest first.

        Args:
            status: Only those that are at it.
            limit: How many at most; None for all.
        """
        return await self._call(calls.list_runs(status, limit))

    async def _call(self, steps: Steps[T]) -> T:
        return await self._executor.run(steps)
