"""Rows of the table: stopping a cell, by the stop button and by message."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from tests.bench.report import rounded
from tests.bench.session import Session, session

if TYPE_CHECKING:
    from tests.bench.peers import Peer
    from tests.bench.session import Sheet

PATIENCE = 4.0
"""Seconds in which a cell must have stopped."""


def interrupts(sheet: Sheet, peer: Peer, rounds: int) -> None:
    """A busy loop and a pending await, each in a fresh kernel."""
    cells = {"`while (true)`": peer.busy, "a pending await": peer.pending}
    for what, code in cells.items():
        for how in ("stop button", "interrupt_request"):
            row = f"g interrupt {what}, {how}"
            sheet.put(row, peer, *_interrupt(peer, code, how, rounds))


def _interrupt(peer: Peer, code: str, how: str, rounds: int) -> tuple[str, Any]:
    with session(peer) as opened:
        opened.run(peer.state)
        samples = []
        for _ in range(rounds):
            taken = _stop(opened, code, how)
            if taken is None:
                return _failed(opened), None
            samples.append(taken * 1e3)
        kept = "5" in opened.run(peer.ask, seconds=PATIENCE).shown()
        spread = f"{rounded(min(samples))}-{rounded(max(samples))} ms"
        return f"{spread}, state {'kept' if kept else 'LOST'}", samples


def _stop(opened: Session, code: str, how: str) -> float | None:
    """Seconds from the interrupt to the cell's reply; None if it doesn't stop."""
    opened.drain()
    message_id = opened.client.execute(code)
    opened.wait_busy(message_id)
    time.sleep(0.1)  # let the loop or the await begin: nothing tells that it has
    start = time.perf_counter()
    if how == "stop button":
        opened.manager.interrupt_kernel()  # a signal, or a message if the spec says so
    else:
        message = opened.client.session.msg("interrupt_request", {})
        opened.client.control_channel.send(message)
    end = start + PATIENCE
    while time.perf_counter() < end:
        if opened.reply(message_id, 0.2) is not None:
            return time.perf_counter() - start
        if not opened.alive:
            return None
    return None


def _failed(opened: Session) -> str:
    if not opened.alive:
        return "process dead, state LOST"
    return f"did not stop in {PATIENCE:g} s"
