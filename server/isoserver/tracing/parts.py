"""Which parts of a server have spans, and what these tell; the parts don't know of it.

Never code, outputs, results or secrets: ids, names that the server knows, and outcomes.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

import msgspec
from opentelemetry import context as current
from opentelemetry.propagate import extract, inject
from opentelemetry.trace import (
    Span,
    SpanKind,
    get_current_span,
    set_span_in_context,
)

from isoserver.runs.records import Status
from isoserver.tools.discovery import PATHS
from isoserver.tracing.contexts import TracedContext, context_attributes
from isoserver.tracing.requests import TracedHandler
from isoserver.tracing.spans import (
    NOTHING,
    TRACER,
    begun,
    cells,
    end,
    fail,
    within,
    wrap,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from opentelemetry.context import Context as Current
    from opentelemetry.util.types import AttributeValue
    from tornado.httputil import HTTPServerRequest

    from isokernel.capabilities import Answered
    from isoserver.contexts.calls import Request
    from isoserver.contexts.context import Context
    from isoserver.http.parts import ServerParts
    from isoserver.jupyter.frames import FrontMessage
    from isoserver.jupyter.fronts import Front
    from isoserver.passing.service import Exchange, Owner, Passing, PeerRequest
    from isoserver.principal import Principal
    from isoserver.runs.run import Run
    from isoserver.runs.runner import Runner
    from isoserver.tools.audit import Entry
    from isoserver.tools.calls import Call
    from isoserver.webhooks.service import Webhooks
    from isoserver.webhooks.store import PendingWebhook

    Asked = Callable[..., Awaitable[Any]]

__all__ = ["watch"]

_CALLS: Final = {"net.open": "fetch", "modules.graph": "load modules"}
"""What code asks for beyond its context that takes a while, and what its span is."""
_CARRIED: Final = ("traceparent", "tracestate")
_TOOL: Final = "gen_ai.tool.name"
_HOST_MAX: Final = 253
_MISDIRECTED: Final = 421
_HTTP_PORT: Final = 80
_LOST: Final = "connection_lost"
_FAILED: Final = frozenset({Status.FAILED, Status.TIMED_OUT, Status.DENIED})


def watch(parts: ServerParts, runners: Iterable[Runner]) -> None:
    """Have the parts of a server begin spans; called once, before it starts.

    Args:
        parts: The parts.
        runners: What runs its runs.
    """
    parts.contexts.context_class = TracedContext
    wrap(parts.contexts, "create", _create)
    wrap(parts.contexts, "restart", _restart)
    wrap(parts.contexts, "forks", _fork)
    wrap(parts.heaps, "open", _load)
    wrap(parts.heaps, "save", _save)
    wrap(parts.heaps, "keep", _save)
    wrap(parts.capabilities, "answer", _answer)
    wrap(parts.tools, "call", _call_tool)
    wrap(parts.tools.audit, "add", _note)
    wrap(parts.fronts, "attach", _attach)
    for runner in runners:
        orders = _Orders()
        wrap(runner, "prepare", orders.prepare)
        wrap(runner, "run", orders.run)
    _Deliveries(parts.webhooks)
    if parts.passing is not None:
        _Passed(parts.passing)


# -- contexts and heaps ----------------------------------------------------------------


async def _create(create: Asked, workspace: str, *given: Any, **asked: Any) -> Context:
    attributes: dict[str, AttributeValue] = {"isokernel.workspace": workspace}
    with begun("make context", attributes) as span:
        context: Context = await create(workspace, *given, **asked)
        span.set_attributes(context_attributes(context))
        return context


async def _restart(restart: Asked, context: Context, **asked: Any) -> None:
    with begun("restart context", context_attributes(context)):
        await restart(context, **asked)


async def _fork(forks: Asked, context: Context, count: int) -> list[Context]:
    attributes = {**context_attributes(context), "isokernel.forks": count}
    with begun("fork context", attributes):
        made: list[Context] = await forks(context, count)
        return made


async def _load(load: Asked, workspace: str, key: str) -> Any:
    attributes: dict[str, AttributeValue] = {"isokernel.workspace": workspace}
    with begun("load heap", attributes):
        return await load(workspace, key)


async def _save(save: Asked, context: Context, *given: Any, **asked: Any) -> str:
    with begun("save context", context_attributes(context)):
        key: str = await save(context, *given, **asked)
        return key


# -- what code asks for ----------------------------------------------------------------


async def _answer(
    answer: Callable[..., Awaitable[Answered]], request: Request, *given: Any
) -> Answered:
    name = _CALLS.get(request.name)
    cell = cells.get(request.execution_id)
    if name is None or cell is None or not cell.has_room():
        return await answer(request, *given)
    attributes = _asked_for(request) if name == "fetch" else {}
    kind = SpanKind.CLIENT if name == "fetch" else SpanKind.INTERNAL
    with begun(name, attributes, kind) as span:
        answered = await answer(request, *given)
        if answered[0] == "error":
            fail(span, "_OTHER")
        return answered


def _asked_for(request: Request) -> dict[str, AttributeValue]:
    """Return where code fetches something from: of the URL only the host."""
    try:
        url = msgspec.json.decode(request.arguments, type=_Fetch).url
        return {"server.address": (urlsplit(url).hostname or "")[:_HOST_MAX]}
    except (ValueError, msgspec.DecodeError):
        return {}  # it is refused


class _Fetch(msgspec.Struct):
    url: str


async def _call_tool(call_tool: Asked, call: Call, **asked: Any) -> Any:
    attributes: dict[str, AttributeValue] = {"isokernel.run.id": call.task_id}
    if call.path in PATHS:
        attributes[_TOOL] = call.path
    with begun("call tool", attributes, SpanKind.CLIENT):
        return await call_tool(call, **asked)


async def _note(add: Asked, entry: Entry) -> Any:
    """Tell which tool is called, once it is known that there is one.

    What there is none of has a name that code has made up.
    """
    if entry.kind == "call" and entry.decision:
        get_current_span().set_attribute(_TOOL, entry.path)
    return await add(entry)


# -- Jupyter's fronts ------------------------------------------------------------------


def _attach(attach: Callable[..., Front], *given: Any) -> Front:
    front = attach(*given)
    if "receive" not in vars(front):  # it isn't one that is back
        wrap(front, "receive", _receive)
    return front


def _receive(receive: Callable[..., None], request: FrontMessage, *given: Any) -> None:
    """Handle a message as a part of the trace that its metadata name.

    Of the websocket's request it is none, which may be days old.
    """
    named = {name: request.metadata.get(name) for name in _CARRIED}
    carrier = {name: text for name, text in named.items() if isinstance(text, str)}
    with within(extract(carrier, NOTHING)):
        receive(request, *given)


# -- runs ------------------------------------------------------------------------------


class _Orders:
    """The runs of one kind, which begin when there is a place, by whoever leaves it."""

    def __init__(self) -> None:
        self._known: WeakKeyDictionary[Run[Any], tuple[Current, int]]
        self._known = WeakKeyDictionary()

    def prepare(self, prepare: Callable[..., None], run: Run[Any]) -> None:
        """Remember who has ordered a run, and when."""
        self._known[run] = current.get_current(), time.time_ns()
        prepare(run)

    async def run(self, run_it: Asked, run: Run[Any]) -> None:
        """Run it as a part of the trace of its order."""
        ordered, since = self._known.pop(run, (NOTHING, time.time_ns()))
        order = run.order
        attributes: dict[str, AttributeValue] = {
            "isokernel.workspace": order.workspace,
            "isokernel.run.id": run.id,
        }
        name = f"run {order.kind.value}"
        span = TRACER.start_span(name, ordered, attributes=attributes, start_time=since)
        here = set_span_in_context(span, ordered)
        TRACER.start_span("wait for a turn", here, start_time=since).end()
        try:
            with within(here):
                await run_it(run)
        except BaseException as error:
            fail(span, error)
            raise
        finally:
            if run.ending is not None:
                status = run.ending.status
                span.set_attribute("isokernel.run.outcome", status.value)
                if status in _FAILED:
                    fail(span, status.value)
            span.end()


# -- webhooks --------------------------------------------------------------------------


class _Deliveries:
    """The webhooks of a server: parts of the trace of what they are ordered for."""

    def __init__(self, webhooks: Webhooks) -> None:
        self._ordered: dict[tuple[str, str], Current] = {}
        webhooks.carried = _carried
        wrap(webhooks, "order", self.order)
        wrap(webhooks, "_attempt", self.attempt)
        wrap(webhooks, "_remove", self.remove)

    async def order(
        self, order: Asked, workspace: str, asked: Any, kind: str, *rest: Any
    ) -> None:
        """Remember the trace of an order."""
        await order(workspace, asked, kind, *rest)
        span = get_current_span()
        self._ordered[workspace, rest[0]] = set_span_in_context(span, NOTHING)

    async def attempt(self, attempt: Asked, row: PendingWebhook) -> None:
        """Make one attempt to deliver a webhook, within a span."""
        ordered = self._ordered.get((row.workspace, row.subject), NOTHING)
        host = urlsplit(row.url).hostname or ""
        attributes: dict[str, AttributeValue] = {
            "http.request.method": "POST",
            "server.address": host,
            "isokernel.workspace": row.workspace,
            "isokernel.webhook.id": row.id,
            "isokernel.webhook.attempt": row.attempts + 1,
        }
        with within(ordered), begun("send webhook", attributes, SpanKind.CLIENT):
            await attempt(row)

    async def remove(self, remove: Asked, row: PendingWebhook) -> None:
        """Forget an order that is done with."""
        self._ordered.pop((row.workspace, row.subject), None)
        await remove(row)


def _carried() -> dict[str, str]:
    """Return the headers by which a receiver goes on with the trace."""
    carrier: dict[str, str] = {}
    inject(carrier)
    return {name: carrier[name] for name in _CARRIED if name in carrier}


# -- passing on ------------------------------------------------------------------------


class _Passed:
    """What one server of a cluster asks of others."""

    def __init__(self, passing: Passing) -> None:
        self._spans: dict[Exchange, Span] = {}
        wrap(passing, "open", self.open)
        wrap(passing, "release", self.release)
        wrap(passing, "ask", self.ask)

    async def open(  # noqa: PLR0913 - as what it is around
        self,
        open_it: Callable[..., Awaitable[Exchange]],
        owner: Owner,
        request: HTTPServerRequest,
        principal: Principal,
        answering: Any,
        *,
        new: bool = False,
    ) -> Exchange:
        """Begin to pass a request on, which then names this span as its parent."""
        method = request.method or ""
        attributes = _asked_of(owner, method)
        span = TRACER.start_span(method, kind=SpanKind.CLIENT, attributes=attributes)
        inject(request.headers, set_span_in_context(span))
        try:
            exchange = await open_it(owner, request, principal, answering, new=new)
        except BaseException as error:
            fail(span, error)
            end(span)
            raise
        if isinstance(answering, TracedHandler):
            answering.passed = span
        self._spans[exchange] = span
        return exchange

    def release(
        self, release: Callable[..., None], exchange: Exchange, *given: Any, whole: bool
    ) -> None:
        """End the span: there is an answer, or there will be none."""
        span = self._spans.pop(exchange, None)
        if span is not None and span.is_recording():  # nothing is answered yet
            if exchange.misdirected:
                span.set_attribute("http.response.status_code", _MISDIRECTED)
            elif not whole:
                fail(span, _LOST)
            span.end()
        release(exchange, *given, whole=whole)

    async def ask(
        self, ask: Callable[..., Awaitable[bytes]], request: PeerRequest
    ) -> bytes:
        """Ask a server something of its own."""
        attributes = _asked_of(request.owner, request.method)
        with begun(request.method, attributes, SpanKind.CLIENT):
            carrier = dict(request.headers)
            inject(carrier)
            return await ask(request._replace(headers=carrier))


def _asked_of(owner: Owner, method: str) -> dict[str, AttributeValue]:
    """Return what is told of a request to another server."""
    place = urlsplit(owner.url)
    return {
        "http.request.method": method,
        "server.address": place.hostname or "",
        "server.port": place.port or _HTTP_PORT,
        "isokernel.server.id": owner.id,
    }
