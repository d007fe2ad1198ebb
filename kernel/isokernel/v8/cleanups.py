"""Cleanup callbacks of FinalizationRegistries whose objects were collected.

V8 has its platform's event loop call them, and we run none: whoever runs JavaScript
asks here after each turn.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Final

from isokernel.v8 import callbacks
from isokernel.v8.scopes import HandleScope

if TYPE_CHECKING:
    from isokernel.v8.isolate import Isolate
    from isokernel.v8.values import Value

_TASK_BYTES: Final = 128  # FinalizationRegistryCleanupTask has 48; room to spare


class Cleanups:
    """The cleanup callbacks of one isolate. Used on the isolate's thread.

    Attributes:
        thrown: What callbacks have thrown, in the present `run`.
    """

    def __init__(self, isolate: Isolate) -> None:
        """Ask the heap of an isolate that exists already."""
        self._isolate = isolate
        self._heap: int = isolate.library.isolate_heap(isolate.pointer)
        # V8 knows of the task until the isolate's end.
        self._task: ctypes.Array[ctypes.c_char] | None = None
        self.thrown: list[Value] = []

    @property
    def pending(self) -> bool:
        """Whether callbacks wait for `run`."""
        return bool(self._isolate.library.has_dirty_registries(self._heap))

    def run(self) -> list[Value]:
        """Call the callbacks of one registry.

        It ends early at what is thrown, or at a termination; what is left then is
        still pending.

        Returns:
            What was thrown.
        """
        isolate, library = self._isolate, self._isolate.library
        with isolate.entered():
            if self._task is None:
                self._task = ctypes.create_string_buffer(_TASK_BYTES)
                library.registries_task_new(self._task, self._heap)
            # Not for longer: a heap with a listener can't be saved.
            library.listener_add(isolate.pointer, callbacks.thrown, None)
            library.registries_task_run(self._task)
            library.listener_remove(isolate.pointer, callbacks.thrown)
            isolate.raise_failure()
            thrown, self.thrown = self.thrown, []
            return thrown

    def discard(self) -> None:
        """Forget all that are pending: V8 doesn't write registries that wait.

        Only for a copy that is about to be saved. The original calls them in its next
        turn; the saved heap goes without.
        """
        isolate, library = self._isolate, self._isolate.library
        library.low_memory(isolate.pointer)
        with HandleScope(isolate.scope_slots):
            while library.dequeue_registry(self._heap):
                pass
