"""Copies of a context's process: one that goes on as a clone, one that saves the heap.

Both requests come with two descriptors. A `fork_request`'s are the clone's two sockets.
A `checkpoint_request`'s are a file that gets the heap, and the write end of a pipe that
gets one JSON map when it is all done:

    {"status": "ok", "size": …, "digest": …, "seconds": …}
    {"status": "error", "reason": …, "kind": …, "path": …, "holder": …}

The pipe's end without a map says that the process has died.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from typing import TYPE_CHECKING, Any, NoReturn

from isokernel.errors import SnapshotFailedError
from isokernel.v8.children import Children

if TYPE_CHECKING:
    from collections.abc import Sequence

    from isokernel.context import Context

__all__ = ["save", "save_and_exit"]


def save_and_exit(
    context: Context, file: int, outcome: int, seconds: float
) -> NoReturn:
    """Save the context into a file, tell how it went, end the process.

    Args:
        context: A copy, in a process that is nothing else.
        file: A descriptor; gets what `Snapshot.to_bytes` returns.
        outcome: A descriptor; see above.
        seconds: That each step may take.
    """
    try:
        save(context, file, outcome, seconds)
    finally:
        os._exit(0)


def save(
    context: Context,
    file: int,
    outcome: int,
    seconds: float,
    private: Sequence[int] = (),
) -> None:
    """Save the context into a file, and tell how it went.

    Args:
        context: What to save, with nothing else to do meanwhile.
        file: As of `save_and_exit`.
        outcome: As of `save_and_exit`; closed here.
        seconds: As of `save_and_exit`.
        private: Descriptors that whoever writes must not have.
    """
    before = signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # how a child ended is asked
    try:
        with Children(context.bridge.isolate, (outcome, *private)) as children:
            said = _save(context, file, seconds, children)
            with contextlib.suppress(BrokenPipeError):  # nobody waits any more
                os.write(outcome, json.dumps(said).encode())
            os.close(outcome)  # its end would come last of all, 3 ms later
    finally:
        signal.signal(signal.SIGCHLD, before)


def _save(
    context: Context, file: int, seconds: float, children: Children
) -> dict[str, Any]:
    start = time.monotonic()
    try:
        key = context.heaps.write(file, seconds=seconds, children=children)
    except SnapshotFailedError as error:
        found = {"kind": error.kind, "path": error.path, "holder": error.holder}
        return {"status": "error", "reason": error.reason, **found}
    except Exception as error:  # noqa: BLE001 -- whoever asked must hear of it
        reason = f"{type(error).__name__}: {error}"
        return {"status": "error", "reason": reason}
    return {
        "status": "ok",
        "size": os.fstat(file).st_size,
        "digest": key,
        "seconds": time.monotonic() - start,
    }
