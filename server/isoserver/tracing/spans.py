"""What begins and ends spans, and how a part of the server comes to do it.

The current span is a context variable of OpenTelemetry's, so that it holds for the task
of a request and for all that this begins. What comes of a context's process is of no
task, and gets the span of its cell by `cells`.
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import context as current
from opentelemetry.context import Context as Current
from opentelemetry.trace import (
    Span,
    SpanKind,
    StatusCode,
    get_tracer,
    set_span_in_context,
    use_span,
)

from isokernel._version import __version__
from isoserver.errors import ServerError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from opentelemetry.util.types import AttributeValue

__all__ = [
    "NOTHING",
    "TRACER",
    "Cell",
    "begun",
    "cells",
    "end",
    "fail",
    "within",
    "wrap",
]

TRACER: Final = get_tracer("isokernel", __version__)
"""Begins spans; of the provider that the process has by then, or none."""
NOTHING: Final = Current()
"""Within this, a span is the first of a trace."""
_CALLS_MAX: Final = 100
"""Spans that the calls of one cell begin. The queue of what is sent is everybody's, and
code that calls in a loop would fill it."""


class Cell:
    """The span of a cell that waits or runs.

    Attributes:
        span: The span.
        within: The context in which it is the current one.
    """

    def __init__(self, span: Span) -> None:
        """Have it be the parent of what the cell asks for."""
        self.span = span
        self.within = set_span_in_context(span, NOTHING)
        self._calls = 0

    def has_room(self) -> bool:
        """Count a call, and tell whether it gets a span of its own."""
        self._calls += 1
        return self._calls <= _CALLS_MAX

    def end(self) -> None:
        """End it; say how many calls were made if some have no span."""
        if self._calls > _CALLS_MAX:
            self.span.set_attribute("isokernel.cell.calls", self._calls)
        self.span.end()


cells: Final[dict[int, Cell]] = {}
"""Those that wait or run, by the numbers of their executions."""


@contextmanager
def within(there: Current) -> Iterator[None]:
    """Do something with another span as the current one, or with none."""
    token = current.attach(there)
    try:
        yield
    finally:
        current.detach(token)


@contextmanager
def begun(
    name: str, attributes: dict[str, AttributeValue], kind: SpanKind = SpanKind.INTERNAL
) -> Iterator[Span]:
    """Begin a span that is the current one, and end it with what is done within."""
    span = TRACER.start_span(name, kind=kind, attributes=attributes)
    try:
        # Not what SDKs note of exceptions: messages and tracebacks may have user data.
        with use_span(span, record_exception=False, set_status_on_exception=False):
            yield span
    except BaseException as error:
        fail(span, error)
        raise
    finally:
        end(span)


def fail(span: Span, error: BaseException | str) -> None:
    """Note that something has failed, by the name of its error alone."""
    if isinstance(error, ServerError):
        error = type(error).code  # not a tool's own, which others choose
    elif isinstance(error, BaseException):
        error = type(error).__name__
    span.set_attribute("error.type", error)
    span.set_status(StatusCode.ERROR)


def end(span: Span) -> None:
    """End a span, unless it has ended."""
    if span.is_recording():
        span.end()


def wrap(part: object, name: str, around: Callable[..., Any]) -> None:
    """Have a method of one object be called by a function, which gets it first.

    So the parts know nothing of traces, and cost nothing without them.
    """
    setattr(part, name, partial(around, getattr(part, name)))
