"""Contexts without a server around them."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

from isoserver.contexts.context import Context, Identity
from isoserver.contexts.languages import Languages
from isoserver.contexts.v8 import V8Process
from isoserver.http.metrics import Metrics
from isoserver.settings.reading import read_settings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from isoserver.contexts.calls import CallHolder
    from isoserver.contexts.context import ContextOwner
    from isoserver.contexts.forkserver import AsyncForkServer


SECONDS = 30.0


def context_of(
    fork_server: AsyncForkServer,
    *,
    calls: CallHolder | None = None,
    owner: ContextOwner | None = None,
    **given: Any,
) -> Context:
    """Make a context that isn't started, with settings by name.

    Each of its executions is saved by its owner, if it has one.
    """
    settings = read_settings(**{"checkpoint_timeout_seconds": 0.2, **given})
    languages = Languages(["javascript"], "javascript")
    language = languages.served["javascript"]
    durability = None if owner is None else 0.0
    identity = Identity("default", "c", language, "/home/user", durability=durability)
    make_process = partial(V8Process, settings=settings, fork_server=fork_server)
    return Context(
        identity, settings, Metrics(), make_process, owner=owner, calls=calls
    )


def with_fork_server(
    make: Callable[[], AsyncForkServer], scenario: Callable[[Any], Awaitable[None]]
) -> None:
    """Run a scenario with a fork server."""

    async def run() -> None:
        made = make()
        await made.start()
        try:
            await scenario(made)
        finally:
            made.close()

    asyncio.run(asyncio.wait_for(run(), SECONDS))
