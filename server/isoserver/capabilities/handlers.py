"""What the code of a context may do beyond it, over HTTP."""

from __future__ import annotations

from contextlib import closing
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from isoserver.capabilities.models import (
    CapabilitiesRequest,
    WorkspaceCapabilitiesRequest,
)
from isoserver.contexts.context import State
from isoserver.http.handlers import Handler

if TYPE_CHECKING:
    from collections.abc import Mapping

    from isoserver.capabilities.workspaces import Narrowed

__all__ = ["CapabilitiesHandler", "PackagesHandler", "WorkspaceCapabilitiesHandler"]


class CapabilitiesHandler(Handler):
    """The policy of one context, which narrows its workspace's."""

    def get(self, context_id: str) -> None:
        """Answer what is allowed, and what was asked for."""
        context = self.find_context(context_id)
        self.answer(self.parts.capabilities.shown(context.key))

    async def put(self, context_id: str) -> None:
        """Have another policy hold from now on, for what runs as well."""
        context = self.find_context(context_id)
        asked = self.parse(CapabilitiesRequest)
        await self.parts.capabilities.set(context.key, asked.as_policy())
        self.answer(self.parts.capabilities.shown(context.key))


class WorkspaceCapabilitiesHandler(Handler):
    """What the workspace's administrator has narrowed the server's policy to."""

    async def get(self) -> None:
        """Answer what holds."""
        narrowed = await self.parts.capabilities.narrowed(
            self.principal.workspace, unheard=True
        )
        self._show(narrowed)

    async def put(self) -> None:
        """Have another policy hold from now on, for what runs as well."""
        self.require_admin()
        asked = self.parse(WorkspaceCapabilitiesRequest)
        who = self.principal.client or "admin"
        narrowed = await self.parts.capabilities.narrow(
            self.principal.workspace, asked.as_policy(), who
        )
        self._show(narrowed)

    def _show(self, narrowed: Narrowed) -> None:
        at, settings = narrowed.changed_at, self.parts.settings
        workspace = self.principal.workspace
        self.answer(
            {
                "narrowed": narrowed.given,
                "changed_at": at and datetime.fromtimestamp(at, timezone.utc),
                "changed_by": narrowed.changed_by,
                "workspace": self.parts.capabilities.workspace_answer(workspace),
                "mode": settings.capability_mode,
            }
        )


class PackagesHandler(Handler):
    """The packages of one context."""

    async def get(self, context_id: str) -> None:
        """Answer which packages its code has imported, and what those brought."""
        from isokernel.packages.lock import Lock  # noqa: PLC0415 - few ask

        context = self.find_context(context_id)
        lock: Mapping[str, Any] = context.calls.lock
        checkpoint = context.checkpoint
        if context.state is State.HIBERNATED and checkpoint is not None and not lock:
            # An earlier server has put it to sleep.
            opened = await self.parts.heaps.open(context.workspace, checkpoint.key)
            with closing(opened) as heap:
                lock = heap.lock
        locked = Lock(dict(lock))
        self.answer(
            {"packages": locked.listed(), "addresses": locked.listed_addresses()}
        )
