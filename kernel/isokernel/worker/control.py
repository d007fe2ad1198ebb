"""The second thread: what must be heard while JavaScript keeps the first one busy."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any, Final

from isokernel.errors import FrameError, MessageError
from isokernel.protocol.answers import refusal, reply_type
from isokernel.protocol.frames import Decoder, Frame, encode

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from isokernel.context import Context
    from isokernel.protocol.cells import CellRunner

__all__ = ["MemoryFigures", "WorkerControl", "open_rollup"]

_CHUNK_BYTES: Final = 4096
_FRAME_BYTES_MAX: Final = 1 << 16
_ROLLUP_BYTES: Final = 8192
_PSS: Final = b"\nPss:"


class WorkerControl(threading.Thread):
    """Serves `control` until the server closes it, and then ends the process."""

    def __init__(
        self, sock: socket.socket, cells: CellRunner[Frame], memory: MemoryFigures
    ) -> None:
        """Take ownership of a stream socket, in blocking mode."""
        super().__init__(name="isokernel-control", daemon=True)
        sock.settimeout(None)
        self._socket = sock
        self._cells = cells
        self._answers: dict[str, Callable[[Frame], dict[str, Any]]] = {
            "interrupt_request": self._interrupt,
            "memory_request": lambda _request: memory.content(),
        }

    def run(self) -> None:
        """Serve; never returns."""
        decoder = Decoder(_FRAME_BYTES_MAX)
        try:
            while data := self._socket.recv(_CHUNK_BYTES):
                for request in decoder.feed(data):
                    self._serve(request)
        except (OSError, FrameError):
            pass  # as good as closed
        finally:
            os._exit(0)

    def _serve(self, request: Frame) -> None:
        answer = self._answers.get(request.type)
        if answer is None:
            error = MessageError(f"{request.type} isn't known on control")
            content = refusal(request.type, error)
        else:
            content = answer(request)
        reply = encode(reply_type(request.type), content, parent=request.id or 0)
        self._socket.sendall(reply)

    def _interrupt(self, request: Frame) -> dict[str, Any]:
        """Stop one execution, begun or not, or whatever runs now."""
        target = request.content.get("execution")
        if target is None or isinstance(target, int):
            self._cells.interrupt(target)
        return {"status": "ok"}


class MemoryFigures:
    """The latest figures of a context's memory, for any thread.

    Attributes:
        rollup: A descriptor of the process's own smaps_rollup, opened before the
            process could no longer open files; None where there is none. A clone has
            none, as it would be its parent's.
    """

    def __init__(self, context: Context, rollup: int | None) -> None:
        """Watch a context."""
        self._limits = context.bridge.isolate.memory
        self.rollup = rollup
        self.update()

    def update(self) -> None:
        """Ask V8. On the V8 thread."""
        self._heap = self._limits.statistics()

    def content(self) -> dict[str, Any]:
        """Return the content of memory_reply; bytes. Any thread.

        The proportional set size (`pss`) is asked for now; the other figures are those
        of the last time when the V8 thread could be asked, 0.25 s ago at most unless it
        is in a native function.
        """
        pss = self._pss()
        return {
            "status": "ok",
            "heap_used": self._heap.heap_used_bytes,
            "heap_total": self._heap.heap_total_bytes,
            "buffers": self._heap.buffers_bytes,
            **({} if pss is None else {"pss": pss}),
        }

    def _pss(self) -> int | None:
        if self.rollup is None:
            return None
        try:
            text = os.pread(self.rollup, _ROLLUP_BYTES, 0)
            return int(text.partition(_PSS)[2].split(None, 1)[0]) * 1024
        except (OSError, IndexError, ValueError):
            return None


def open_rollup() -> int | None:
    """Open the process's own figures, while it can."""
    try:
        return os.open("/proc/self/smaps_rollup", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
