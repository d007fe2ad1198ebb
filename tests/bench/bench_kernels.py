"""How do our kernels compare with Deno's and with ipykernel?

Every row of one table, for all the kernels that this environment has, in one run and
in turn. The environment needs isokernel, deno, ipykernel, jupyter_kernel_test and
psutil from PyPI.
"""

from __future__ import annotations

import contextlib
import signal
from typing import TYPE_CHECKING

from tests.bench import (
    report,
    rows_interrupt,
    rows_language,
    rows_memory,
    rows_notebook,
    rows_protocol,
    rows_speed,
    suite,
)
from tests.bench.peers import Peer, available, environment
from tests.bench.session import Session, Sheet, session

if TYPE_CHECKING:
    from collections.abc import Callable

PER_SESSION = (
    rows_protocol.completion,
    rows_protocol.inspection,
    rows_protocol.completeness,
    rows_protocol.while_awaiting,
    rows_language.language,
    rows_language.requests,
    rows_language.errors,
    rows_protocol.rich,
    rows_protocol.inputs,
    rows_protocol.history,
    rows_protocol.comms,
    rows_protocol.others,
    rows_protocol.while_busy,
)
SETTLE = 0.1
"""What a kernel can show counts in these rows also when it comes after idle."""
PARTS = ("start", "trip", "lines", "rows", "interrupt", "memory", "nbclient", "suite")


def start(sheet: Sheet, peers: list[Peer], rounds: int) -> None:
    """Rows a."""
    rows_speed.cold_start(sheet, peers, rounds)


def trip(sheet: Sheet, peers: list[Peer], rounds: int) -> None:
    """Rows b."""
    with contextlib.ExitStack() as stack:
        opened = [stack.enter_context(session(peer)) for peer in peers]
        rows_speed.round_trip(sheet, opened, min(rounds, 3))


def lines(sheet: Sheet, peers: list[Peer], rounds: int) -> None:
    """Rows c."""
    with contextlib.ExitStack() as stack:
        opened = [stack.enter_context(session(peer)) for peer in peers]
        rows_speed.lines(sheet, opened, 20_000, min(rounds, 3))
        rows_speed.lines(sheet, opened, 100_000, 1)


def rows(sheet: Sheet, peers: list[Peer], rounds: int) -> None:
    """Rows d, e, f, j to o: each in a session of its own, so none spoils another."""
    for peer in peers:
        for row in PER_SESSION:
            with session(peer, SETTLE) as opened:
                _guarded(row, sheet, opened)
        rows_speed.shutdown(sheet, peer, min(rounds, 5))


def _guarded(
    row: Callable[[Sheet, Session], None], sheet: Sheet, opened: Session
) -> None:
    """A kernel that dies in one row is not the end of the table."""
    try:
        row(sheet, opened)
    except Exception as error:  # noqa: BLE001 -- whatever a dead kernel brings
        sheet.put(f"{row.__name__} failed", opened.peer, repr(error))


def interrupt(sheet: Sheet, peers: list[Peer], rounds: int) -> None:
    """Rows g."""
    for peer in peers:
        rows_interrupt.interrupts(sheet, peer, min(rounds, 5))


def memory(sheet: Sheet, peers: list[Peer], rounds: int) -> None:
    """Rows h and i."""
    del rounds
    for peer in peers:
        rows_memory.one_kernel(sheet, peer)
    for peer in peers:
        rows_memory.ten_kernels(sheet, peer)


def nbclient(sheet: Sheet, peers: list[Peer], rounds: int) -> None:
    """Rows on lost outputs."""
    for peer in peers:
        rows_notebook.notebooks(sheet, peer, min(rounds, 3))


def conformance(sheet: Sheet, peers: list[Peer], rounds: int) -> None:
    """The suite."""
    del rounds
    for peer in peers:
        suite.conformance(sheet, peer)


FUNCTIONS = dict(
    zip(
        PARTS,
        (start, trip, lines, rows, interrupt, memory, nbclient, conformance),
        strict=True,
    )
)


def render(sheet: Sheet, peers: list[Peer]) -> str:
    """The table, rows in the order of their letters, others last."""
    order = sorted(sheet.rows, key=lambda row: row[0] if row[1] in " '" else "~")
    body = [
        [row, *(sheet.rows[row].get(peer.spec, "-") for peer in peers)] for row in order
    ]
    return report.table(["", *(peer.title for peer in peers)], body)


def main() -> None:
    """Run from the command line."""
    parser = report.arguments(__doc__ or "")
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=PARTS)
    parser.add_argument("--kernels", nargs="*", help="only these kernelspecs")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    # In the background of a shell SIGINT is ignored, and children would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sheet = Sheet()
    with environment():
        peers = [
            p for p in available() if not options.kernels or p.spec in options.kernels
        ]
        for part in options.parts:
            print(f"{part}:", flush=True)
            FUNCTIONS[part](sheet, peers, options.rounds)
    report.publish(options, "kernels", sheet.figures, render(sheet, peers))


if __name__ == "__main__":
    main()
