"""Servers on some of Ray's nodes, whose number is changed; what places them is lost.

Once it finds an order that nobody can carry out, as another version may have kept it.

In a process of its own, as `ray_nodes`. The arguments are the flags of `isokernel
serve`; settings, and the way to the store of heaps, are variables, which Ray's nodes
don't have. Prints JSON.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import ray
from ray.cluster_utils import Cluster as Nodes
from ray.experimental.internal_kv import _internal_kv_get, _internal_kv_put
from tests.support.programs.ray_nodes import SECONDS, command, until

from isokernel.client.ray_servers import NAMESPACE, PLACEMENT
from isoserver.cli.cluster import run as cluster
from isoserver.ray.placement import _ORDER

NODE = {"num_cpus": 1, "num_gpus": 1, "resources": {"place": 1}}
TAKEN = {"GPU": "1", "memory": "1e6", "place": "1"}
"""What a server takes, besides its CPU."""
HINTS = b"autoscaler_resource_request"
"""By what key Ray's autoscaler reads what was asked for."""


def placement() -> Any:
    """The actor that makes servers."""
    return ray.get_actor(PLACEMENT, namespace=NAMESPACE)


def lose_placement() -> None:
    """End its process, as if its node had been lost; Ray starts it again."""
    before = ray.get(placement().__ray_call__.remote(lambda _: os.getpid()))
    ray.kill(placement(), no_restart=False)
    asyncio.run(until(lambda: not Path(f"/proc/{before}").exists()))


def keep(order: list[Any]) -> None:
    """Have Ray keep an order that the placement wasn't asked for, and find it."""
    _internal_kv_put(_ORDER, json.dumps(order).encode(), overwrite=True)
    lose_placement()


def told() -> str:
    """What the placement has logged of a failure that isn't over."""
    text: str = ray.get(placement().__ray_call__.remote(lambda self: self._told))
    return text


def main(flags: list[str]) -> None:
    """Have nodes, then servers on some of them."""
    theirs = ("AWS_", "ISOKERNEL_")
    given = {
        name: os.environ.pop(name) for name in [*os.environ] if name.startswith(theirs)
    }
    head = {"num_cpus": 1, "include_dashboard": False}
    nodes = Nodes(initialize_head=True, head_node_args=head)
    others = [nodes.add_node(**NODE) for _ in range(2)]
    os.environ.update(given)
    address = ("--address", nodes.address)
    found: dict[str, Any] = {}

    def servers() -> dict[str, str]:
        """Processes by node."""
        return {line[2]: line[-1] for line in command("nodes", *address)}

    def up(number: int) -> list[Any]:
        command(
            *("up", *address, "--servers", str(number)),
            *(f"--resource={name}={amount}" for name, amount in TAKEN.items()),
            *("--wait", str(SECONDS), "--", *flags),
        )
        asked: list[Any] = json.loads(_internal_kv_get(HINTS) or b"[]")
        return asked

    def reach(number: int) -> dict[str, str]:
        asyncio.run(until(lambda: len(servers()) == number))
        return servers()

    try:
        found["hints"] = [len(up(1))]
        one = reach(1)
        found["taken"] = json.loads(_internal_kv_get(HINTS))[0]
        found["refused"] = cluster(("up", *address, "--resource", "TPU=3"))
        keep([])
        found["unreadable"] = reach(1) == one
        keep([flags, {}, {"CPU": 1, "place": 1, "object_store_memory": 1}, 2])
        asyncio.run(until(lambda: bool(told())))
        found["failed"], found["known"] = told(), reach(1) == one
        found["hints"].append(len(up(2)))
        two = reach(2)
        found["kept"] = one.items() <= two.items()
        found["chosen"] = two.keys() == {node.node_id for node in others}
        lose_placement()
        found["found_again"] = reach(2) == two
        nodes.add_node(**NODE)
        nodes.wait_for_nodes()
        up(2)
        found["no_more"] = reach(2) == two
        up(1)
        last = reach(1)
        found["fewer"] = last.items() <= two.items()
        found["hints"].append(len(up(3)))
        all_of_them = reach(3)
        lose_placement()
        command("down", *address)
        found["running"] = [
            pid
            for pid in {**two, **all_of_them}.values()
            if Path(f"/proc/{pid}").exists()
        ]
        found["hints"].append(len(json.loads(_internal_kv_get(HINTS))))
    finally:
        ray.shutdown()
        nodes.shutdown()
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
