"""What code asks for beyond its context, of whoever holds it; see `capabilities.js`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeAlias

from isokernel.context.events import CallAnswer, CapabilityCall
from isokernel.errors import (
    CallInterruptedError,
    CapabilityDeniedError,
    CapabilityError,
    FrameError,
)
from isokernel.v8.values import Value

if TYPE_CHECKING:
    from collections.abc import Callable

    from isokernel.context.bridge import Bridge

    CallNow: TypeAlias = Callable[[CapabilityCall], CallAnswer]
    """Answers a call amid running JavaScript, which waits for it.

    May raise CallInterruptedError: JavaScript is to stop; or a CapabilityError.
    """

_SEALED = "nobody here holds anything beyond the context"
_HOLDER = "a notebook's kernel, or a server with a policy,"


class Calls:
    """The calls of one context. On the V8 thread.

    Attributes:
        now: Answers those that wait; None for a sealed context, whose calls all fail.
            Where it is set, the context's sink takes `CapabilityCall`s.
    """

    def __init__(self, bridge: Bridge) -> None:
        """Serve the calls of a runtime."""
        self._bridge = bridge
        self.now: CallNow | None = None

    def begin(
        self, call_id: int, name: str, arguments: str, owner: int, data: Any
    ) -> str | None:
        """Report a call; return the error's fields as JSON if that isn't possible."""
        host = self._bridge.host
        if self.now is None:
            return _text(sealed(name))
        call = CapabilityCall(
            host.execution(owner), call_id, name, arguments, _bytes(data)
        )
        try:
            host.sink(call)
        except FrameError as error:
            return _text(_too_large(name, error))
        except CapabilityError as error:
            return _text(error)
        return None

    def serve_now(
        self, call_id: int, name: str, arguments: str, owner: int, data: Any
    ) -> tuple[str, str, Value | None] | None:
        """Answer a call that JavaScript waits for; None if it is terminated instead."""
        host = self._bridge.host
        try:
            if self.now is None:
                raise sealed(name)
            call = CapabilityCall(
                host.execution(owner), call_id, name, arguments, _bytes(data)
            )
            answer = self.now(call)
        except CallInterruptedError:
            self._bridge.isolate.terminate()
            return None
        except FrameError as error:
            answer = CallAnswer("error", _text(_too_large(name, error)))
        except CapabilityError as error:
            answer = CallAnswer("error", _text(error))
        return self.received(answer)

    def received(self, answer: CallAnswer) -> tuple[Any, ...]:
        """Return an answer as the runtime takes it, with its data in a buffer."""
        kind, text, data = answer
        if data is None:
            return kind, text
        make = self._bridge.export_of("capabilities", "makeBuffer")
        buffer = self._bridge.isolate.call(make, len(data))
        if not isinstance(buffer, Value):
            message = f"there is no room for the {len(data)} bytes of the answer"
            return "error", _text(CapabilityError(message, code="out_of_memory"))
        buffer.fill(data)
        return kind, text, buffer


def sealed(name: str) -> CapabilityDeniedError:
    """Return the error of a call that nobody takes."""
    capability = name.partition(".")[0]
    return CapabilityDeniedError(capability, name, _HOLDER, reason=_SEALED)


def _too_large(name: str, error: FrameError) -> CapabilityError:
    return CapabilityError(f"{name}: {error}", code="data_too_large")


def _text(error: CapabilityError) -> str:
    return json.dumps(error.as_data())


def _bytes(data: Any) -> bytes | None:
    return data.bytes() if isinstance(data, Value) else None
