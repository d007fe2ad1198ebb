"""Many servers as one, for programs that run thousands of contexts at once.

    async with Cluster(["http://10.0.0.1:3000", "http://10.0.0.2:3000"]) as cluster:
        async with cluster.context() as c:
            execution = await c.run("6 * 7")
        results = await cluster.run_all(programs, timeout=5)

Contexts are spread over the servers, and so many at a time as `contexts_max` says.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import anyio
import anyio.to_thread

from isokernel.client import ray_servers
from isokernel.client.async_client import AsyncClient, ExecutorClient
from isokernel.client.async_context import AsyncContext
from isokernel.client.errors import (
    ClientError,
    ClientSettingsError,
    NetworkError,
    StatusError,
    StreamError,
    UnavailableError,
)
from isokernel.client.servers import ClusterExecutor, Servers
from isokernel.client.settings import (
    ANSWER_BYTES_MAX,
    OUTPUT_BYTES_MAX,
    TIMEOUT_SECONDS,
    ClientSettings,
)

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence

    from typing_extensions import Self

    from isokernel.client.answers import HeapInfo
    from isokernel.client.executions import Execution

__all__ = ["Cluster"]

CONTEXTS_MAX: Final = 100
PATIENCE_SECONDS: Final = 60.0
ATTEMPTS_MAX: Final = 3
_LOST: Final = frozenset({"context_missing", "context_dead"})
"""What is answered about a context whose server is gone."""


class Cluster:
    """Servers on one database, of which any takes any request.

    Attributes:
        contexts_max: How many contexts there are at a time, of `context`, `run` and
            `run_all` together; others wait for their turn.
        client: For all else: its runs, heaps, and lists of contexts.
    """

    def __init__(  # noqa: PLR0913 -- each has a default
        self,
        servers: str | Sequence[str] | None = None,
        api_key: str | None = None,
        *,
        ray: str | None = None,
        workspace: str | None = None,
        contexts_max: int = CONTEXTS_MAX,
        patience: float = PATIENCE_SECONDS,
        timeout: float = TIMEOUT_SECONDS,
        answer_bytes_max: int = ANSWER_BYTES_MAX,
        output_bytes_max: int = OUTPUT_BYTES_MAX,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        """Say which servers; nothing is sent yet.

        Args:
            servers: Their URLs, or that of what is before them; ISOKERNEL_URL if
                neither they nor `ray` are given.
            api_key: A key or token; ISOKERNEL_API_KEY if omitted.
            ray: The address of the Ray cluster whose servers `isokernel cluster up` has
                started; `auto` for the one that this process or machine belongs to.
            workspace: The workspace, where the key or token gives access to several.
            contexts_max: How many contexts there are at a time.
            patience: Seconds for which a request is tried, at one server after another,
                where that is safe; also the start of a context while there is no room.
            timeout: Seconds that a server may say nothing; cells may run longer.
            answer_bytes_max: Bytes of an answer that is held in memory.
            output_bytes_max: Bytes of output that an `Execution` keeps.
            ssl_context: Whom to trust, if not the usual authorities.

        Raises:
            ClientSettingsError: A URL, the key or a number can't be one.
        """
        if contexts_max < 1:
            message = f"contexts_max must be at least 1, not {contexts_max}"
            raise ClientSettingsError(message)
        given = [servers] if isinstance(servers, str) else list(servers or [])
        if given and ray is not None:
            message = "give the URLs of servers or the address of Ray, not both"
            raise ClientSettingsError(message)
        read = partial(
            ClientSettings.read,
            api_key=api_key,
            workspace=workspace,
            timeout=timeout,
            answer_bytes_max=answer_bytes_max,
            output_bytes_max=output_bytes_max,
            ssl_context=ssl_context,
        )
        known = [read(url) for url in given or (None,)]

        async def find() -> list[str]:
            if ray is not None:
                return await anyio.to_thread.run_sync(ray_servers.find, ray)
            return [settings.url for settings in known]

        self.contexts_max = contexts_max
        self._places = anyio.Semaphore(contexts_max)
        self._servers = Servers(known[0], find, patience)
        self.client = self._client()

    async def servers(self) -> list[str]:
        """Return the URLs of the servers, as far as they are known."""
        await self._servers.look()
        return self._servers.urls

    @asynccontextmanager
    async def context(  # noqa: PLR0913 -- each has a default
        self,
        *,
        language: str | None = None,
        heap: str | HeapInfo | None = None,
        packages: Sequence[str] = (),
        capabilities: Mapping[str, Any] | None = None,
        cwd: str | None = None,
        durability: str | float | None = None,
        keep: bool = False,
    ) -> AsyncIterator[AsyncContext]:
        """Make a context when it is its turn, on a server with few; then delete it.

        Args:
            language: What code is in; if omitted, that of the heap, else TypeScript.
            heap: A heap that it goes on from.
            packages: Packages that it begins with.
            capabilities: What its code may do beyond it.
            cwd: Its working folder, inside of its own.
            durability: When its server saves it, so that it goes on elsewhere after a
                crash: `sleep`, `execution`, or within so many seconds after an
                execution.
            keep: Whether it outlives this.

        Raises:
            LimitReachedError: There was no room for it for `patience` seconds.
            NetworkError: No server gave an answer for `patience` seconds.
        """
        async with (
            self._places,
            AsyncContext(
                language=language,
                heap=heap,
                packages=packages,
                capabilities=capabilities,
                cwd=cwd,
                durability=durability,
                keep=keep,
                client=self._client(),
            ) as context,
        ):
            yield context

    def connect(self, context_id: str) -> AsyncContext:
        """Return a context that is there already; `async with` doesn't delete it."""
        return AsyncContext(id=context_id, client=self._client())

    async def run(
        self,
        code: str,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 -- the server's
        result_characters_max: int | None = None,
        attempts_max: int = ATTEMPTS_MAX,
        **options: Any,
    ) -> Execution:
        """Run code in a context of its own, and return what became of it.

        If the server is lost meanwhile, the code begins again in another context.

        Args:
            code: The source text.
            timeout: Seconds that it may run; 30 if omitted.
            result_characters_max: Characters of the value's JSON.
            attempts_max: How often it may begin.
            options: Of the context, as `context` takes them.

        Raises:
            ClientError: It couldn't be run; code that fails is no exception.
        """
        attempt = 1
        while True:
            try:
                async with self.context(**options) as context:
                    return await context.run(
                        code,
                        timeout=timeout,
                        result_characters_max=result_characters_max,
                    )
            except ClientError as error:
                if attempt >= attempts_max or not _is_lost(error):
                    raise
            attempt += 1

    async def run_all(
        self,
        codes: Iterable[str],
        *,
        on_execution: Callable[[int, Execution], Any] | None = None,
        **options: Any,
    ) -> list[Execution | ClientError]:
        """Run many programs, each in a context of its own, `contexts_max` at a time.

        Args:
            codes: Their source texts, taken as they are needed.
            on_execution: Called with the index and the execution of each, as it ends.
            options: As `run` takes them.

        Returns:
            What became of them, in the order of the programs: an error in place of one
            that couldn't be run, so that it doesn't cost the others theirs.
        """
        waiting = enumerate(codes)
        found: dict[int, Execution | ClientError] = {}

        async def work() -> None:
            for index, code in waiting:
                found[index] = execution = await self._tried(code, options)
                if on_execution is not None and not isinstance(execution, ClientError):
                    on_execution(index, execution)

        async with anyio.create_task_group() as group:
            for _ in range(self.contexts_max):
                group.start_soon(work)
        return [found[index] for index in range(len(found))]

    async def _tried(
        self, code: str, options: Mapping[str, Any]
    ) -> Execution | ClientError:
        try:
            return await self.run(code, **options)
        except ClientError as error:
            return error

    def _client(self) -> AsyncClient:
        return ExecutorClient(ClusterExecutor(self._servers))

    async def close(self) -> None:
        """Close the connections."""
        await self._servers.close()

    async def __aenter__(self) -> Self:
        """Return it."""
        return self

    async def __aexit__(self, *_raised: object) -> None:
        """Close the connections."""
        await self.close()

    def __repr__(self) -> str:
        """Return which servers are known, without the key."""
        return f"Cluster({self._servers.urls})"


def _is_lost(error: ClientError) -> bool:
    """Whether a context, or its server, was lost with what ran in it."""
    if isinstance(error, StatusError):
        return isinstance(error, UnavailableError) or error.code in _LOST
    return isinstance(error, (NetworkError, StreamError))
