"""A REPL in V8: one cell in, a stream of events out; the same for every front.

    context     the REPL itself
    cell_run    one execution of a cell, from its first line to `ExecutionDone`
    turns       when JavaScript runs, and how it is stopped; `watchdog` is its thread
    bridge      what Python and the JavaScript runtime call of each other
    events      what a context reports
    tracebacks  errors as text, with the lines of the cells
    queries     completion, inspection, names
    comms       Jupyter's two-way channels
    heaps       saving a context
    warmup      what a context that is forked from has done already

A context belongs to the thread that runs V8. It holds the rest: its runtime (`bridge`),
its `turns`, the run of its present cell, `queries`, `comms` and `heaps`.
"""

from __future__ import annotations

from isokernel.context.context import Context

__all__ = ["Context"]
