"""The servers of a cluster in the UI: how each stands, and to drain one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from isoserver.cluster.models import servers_answer
from isoserver.errors import RouteMissingError
from isoserver.ui.pages import Page

if TYPE_CHECKING:
    from isoserver.cluster.service import Cluster

__all__ = ["ServersPage"]


class ServersPage(Page):
    """All servers, for operators; where there is no cluster, there is no such page."""

    area = "servers"

    def cluster(self) -> Cluster:
        """Return the cluster, if there is one and it is the caller's business."""
        if self.parts.cluster is None:
            raise RouteMissingError
        self.require_operator()
        return self.parts.cluster

    async def get(self) -> None:
        """Show them."""
        cluster = self.cluster()
        answer = servers_answer(
            await cluster.servers(), await cluster.owned(), cluster.server_id
        )
        await self.show("servers.html", servers=answer["items"])

    async def post(self) -> None:
        """Have one give away what it has, so that it can be stopped."""
        await self.cluster().drain(self.field("server"))
        self.go("servers")
