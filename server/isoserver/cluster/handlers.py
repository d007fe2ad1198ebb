"""The HTTP handlers of the cluster."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from isoserver.cluster.models import servers_answer
from isoserver.errors import RouteMissingError
from isoserver.http.handlers import Handler

if TYPE_CHECKING:
    from isoserver.cluster.service import Cluster

__all__ = ["DrainHandler", "ServersHandler"]


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
