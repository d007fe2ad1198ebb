"""What is asked for: code, and how it shall run."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from isoserver.contexts.languages import Language

__all__ = ["Order"]


class Order(NamedTuple):
    """An execution to be made.

    Attributes:
        workspace: Whose it is.
        code: The source text, as the client sent it.
        session: The named context that it runs in; None for one of its own.
        heap: The key of the heap that it goes on from; None for a blank one.
        heap_memory_max: Bytes of V8 heap; None for the server's bound.
        seconds: How long it may run, from its beginning.
        tags: What the heap that it yields is tagged with.
        stateful: Whether it shall yield a heap.
        language: What the code is in.
        drain: Whether it goes on until no timer is left.
    """

    workspace: str
    code: str
    session: str | None
    heap: str | None
    heap_memory_max: int | None
    seconds: float
    tags: dict[str, str]
    stateful: bool
    language: Language
    drain: bool
