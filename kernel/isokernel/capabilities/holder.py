"""Takes the calls of contexts and gives them to the providers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from isokernel.capabilities.call import Answer, Call
from isokernel.errors import CapabilityError

if TYPE_CHECKING:
    from collections.abc import Callable

    from isokernel.capabilities.call import Provider, Providers
    from isokernel.capabilities.grant import Grant

__all__ = ["Answered", "Holder", "failed"]

_SHOW: Final = "capabilities.show"
_DEFECT: Final = "whoever holds the capability has failed; its log says why"


class Answered(NamedTuple):
    """An answer as it goes to a context; see `isokernel.context.events.CallAnswer`."""

    kind: Literal["value", "error"]
    text: str
    data: bytes | None = None


class Holder:
    """The providers of many contexts, on one event loop."""

    def __init__(
        self, providers: Providers, on_defect: Callable[[str, Exception], None]
    ) -> None:
        """Hold some capabilities.

        Args:
            providers: By the first part of the names of their calls.
            on_defect: Told the name of a call that failed for a defect of ours.
        """
        self._known = providers
        self._providers: dict[str, Provider] = {}
        self._on_defect = on_defect

    async def answer(
        self, name: str, arguments: str, data: bytes | None, grant: Grant
    ) -> Answered:
        """Answer a call. Raises nothing but CancelledError.

        Args:
            name: What is asked for; nothing here is validated yet.
            arguments: JSON text.
            data: Bytes that go with it, if any.
            grant: What the context may have.
        """
        try:
            call = Call(name, _read(name, arguments), data, grant)
            if name == _SHOW:
                value, made, text, is_bounded = Answer(grant.show())
            else:
                answer = await self._provider(name).call(call)
                value, made, text, is_bounded = answer
            if value is not None:
                text = json.dumps(value, separators=(",", ":"))
            size, size_max = max(len(text), len(made or b"")), grant.limits.bytes_max
            if size > size_max and not is_bounded:
                message = (
                    f"{name}: the answer has {size} bytes, {size_max} are allowed "
                    "at a time"
                )
                raise CapabilityError(message, code="answer_too_large")  # noqa: TRY301
        except CapabilityError as error:
            return failed(error)
        except Exception as error:  # noqa: BLE001 -- the code must get an answer
            self._on_defect(name, error)
            return failed(CapabilityError(f"{name}: {_DEFECT}", code="internal_error"))
        return Answered("value", text, made)

    def _provider(self, name: str) -> Provider:
        prefix = name.partition(".")[0]
        provider = self._providers.get(prefix)
        if provider is None:
            make = self._known.get(prefix)
            if make is None:
                message = f"{name}: nobody here provides {prefix}"
                raise CapabilityError(message, code="not_provided")
            provider = self._providers[prefix] = make()
        return provider

    async def close(self, context_id: str) -> None:
        """End what all providers hold for a context."""
        for prefix, provider in self._providers.items():
            try:
                await provider.close(context_id)
            except Exception as error:  # noqa: BLE001, PERF203 -- others end theirs
                self._on_defect(f"{prefix}.close", error)


def failed(error: CapabilityError) -> Answered:
    """Return the answer to a call that has failed."""
    return Answered("error", json.dumps(error.as_data(), default=str))


def _read(name: str, text: str) -> dict[str, Any]:
    try:
        arguments = json.loads(text)
    except (ValueError, RecursionError):
        arguments = None
    if not isinstance(arguments, dict):
        message = f"{name}: the arguments must be an object of plain data"
        raise CapabilityError(message, code="invalid_arguments")
    return arguments
