"""The HTTP handlers of the cluster."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING

from isoserver.cluster.balance import shifts
from isoserver.cluster.models import MoveRequest, moved_answer, servers_answer
from isoserver.errors import RouteMissingError, ServerError, UnmovableError
from isoserver.http.handlers import Handler

if TYPE_CHECKING:
    from isoserver.cluster.balance import Shift
    from isoserver.cluster.service import Cluster
    from isoserver.contexts.context import Key
    from isoserver.contexts.ownership import Ownership

__all__ = ["DrainHandler", "MoveHandler", "RebalanceHandler", "ServersHandler"]


class _ClusterHandler(Handler):
    """Root of the handlers of the cluster, which is the operator's."""

    def cluster(self) -> Cluster:
        """Return the cluster, if there is one and it is the caller's business."""
        self.require_operator()
        if self.parts.cluster is None:
            raise RouteMissingError
        return self.parts.cluster


class ServersHandler(_ClusterHandler):
    """All servers."""

    async def get(self) -> None:
        """List them."""
        cluster = self.cluster()
        rows, owned = await cluster.servers(), await cluster.owned()
        self.answer(servers_answer(rows, owned, cluster.server_id))


class DrainHandler(_ClusterHandler):
    """A server that is to be stopped."""

    async def post(self, server_id: str) -> None:
        """Have it take nothing new, and give away what it has."""
        await self.cluster().drain(server_id)
        self.set_status(HTTPStatus.ACCEPTED)
        self.finish()


class RebalanceHandler(_ClusterHandler):
    """Servers that are not alike full."""

    async def post(self) -> None:
        """Have fuller ones give some of their idle contexts to emptier ones."""
        from isoserver.passing.handlers import loads_elsewhere  # noqa: PLC0415 - if so

        cluster, passing = self.cluster(), self.parts.passing
        assert passing is not None  # noqa: S101 - where there is a cluster
        draining = {peer.id for peer in cluster.peers() if peer.draining}
        if cluster.draining:
            draining.add(cluster.server_id)
        loads = [cluster.load_now(), *await loads_elsewhere(passing)]
        wanted = shifts(each for each in loads if each.id not in draining)
        moved = await asyncio.gather(*map(self._shift, wanted))
        self.answer(moved_answer(wanted, moved))

    async def _shift(self, shift: Shift) -> list[Key]:
        """Have a server give contexts to another; return those that it has moved."""
        from isoserver.passing.handlers import move_elsewhere  # noqa: PLC0415 - if so

        cluster, passing = self.cluster(), self.parts.passing
        assert passing is not None  # noqa: S101 - where there is a cluster
        try:
            if shift.giver != cluster.server_id:
                return await move_elsewhere(passing, shift)
            return await _ownership(self).give(
                cluster.find(shift.receiver), shift.number
            )
        except ServerError as error:
            kind = type(error).__name__
            self.parts.log.warning(
                "a server gives nothing away", server=shift.giver, error=kind
            )
            return []


class MoveHandler(Handler):
    """A context that is to be another server's."""

    async def post(self, context_id: str) -> None:
        """Move it to the server that is named, or to the emptiest."""
        self.require_admin()
        asked = self.parse(MoveRequest) if self.request.body else MoveRequest()
        context = self.find_context(context_id)
        cluster, passing = self.parts.cluster, self.parts.passing
        if cluster is None or passing is None:
            reason = "there are no other servers (cluster)"
            raise UnmovableError(reason)
        owner = cluster.server_id, passing.url
        if asked.server is None or asked.server.rstrip("/") not in owner:
            peer = cluster.find(asked.server)
            await _ownership(self).move(context.key, peer)
            owner = peer.id, peer.url
        # Of where it is from now on: this server said that it is here.
        self.set_header("X-Isokernel-Owner", owner[1])
        self.answer({"id": context.id, "server": owner[0], "url": owner[1]})


def _ownership(handler: Handler) -> Ownership:
    found = handler.parts.contexts.ownership
    assert found is not None  # noqa: S101 - where there is a cluster
    return found
