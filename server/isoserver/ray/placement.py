"""The actor that has a server on each node, and tells Ray how many nodes are wanted.

There is one in a Ray cluster. Ray restarts it, and the servers, wherever they can be;
it makes servers on nodes that are added, and forgets those of nodes that are gone.
What is wanted is kept by Ray, and servers are found by their names, so it knows as much
when it was restarted.
"""

from __future__ import annotations

import json
import threading
import traceback
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import ray
from ray.autoscaler.sdk import request_resources
from ray.exceptions import RayError as ForeignError
from ray.experimental.internal_kv import (
    _internal_kv_del,
    _internal_kv_get,
    _internal_kv_put,
)
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from isokernel.client.ray_servers import NAMESPACE
from isoserver.errors import RayError
from isoserver.ray.resources import actor_options
from isoserver.ray.servers import NodeServer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from structlog.typing import FilteringBoundLogger

__all__ = ["Order", "Placement", "ServerInfo", "check"]

_LOOK_SECONDS: Final = 1.0
"""Between two looks at which nodes there are."""
_ANSWER_SECONDS: Final = 5.0
_LOOKED_SECONDS: Final = 8.0
"""How long the first look is waited for; the client waits for ten."""
_STOP_SECONDS: Final = 180.0
_SERVER: Final = "server-"
"""What the names of servers' actors begin with; the id of the node follows."""
_ORDER: Final = b"isokernel-order"
"""The key by which Ray keeps what is wanted, where it keeps what actors there are."""


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


def check(order: Order) -> None:
    """Refuse what can't be carried out, before it is kept; asks nothing of a cluster.

    Raises:
        RayError: Ray wouldn't take it, and the message says what.
    """
    if order.servers is not None and order.servers < 1:
        message = f"{order.servers} servers can't be had: `down` stops all of them"
        raise RayError(message)
    options = actor_options(order.resources)
    try:
        ray.remote(NodeServer).options(**options)
    except (TypeError, ValueError) as error:  # of accelerators, parts and numbers
        message = f"Ray refuses what a server is to take: {error}"
        raise RayError(message) from error


class Placement:
    """Makes servers, in a thread of its own."""

    def __init__(self, make_log: Callable[[str], FilteringBoundLogger]) -> None:
        """Go on with what was wanted before Ray restarted this actor, if it did.

        Args:
            make_log: Makes the log, of a level; called where the actor is.
        """
        self._log = make_log("info")
        self._told = ""
        self._order = self._kept()
        self._actors: dict[str, Any] = {}
        self._servers: list[ServerInfo] = []
        self._looked = threading.Event()
        self._ended = threading.Event()
        self._keeper = threading.Thread(target=self._keep, daemon=True)
        self._keeper.start()

    def servers(self) -> list[ServerInfo]:
        """Return the servers that answered when they were last asked."""
        self._looked.wait(_LOOKED_SECONDS)
        return self._servers

    def urls(self) -> list[str]:
        """Return their URLs; the client calls this."""
        return [server.url for server in self.servers()]

    def wanted(self) -> int:
        """Return how many there are to be, of the nodes that there are."""
        return len(self._nodes())

    def change(self, order: Order) -> None:
        """Want something, or something else; servers that run keep their settings.

        Raises:
            RayError: It can't be carried out; what was wanted before still is.
        """
        check(order)
        _internal_kv_put(_ORDER, json.dumps(order).encode(), overwrite=True)
        self._order = order
        # Tells the autoscaler for how many there should be room.
        request_resources(bundles=[dict(order.resources)] * (order.servers or 0))

    def close(self) -> None:
        """Stop all servers, and make no more."""
        self._ended.set()
        self._keeper.join()
        _internal_kv_del(_ORDER)
        request_resources(bundles=[])
        _stop(_found())
        self._order, self._actors, self._servers = None, {}, []

    def _kept(self) -> Order | None:
        """Return what Ray keeps as wanted, if anything is."""
        kept = _internal_kv_get(_ORDER)
        try:
            return None if kept is None else Order(*json.loads(kept))
        except (TypeError, ValueError) as error:  # as another version has written it
            self._tell(error)
            return None

    def _keep(self) -> None:
        while not self._ended.wait(_LOOK_SECONDS):
            self._look()

    def _look(self) -> None:
        """Do what is wanted as far as it can be done; the next look does the rest."""
        try:
            self._obey()
        except Exception as error:  # noqa: BLE001 - else no order is obeyed any more
            self._tell(error)
        else:
            self._told = ""

    def _obey(self) -> None:
        self._actors = _found()
        try:
            self._place()
        finally:
            # Clients are told of what runs, whatever comes of what is wanted besides.
            self._ask()
            self._looked.set()

    def _tell(self, error: Exception) -> None:
        """Log what went wrong, once until it is over or something else.

        Of what others raise it is the place, not the text, which may quote variables.
        """
        text = str(error) if isinstance(error, RayError) else _origin(error)
        told = f"{type(error).__name__}: {text}"
        if told != self._told:
            self._told = told
            self._log.error("placement failed", error=type(error).__name__, why=text)

    def _nodes(self) -> list[str]:
        """Return the nodes that a server is to be on."""
        order = self._order
        if order is None:
            return []
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
        """Make a server on each node that lacks one; stop those of others."""
        order = self._order
        if order is None:
            return
        nodes = self._nodes()
        for node in nodes:
            if node not in self._actors:
                self._actors[node] = _make(order, node)
        others = self._actors.keys() - nodes
        _stop({node: self._actors.pop(node) for node in others})

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
            with suppress(ForeignError):  # it is gone, or didn't start: it is made anew
                found.append(ServerInfo(node, ray.get(reference), ray.get(pid)))
        self._servers = found


def _origin(error: Exception) -> str:
    """Return where something was raised: file, line and function."""
    *_, last = traceback.extract_tb(error.__traceback__)
    return f"{last.filename}:{last.lineno} in {last.name}"


def _found() -> dict[str, Any]:
    """Return the actors of servers that there are, by the ids of their nodes."""
    found = {}
    for actor in ray.util.list_named_actors(all_namespaces=True):
        name = actor["name"]
        if actor["namespace"] == NAMESPACE and name.startswith(_SERVER):
            with suppress(ValueError):  # it has ended meanwhile
                known = ray.get_actor(name, namespace=NAMESPACE)
                found[name.removeprefix(_SERVER)] = known
    return found


def _make(order: Order, node: str) -> Any:
    """Have a server on a node."""
    options = {
        **actor_options(order.resources),
        "name": f"{_SERVER}{node}",
        "namespace": NAMESPACE,
        # So that servers outlive this actor, and are found again.
        "lifetime": "detached",
        "get_if_exists": True,
        "max_restarts": -1,
        "scheduling_strategy": NodeAffinitySchedulingStrategy(node, soft=False),
    }
    made = ray.remote(NodeServer).options(**options)
    return made.remote(list(order.flags), dict(order.variables))


def _stop(actors: Mapping[str, Any]) -> None:
    """Have servers save what they have and end, as far as they are still there."""
    asked = [actor.stop.remote() for actor in actors.values()]
    if asked:
        # One whose node is gone answers with an error at once.
        ray.wait(asked, num_returns=len(asked), timeout=_STOP_SECONDS)
    for actor in actors.values():
        ray.kill(actor)
