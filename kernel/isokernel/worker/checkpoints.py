"""Saving the context, in a process that was forked for it: the context goes on at once.

What is asked for is a `checkpoint_request` with two descriptors: a file that gets the
heap, and the write end of a pipe that gets one JSON map when it is all done:

    {"status": "ok", "size": …, "digest": …, "seconds": …}
    {"status": "error", "reason": …, "kind": …, "path": …}

The pipe's end without a map says that the process has died.
"""

from __future__ import annotations

import json
import os
import signal
import time
from typing import TYPE_CHECKING, Any, NoReturn

from isokernel.errors import SnapshotFailedError
from isokernel.v8.children import Children

if TYPE_CHECKING:
    from isokernel.context.context import Context

__all__ = ["checkpoint"]


def checkpoint(context: Context, file: int, outcome: int, seconds: float) -> NoReturn:
    """Save the context into a file, tell how it went, end the process.

    Args:
        context: A copy, in a process that is nothing else.
        file: A descriptor; gets what `Snapshot.to_bytes` gives.
        outcome: A descriptor; see above.
        seconds: That each step may take.
    """
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # how a child ended is asked here
        with Children(context.bridge.isolate, (outcome,)) as children:
            said = _saved(context, file, seconds, children)
            os.write(outcome, json.dumps(said).encode())
            os.close(outcome)  # its end would come last of all, 3 ms later
    finally:
        os._exit(0)


def _saved(
    context: Context, file: int, seconds: float, children: Children
) -> dict[str, Any]:
    start = time.monotonic()
    try:
        digest = context.write(file, seconds=seconds, children=children)
    except SnapshotFailedError as error:
        return _failed(error.reason, error.kind, error.path)
    except Exception as error:  # noqa: BLE001 -- whoever asked must hear of it
        return _failed(f"{type(error).__name__}: {error}")
    return {
        "status": "ok",
        "size": os.fstat(file).st_size,
        "digest": digest,
        "seconds": time.monotonic() - start,
    }


def _failed(
    reason: str, kind: str | None = None, path: str | None = None
) -> dict[str, Any]:
    return {"status": "error", "reason": reason, "kind": kind, "path": path}
