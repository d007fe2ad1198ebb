"""`isokernel cluster` with Ray: servers on all nodes, which ones there are, none."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from isoserver.errors import RayError

try:
    import ray
    from ray.exceptions import RayError as ForeignError
except ImportError as error:
    text = "Ray isn't installed: pip install 'isokernel[ray]'"
    raise RayError(text) from error

from isokernel.client.ray_servers import NAMESPACE, PLACEMENT, check_address
from isoserver.ray.placement import Order, Placement, check

if TYPE_CHECKING:
    from collections.abc import Callable

    from structlog.typing import FilteringBoundLogger

    from isoserver.ray.placement import ServerInfo

__all__ = ["Order", "down", "servers", "up"]

_ASK_SECONDS: Final = 0.5
_DOWN_SECONDS: Final = 200.0


def up(
    address: str,
    order: Order,
    seconds: float,
    make_log: Callable[[str], FilteringBoundLogger],
) -> list[ServerInfo]:
    """Have servers on the nodes of a Ray cluster, and return those that answer.

    Args:
        address: The address of the Ray cluster; `auto` for the one of this machine.
        order: What is wanted; of a cluster that is up, what holds for new servers.
        seconds: How long to wait until all that can be there answer.
        make_log: Makes the log of what places them, of a level; found by its name on
            the node where that is.

    Raises:
        RayError: Ray can't be reached, none answers in time, or the order is one that
            can't be carried out, by which nothing changes.
    """
    check(order)
    _connect(address)
    placement = (
        ray.remote(Placement)
        .options(
            name=PLACEMENT,
            namespace=NAMESPACE,
            lifetime="detached",
            get_if_exists=True,
            max_restarts=-1,
            max_task_retries=-1,
            # So that it is asked while it works, and takes nothing from servers.
            max_concurrency=8,
            num_cpus=0,
        )
        .remote(make_log)
    )
    end = time.monotonic() + seconds
    try:
        ray.get(placement.change.remote(order), timeout=seconds)
        while True:
            wanted, found = ray.get(
                [placement.wanted.remote(), placement.servers.remote()],
                timeout=seconds,
            )
            if len(found) >= max(wanted, 1):
                return list(found)
            if time.monotonic() > end:
                break
            time.sleep(_ASK_SECONDS)
    except ForeignError as error:
        raise RayError(str(error)) from error
    if found:
        return list(found)
    message = (
        "no server has started in time: look at the log of their actors, and whether "
        "a node has the resources (--cpus, --resource)"
    )
    raise RayError(message)


def servers(address: str) -> list[ServerInfo]:
    """Return the servers that answer.

    Raises:
        RayError: Ray can't be reached, or no cluster is up.
    """
    placement = _placement(address)
    try:
        return list(ray.get(placement.servers.remote(), timeout=_DOWN_SECONDS))
    except ForeignError as error:
        raise RayError(str(error)) from error


def down(address: str) -> None:
    """Stop all servers, which save their contexts.

    Raises:
        RayError: Ray can't be reached, no cluster is up, or they don't stop.
    """
    placement = _placement(address)
    try:
        ray.get(placement.close.remote(), timeout=_DOWN_SECONDS)
        ray.kill(placement)
    except ForeignError as error:
        raise RayError(str(error)) from error


def _placement(address: str) -> Any:
    _connect(address)
    try:
        return ray.get_actor(PLACEMENT, namespace=NAMESPACE)
    except ValueError as error:
        message = "no cluster is up there: isokernel cluster up"
        raise RayError(message) from error


def _connect(address: str) -> None:
    try:
        check_address(address)
        ray.init(
            address=address,
            namespace=NAMESPACE,
            ignore_reinit_error=True,
            log_to_driver=False,
            logging_level="ERROR",
        )
    except (OSError, ValueError, RuntimeError, ForeignError) as error:
        message = f"can't reach Ray at {address}: {error} (--address)"
        raise RayError(message) from error
