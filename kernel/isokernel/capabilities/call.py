"""A call for something beyond the context, and who answers it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

if TYPE_CHECKING:
    from isokernel.capabilities.grant import Grant

__all__ = ["Answer", "Call", "Provider", "Providers"]


class Call(NamedTuple):
    """What code asks for.

    Attributes:
        name: A capability, a dot, and what to do with it, such as `files.read`.
        arguments: Plain data, not validated.
        data: Bytes that go with it, if any.
        grant: What the context may have.
    """

    name: str
    arguments: dict[str, Any]
    data: bytes | None
    grant: Grant


class Answer(NamedTuple):
    """What comes of a call.

    Attributes:
        value: Plain data.
        data: Bytes that come with it, if any.
        text: The value as JSON, if that has been made already.
        is_bounded: Whether its provider has looked at its size.
    """

    value: Any = None
    data: bytes | None = None
    text: str = ""
    is_bounded: bool = False


class Provider(Protocol):
    """Does what is asked for under one name: network, files, packages.

    Used on one event loop. What blocks goes through `asyncio.to_thread`.
    """

    async def call(self, call: Call) -> Answer:
        """Do what a call asks for; cancelled when nobody waits any more.

        Whatever it touches, it has `call.grant.decide` first, on canonical values.
        Bodies of any size are read and written piece by piece, a call each.

        Raises:
            CapabilityError: It failed, or was denied; the code is told.
        """

    async def close(self, context_id: str) -> None:
        """End what it holds for a context, which is gone or begins anew.

        Args:
            context_id: `Grant.context_id` of its calls.
        """


Providers: TypeAlias = Mapping[str, Callable[[], Provider]]
"""By the first part of the calls' names; made when the first call comes."""
