"""Errors about heaps."""

from __future__ import annotations

from isoserver.errors.base import LimitError, ServerError

__all__ = [
    "HeapDamagedError",
    "HeapEngineError",
    "HeapError",
    "HeapLimitError",
    "HeapMissingError",
    "HeapStoreError",
    "HeapUnsavableError",
]


class HeapError(ServerError):
    """Something about one heap."""


class HeapMissingError(HeapError, LookupError):
    """The workspace has no heap of that key."""

    def __init__(self, key: str) -> None:
        """Name the key."""
        super().__init__(f"Heap {key[:64]!r} not found")


class HeapUnsavableError(HeapError):
    """V8 can't save what a context holds.

    Attributes:
        reason: Why, in V8's words or ours.
        kind: What kind of object is in the way; None if that isn't known.
        path: What leads to it, from `globalThis`; None if that wasn't found.
    """

    def __init__(
        self, reason: str, kind: str | None = None, path: str | None = None
    ) -> None:
        """Keep what is known."""
        self.reason, self.kind, self.path = reason, kind, path
        found = "" if kind is None else f" ({kind}{f' at {path}' if path else ''})"
        super().__init__(f"the heap can't be saved: {reason}{found}")


class HeapDamagedError(HeapError):
    """What is stored under a heap's key isn't what was saved."""


class HeapEngineError(HeapError):
    """A heap was saved by another engine, and none else can read it.

    Attributes:
        saved: The engine that has saved it.
        engine: The engine of this server.
    """

    def __init__(self, saved: str, engine: str) -> None:
        """Name both."""
        self.saved, self.engine = saved, engine
        super().__init__(
            f"the heap was saved by the engine {saved!r}; this is {engine!r}"
        )


class HeapStoreError(HeapError):
    """The store of heaps can't be used."""


class HeapLimitError(LimitError):
    """The store is full of heaps that are needed."""

    retry_after = 60

    def __init__(self, limit: int, *, shared: bool = False) -> None:
        """Name the bound, and whether it is one workspace's share."""
        whose, what = ("the heaps", "all that may be")
        if shared:
            whose, what = ("the workspace's heaps", "its share")
        super().__init__(f"{whose} have {limit} bytes, which is {what}")
