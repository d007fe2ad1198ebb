"""Contexts without a server around them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from isoserver.contexts.context import Identity
from isoserver.contexts.javascript import JavaScriptContext
from isoserver.contexts.languages import Languages
from isoserver.http.metrics import Metrics
from isoserver.settings.server import ServerSettings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from isoserver.contexts.forks import Forks


SECONDS = 30.0


def context_of(forks: Forks, **given: Any) -> JavaScriptContext:
    """Make a context that isn't started, with settings by name."""
    settings = ServerSettings(**{"checkpoint_timeout_seconds": 0.2, **given})
    languages = Languages(["javascript"], "javascript")
    identity = Identity("default", "c", languages.served["javascript"], "/home/user")
    return JavaScriptContext(identity, settings, Metrics(), forks)


def with_forks(
    forks: Callable[[], Forks], scenario: Callable[[Any], Awaitable[None]]
) -> None:
    """Run a scenario with a fork server."""

    async def run() -> None:
        made = forks()
        await made.start()
        try:
            await scenario(made)
        finally:
            made.close()

    asyncio.run(asyncio.wait_for(run(), SECONDS))
