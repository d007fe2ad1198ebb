"""Rows of the table: memory, processes and threads."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tests.bench.session import Session, session

if TYPE_CHECKING:
    import psutil
    from tests.bench.peers import Peer
    from tests.bench.session import Sheet

MIB = 2**20


def family(process: psutil.Process) -> list[psutil.Process]:
    """A process and its descendants."""
    return [process, *process.children(recursive=True)]


def pss(processes: list[psutil.Process]) -> float:
    """MiB of memory, shared pages divided among those that share them."""
    return float(sum(p.memory_full_info().pss for p in processes)) / MIB


def one_kernel(sheet: Sheet, peer: Peer) -> None:
    """One kernel after its start, after some use, and its processes and threads."""
    with session(peer) as opened:
        opened.run("1+1")
        all_of_it = family(opened.process())
        fresh = pss(all_of_it)
        rss = sum(p.memory_info().rss for p in all_of_it) / MIB
        for _ in range(50):
            opened.run("1+1")
        opened.run(peer.lines.replace("{n}", "20000").replace("{{i}}", "{i}"))
        opened.later(1)
        all_of_it = family(opened.process())
        used = pss(all_of_it)
        threads = sum(p.num_threads() for p in all_of_it)
        sheet.put(
            "h PSS after start / after use, MiB (RSS)",
            peer,
            f"{fresh:.1f} / {used:.1f} ({rss:.0f})",
            {"fresh_mib": fresh, "used_mib": used, "rss_mib": rss},
        )
        sheet.put("h processes / threads", peer, f"{len(all_of_it)} / {threads}")


def ten_kernels(sheet: Sheet, peer: Peer) -> None:
    """Ten at once: when all have answered, and their memory together."""
    start = time.perf_counter()
    opened = [Session(peer) for _ in range(10)]
    try:
        for one in opened:
            one.connect()
        for one in opened:
            one.run("1+1")
        ready = time.perf_counter() - start
        total = pss([p for one in opened for p in family(one.process())])
    finally:
        for one in opened:
            one.close()
    sheet.put(
        "i 10 kernels at once: all have answered, s; sum of PSS, MiB",
        peer,
        f"{ready:.2f}; {total:.0f}",
        {"ready_s": ready, "pss_mib": total},
    )
