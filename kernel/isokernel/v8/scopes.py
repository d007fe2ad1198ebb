"""Stack-like scopes of V8: handle scopes, try-catch blocks, entering an isolate.

All are context managers used strictly nested on the thread that runs the isolate.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self

    from isokernel.v8.isolate import Isolate
    from isokernel.v8.library import Library

# sizeof(v8::TryCatch) is 48 in V8 14.4; room to spare. ctypes takes longer to look up a
# type than to make an array of it.
_TryCatchBytes = ctypes.c_ubyte * 128


class HandleScopeSlots:
    """The three words of the isolate that say where its next local handle goes.

    HandleScope has no out-of-line constructor, so its work is done here: remember
    `next` and `limit`, count the level, and restore them at the end. The words'
    addresses hold for the isolate's life, so they are asked for once.
    """

    __slots__ = ("delete_extensions", "isolate", "level", "limit", "next")

    def __init__(self, library: Library, isolate: int) -> None:
        self.isolate = isolate
        self.next = ctypes.c_size_t.from_address(library.scope_next(isolate))
        self.level = ctypes.c_int.from_address(library.scope_level(isolate))
        self.limit = ctypes.c_size_t.from_address(library.scope_limit(isolate))
        self.delete_extensions = library.scope_delete


class HandleScope:
    """Local handles made inside are released at the end. Owner: whoever opens it."""

    __slots__ = ("_limit", "_next", "_slots")

    def __init__(self, slots: HandleScopeSlots) -> None:
        self._slots = slots

    def __enter__(self) -> None:
        """Open the scope."""
        slots = self._slots
        self._next, self._limit = slots.next.value, slots.limit.value
        slots.level.value += 1

    def __exit__(self, *_: object) -> None:
        """Close the scope; every local handle made since is invalid now."""
        slots = self._slots
        slots.next.value = self._next
        slots.level.value -= 1
        if slots.limit.value != self._limit:
            slots.limit.value = self._limit
            slots.delete_extensions(slots.isolate)


class Entered:
    """The isolate is entered and a handle scope is open; nests.

    It is a `HandleScope` written out, as it is opened eight times for a cell.
    """

    __slots__ = ("_isolate", "_limit", "_next", "_slots")

    def __init__(self, isolate: Isolate) -> None:
        self._isolate = isolate
        self._slots = isolate.scope_slots

    def __enter__(self) -> None:
        """Enter the isolate on this thread."""
        self._isolate.claim()
        slots = self._slots
        self._next, self._limit = slots.next.value, slots.limit.value
        slots.level.value += 1

    def __exit__(self, *_: object) -> None:
        """Leave the isolate; local handles made since are invalid now."""
        slots = self._slots
        slots.next.value = self._next
        slots.level.value -= 1
        if slots.limit.value != self._limit:
            slots.limit.value = self._limit
            slots.delete_extensions(slots.isolate)
        self._isolate.leave()


class Held:
    """The isolate stays entered, so that `Entered` inside has nothing to do for it.

    Entering and leaving are two calls into the library, a tenth of a short cell's time
    when each of its steps does so. It isn't counted in `depth`: no JavaScript runs.
    """

    __slots__ = ("_isolate",)

    def __init__(self, isolate: Isolate) -> None:
        self._isolate = isolate

    def __enter__(self) -> None:
        """Enter the isolate on this thread."""
        self._isolate.claim()
        self._isolate.depth -= 1

    def __exit__(self, *_: object) -> None:
        """Leave the isolate."""
        self._isolate.depth += 1
        self._isolate.leave()


class TryCatch:
    """Catches what JavaScript throws inside. Not reusable.

    V8 knows the block by its address, and only while it is entered. It would make a
    message for each value that is thrown inside, also for those that JavaScript itself
    catches, and look up their place for it: four times the time that throwing and
    catching one takes. So it is asked for none; `message` makes one when it is wanted.
    """

    __slots__ = ("_address", "_buffer", "_isolate", "_library")

    def __init__(self, library: Library, isolate: int) -> None:
        self._library = library
        self._isolate = isolate
        self._buffer = _TryCatchBytes()
        self._address = ctypes.addressof(self._buffer)

    def __enter__(self) -> Self:
        """Open the block."""
        self._library.catch_new(self._address, self._isolate)
        self._library.catch_capture(self._address, False)  # noqa: FBT003 -- of V8's
        return self

    def __exit__(self, *_: object) -> None:
        """Close the block; what it has caught is dropped."""
        self._library.catch_delete(self._address)

    @property
    def terminated(self) -> bool:
        """Whether it was a termination, which can't be caught by JavaScript."""
        return bool(self._library.catch_terminated(self._address))

    @property
    def exception(self) -> int | None:
        """Local handle of what was thrown."""
        handle: int | None = self._library.catch_exception(self._address)
        return handle

    @property
    def message(self) -> int | None:
        """Local handle of V8's message about it, with its position in the source.

        Errors of V8's own have their position with them, others that of their stack;
        values that aren't errors have none.
        """
        thrown = self.exception
        if not thrown:
            return None
        handle: int | None = self._library.message_new(self._isolate, thrown)
        return handle
