"""Rows of the table: how fast kernels start, answer and print."""

from __future__ import annotations

import re
import socket
import time
from typing import TYPE_CHECKING, Any

from tests.bench.report import rounded, summary
from tests.bench.session import DEADLINE, Session, session

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.bench.peers import Peer
    from tests.bench.session import Run, Sheet

QUIET = 2.5
"""Seconds without output after which no more is expected."""
LINE = re.compile(r"^line (\d+)$", re.MULTILINE)


def cold_start(sheet: Sheet, peers: Sequence[Peer], rounds: int) -> None:
    """From spawning the process to the reply to `1+1`, the kernels in turn."""
    ways = {
        "a cold start → `1+1` reply, plain client, ms (min-max)": _plain,
        "a' same, client connects when the port listens": _when_listening,
        "a'' same, jupyter_client's wait_for_ready (nbclient)": _when_ready,
    }
    for row, start in ways.items():
        samples: dict[str, list[float]] = {peer.spec: [] for peer in peers}
        for _ in range(rounds):
            for peer in peers:
                samples[peer.spec].append(start(peer) * 1e3)
        for peer in peers:
            found = summary(samples[peer.spec])
            text = f"{found['p50']:.0f} ({found['minimum']:.0f}-{found['maximum']:.0f})"
            sheet.put(row, peer, text, found)


def _plain(peer: Peer) -> float:
    """Connect at once, ask for kernel_info, execute when it is there."""
    opened = Session(peer)
    try:
        opened.client.start_channels()
        message_id = opened.client.kernel_info()
        opened.reply(message_id)
        return _first_reply(opened)
    finally:
        opened.close()


def _when_ready(peer: Peer) -> float:
    """As nbclient does it; 200 ms of it are spent on waiting for silence on iopub."""
    opened = Session(peer)
    try:
        opened.connect()
        return _first_reply(opened)
    finally:
        opened.close()


def _when_listening(peer: Peer) -> float:
    """ZeroMQ tries again only every 100 ms, which hides differences; avoid that."""
    opened = Session(peer)
    try:
        info = opened.manager.get_connection_info()
        for name in ("shell_port", "iopub_port"):
            _wait_for_port(str(info["ip"]), int(info[name]))
        opened.client.start_channels()
        return _first_reply(opened)
    finally:
        opened.close()


def _wait_for_port(host: str, port: int) -> None:
    end = time.perf_counter() + DEADLINE
    while time.perf_counter() < end:
        with socket.socket() as probe:
            if probe.connect_ex((host, port)) == 0:
                return
        time.sleep(0.001)  # a poll: nothing tells that a port listens


def _first_reply(opened: Session) -> float:
    message_id = opened.client.execute("1+1")
    if opened.reply(message_id) is None:
        message = "no reply"
        raise TimeoutError(message)
    return time.perf_counter() - opened.started


def round_trip(sheet: Sheet, sessions: Sequence[Session], blocks: int) -> None:
    """`1+1` in a live kernel, from sending to idle and reply; blocks of 300."""
    times: dict[str, list[float]] = {s.peer.spec: [] for s in sessions}
    results: dict[str, int] = {s.peer.spec: 0 for s in sessions}
    idles: dict[str, int] = {s.peer.spec: 0 for s in sessions}
    for opened in sessions:
        for _ in range(20):
            opened.run("1+1")
    for _ in range(blocks):
        for opened in sessions:
            for _ in range(300):
                run = opened.run("1+1", seconds=5)
                times[opened.peer.spec].append(run.seconds * 1e3)
                results[opened.peer.spec] += bool(run.of("execute_result"))
                idles[opened.peer.spec] += run.idle
    for opened in sessions:
        spec = opened.peer.spec
        found = summary(times[spec])
        sheet.put(
            "b warm `1+1` to idle, ms: p50 (p95)",
            opened.peer,
            f"{rounded(found['p50'])} ({rounded(found['p95'])})",
            found,
        )
        total = blocks * 300
        text = f"{results[spec]}/{total}"
        if idles[spec] < total:
            text += f"; {total - idles[spec]} without idle"
        sheet.put("b' execute_result before idle", opened.peer, text)


def lines(sheet: Sheet, sessions: Sequence[Session], count: int, rounds: int) -> None:
    """Many lines from one cell: when idle comes, and what has come by then."""
    found: dict[str, list[dict[str, Any]]] = {s.peer.spec: [] for s in sessions}
    for _ in range(rounds):
        for opened in sessions:
            found[opened.peer.spec].append(_print_lines(opened, count))
    for opened in sessions:
        runs = found[opened.peer.spec]
        _put_lines(sheet, opened.peer, f"c {count:,} lines", count, runs)


def _print_lines(opened: Session, count: int) -> dict[str, Any]:
    code = opened.peer.lines.replace("{n}", str(count)).replace("{{i}}", "{i}")
    start = time.perf_counter()
    run = opened.run(code, seconds=60)
    idle = run.seconds
    last = idle
    before = _numbers(run)
    if len(before) < count:
        while (message := opened.iopub(QUIET)) is not None:
            if message["msg_type"] == "stream":
                run.messages.append(message)
                last = time.perf_counter() - start
    numbers = _numbers(run)
    return {
        "idle_s": idle if run.idle else None,
        "last_line_s": last,
        "messages": len(run.of("stream")),
        "before_idle": len(before),
        "lines": len(set(numbers)),
        "ordered": numbers == sorted(numbers),
    }


def _numbers(run: Run) -> list[int]:
    return [int(number) for number in LINE.findall(run.text())]


def _put_lines(
    sheet: Sheet, peer: Peer, row: str, count: int, runs: list[dict[str, Any]]
) -> None:
    idles = [run["idle_s"] for run in runs if run["idle_s"] is not None]
    text = "never" if not idles else f"{rounded(summary(idles)['p50'])}"
    last = summary(run["last_line_s"] for run in runs)["p50"]
    sheet.put(f"{row}: idle, s (last line)", peer, f"{text} ({rounded(last)})", runs)
    before = ", ".join(f"{run['before_idle']:,}" for run in runs)
    sheet.put(f"{row}: lines before idle", peer, before)
    got = ", ".join(f"{run['lines']:,}" for run in runs)
    order = "in order" if all(run["ordered"] for run in runs) else "out of order"
    lost = sum(count - run["lines"] for run in runs)
    sheet.put(f"{row}: lines in all; lost", peer, f"{got}; {lost}; {order}")
    sent = ", ".join(f"{run['messages']:,}" for run in runs)
    sheet.put(f"{row}: messages", peer, sent)


def shutdown(sheet: Sheet, peer: Peer, rounds: int) -> None:
    """From shutdown_request to the end of the process."""
    samples = []
    for _ in range(rounds):
        with session(peer) as opened:
            opened.run("1+1")
            client = opened.client
            message = client.session.msg("shutdown_request", {"restart": False})
            start = time.perf_counter()
            client.control_channel.send(message)
            end = start + 10
            while opened.alive and time.perf_counter() < end:
                time.sleep(0.002)  # a poll: we are not the only one that waits for it
            samples.append((time.perf_counter() - start) * 1e3)
    found = summary(samples)
    sheet.put("m shutdown_request → exit, ms", peer, f"{found['p50']:.0f}", found)
