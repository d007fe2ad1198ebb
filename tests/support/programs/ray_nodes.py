"""Three nodes of Ray with a server each, one of which is lost amid the work.

In a process of its own, for Ray leaves threads and files in whoever connects to it.
The arguments are the flags of `isokernel serve`; settings are variables. Prints JSON.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import io
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
from ray.cluster_utils import Cluster as Nodes

from isokernel.client import Cluster
from isoserver.cli import main as command_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from isokernel.client import Execution

PROGRAMS = 60
CONTEXTS = 6
LOST_AT = 15
EXAMPLE = Path(__file__).parents[3] / "examples" / "score_programs.py"
SECONDS = 240.0


def command(*arguments: str) -> list[list[str]]:
    """Run `isokernel cluster`; the words of each line that it prints."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        status = command_line.FORWARDED["cluster"](arguments)
    assert status == 0, (arguments, printed.getvalue())
    return [line.split() for line in printed.getvalue().splitlines()]


async def until(holds: Callable[[], bool]) -> None:
    """Wait for something that another process does."""
    end = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < end
        await asyncio.sleep(0.2)


async def work(nodes: Nodes, others: list[Any]) -> dict[str, Any]:
    """Work while a node is lost, and what came of it."""
    spec = importlib.util.spec_from_file_location("score_programs", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    found: dict[str, Any] = {}
    address = nodes.address
    done = 0

    def lose(_index: int, _execution: Execution) -> None:
        nonlocal done
        done += 1
        if done == LOST_AT:
            lost = others[0].node_id
            [pid] = (int(line[-1]) for line in servers if line[2] == lost)
            nodes.remove_node(others[0], allow_graceful=False)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    async with Cluster(ray=address, contexts_max=CONTEXTS) as cluster:
        servers = command("nodes", "--address", address)
        found["servers"] = len(await cluster.servers())
        made = [cluster.context(keep=True) for _ in range(CONTEXTS)]
        kept = []
        for number, opening in enumerate(made):
            async with opening as c:
                await c.run(f"let acknowledged = {number}")
                await c.save()
                kept.append(c.id)
        sources = list(example.candidates(PROGRAMS))
        found["scores"] = await example.score(cluster, iter(sources), lose)
        found["wanted"] = [example.CANDIDATES[source] for source in sources]
        found["kept"] = []
        for context_id in kept:
            c = cluster.connect(context_id)
            found["kept"].append((await c.run("acknowledged")).value)
            await c.delete()
        await until(lambda: len(command("nodes", "--address", address)) == 2)
        found["left"] = [line[2] for line in command("nodes", "--address", address)]
        # A server that ends by itself is started again, on a node that is added too.
        added = nodes.add_node(num_cpus=1)
        [first, *_] = command("nodes", "--address", address)
        os.kill(int(first[-1]), signal.SIGKILL)
        await until(
            lambda: (
                {line[2] for line in command("nodes", "--address", address)}
                >= {added.node_id, first[2]}
                and first not in command("nodes", "--address", address)
            )
        )
        found["again"] = len(command("nodes", "--address", address))
        async with Cluster(ray=address) as fresh:
            found["answer"] = (await fresh.run("6 * 7")).value
    return found


def main(flags: list[str]) -> None:
    """Have nodes and servers, work, and stop them."""
    nodes = Nodes(
        initialize_head=True,
        head_node_args={"num_cpus": 1, "include_dashboard": False},
    )
    others = [nodes.add_node(num_cpus=1) for _ in range(2)]
    address = ("--address", nodes.address)
    try:
        command("up", *address, "--wait", str(SECONDS), "--", *flags)
        found = asyncio.run(work(nodes, others))
        pids = [int(line[-1]) for line in command("nodes", *address)]
        command("down", *address)
        found["running"] = [pid for pid in pids if Path(f"/proc/{pid}").exists()]
        found["down"] = command_line.FORWARDED["cluster"](("nodes", *address))
    finally:
        ray.shutdown()
        nodes.shutdown()
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
