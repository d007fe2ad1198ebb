"""The actor that has a server on each node, and tells Ray how many nodes are wanted.

There is one in a Ray cluster. Ray restarts it, and the servers, wherever they can be;
it makes servers on nodes that are added, and forgets those of nodes that are gone.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import ray
from ray.autoscaler.sdk import request_resources
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from isokernel.client.ray_servers import NAMESPACE
from isoserver.ray.servers import NodeServer

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Order", "Placement", "ServerInfo"]

_LOOK_SECONDS: Final = 1.0
"""Between two looks at which nodes there are."""
_ANSWER_SECONDS: Final = 5.0
_STOP_SECONDS: Final = 180.0


class Order(NamedTuple):
    """What is wanted.

    Attributes:
        flags: The flags of `isokernel serve`, for each server.
        variables: Settings as variables.
        resources: What a server needs of Ray's resources, CPU among them.
        servers: How many servers; one on each node that has the resources if None.
    """

    flags: tuple[str, ...]
    variables: Mapping[str, str]
    resources: Mapping[str, float]
    servers: int | None


class ServerInfo(NamedTuple):
    """A server that answers."""

    node_id: str
    url: str
    pid: int


class Placement:
    """Makes servers, in a thread of its own."""

    def __init__(self, order: Order) -> None:
        """Begin.

        Args:
            order: What is wanted.
        """
        self._order = order
        self._actors: dict[str, Any] = {}
        self._servers: list[ServerInfo] = []
        self._ended = threading.Event()
        self._hint(order)
        self._keeper = threading.Thread(target=self._keep, daemon=True)
        self._keeper.start()

    def servers(self) -> list[ServerInfo]:
        """Return the servers that answered when they were last asked."""
        return self._servers

    def urls(self) -> list[str]:
        """Return their URLs; the client calls this."""
        return [server.url for server in self._servers]

    def wanted(self) -> int:
        """Return how many there are to be, of the nodes that there are."""
        return len(self._nodes())

    def change(self, order: Order) -> None:
        """Want something else; servers that run keep their settings."""
        self._order = order
        self._hint(order)

    def close(self) -> None:
        """Stop all servers, and make no more."""
        self._ended.set()
        self._keeper.join()
        request_resources(bundles=[])
        _stop(list(self._actors.values()))
        self._actors, self._servers = {}, []

    def _hint(self, order: Order) -> None:
        """Tell the autoscaler how many nodes there should be room on."""
        request_resources(bundles=[dict(order.resources)] * (order.servers or 0))

    def _keep(self) -> None:
        while not self._ended.wait(_LOOK_SECONDS):
            with suppress(RayError):  # its own services are being restarted
                self._place()
                self._ask()

    def _nodes(self) -> list[str]:
        """Return the nodes that a server is to be on."""
        order = self._order
        found = [
            str(node["NodeID"])
            for node in ray.nodes()
            if node["Alive"]
            and all(
                node["Resources"].get(name, 0) >= amount
                for name, amount in order.resources.items()
            )
        ]
        found.sort(key=lambda node: node not in self._actors)
        return found[: order.servers]

    def _place(self) -> None:
        """Make a server on each node that lacks one; forget those of others."""
        nodes = self._nodes()
        order = self._order
        resources = dict(order.resources)
        for node in nodes:
            if node not in self._actors:
                self._actors[node] = (
                    ray.remote(NodeServer)
                    .options(
                        name=f"server-{node}",
                        namespace=NAMESPACE,
                        # So that servers outlive this actor, and are found again.
                        lifetime="detached",
                        get_if_exists=True,
                        max_restarts=-1,
                        num_cpus=resources.pop("CPU", 0),
                        resources=resources,
                        scheduling_strategy=NodeAffinitySchedulingStrategy(
                            node, soft=False
                        ),
                    )
                    .remote(list(order.flags), dict(order.variables))
                )
                resources = dict(order.resources)
        for node in self._actors.keys() - nodes:
            _stop([self._actors.pop(node)])

    def _ask(self) -> None:
        """Ask each for its address: a server that was started again has another one."""
        asked = {
            actor.url.remote(): (node, actor.pid.remote())
            for node, actor in self._actors.items()
        }
        if not asked:
            self._servers = []
            return
        ready, _ = ray.wait(
            list(asked), num_returns=len(asked), timeout=_ANSWER_SECONDS
        )
        found = []
        for reference in ready:
            node, pid = asked[reference]
            try:
                found.append(ServerInfo(node, ray.get(reference), ray.get(pid)))
            except RayError:  # it is gone, or didn't start: it is made anew
                self._actors.pop(node)
        self._servers = found


def _stop(actors: list[Any]) -> None:
    """Have servers save what they have and end, as far as they are still there."""
    asked = [actor.stop.remote() for actor in actors]
    if asked:
        # One whose node is gone answers with an error at once.
        ray.wait(asked, num_returns=len(asked), timeout=_STOP_SECONDS)
    for actor in actors:
        ray.kill(actor)
