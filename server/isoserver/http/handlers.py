"""The root of all handlers: checks, parsing, JSON, errors, the access log."""

from __future__ import annotations

import asyncio
import random
import re
import time
from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol, TypeVar

import msgspec
from pydantic import BaseModel, ValidationError
from tornado.httputil import HTTPHeaders, format_timestamp
from tornado.iostream import StreamClosedError
from tornado.web import HTTPError, RequestHandler

from isokernel.timeouts import timeout
from isoserver.errors import (
    AdminError,
    DatabaseError,
    ElsewhereError,
    FieldProblem,
    InvalidRequestError,
    MethodError,
    RangeError,
    RouteMissingError,
    ServerError,
    StoppingError,
)
from isoserver.http.guards import SECURITY_HEADERS
from isoserver.principal import DEFAULT_WORKSPACE, NOBODY

if TYPE_CHECKING:
    from types import TracebackType

    from tornado.httputil import HTTPServerRequest

    from isoserver.cluster.service import Cluster
    from isoserver.contexts.context import Context
    from isoserver.http.parts import ServerParts

__all__ = ["EventSource", "Handler", "MissingHandler"]

JSON: Final = "application/json"
API: Final = "/api/"
_PAIR: Final = re.compile(r"((?:\\[:\\]|[^:])+):(.*)", re.DOTALL)
_ESCAPED: Final = re.compile(r"\\([:\\])")
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_SERVER_ERRORS: Final = 500
_IDS: Final = random.Random()  # noqa: S311 - seeded by the system, and much faster
_PREFLIGHT_SECONDS: Final = "600"
_DIGITS_MAX: Final = 11
_PATH_MAX: Final = 200
"""Characters of a path that doesn't exist, in the log."""

Model = TypeVar("Model", bound=BaseModel)


class EventSource(Protocol):
    """Where the events of a stream come from.

    Attributes:
        ended: Whether what `get` returned last was the end.
    """

    ended: bool

    async def get(self, seconds: float) -> str:
        """Return the next events, as text; none if none came for so many seconds."""


class Handler(RequestHandler):
    """Root of all handlers.

    Attributes:
        public: Whether it answers without an API key.
        streams_body: Whether it takes files, which may be larger than other bodies.
        key_in_query: Whether a key may be in the URL, as `token`.
        parts: The server's parts.
        route: Its path in the route table.
        methods: The methods of that path.
        principal: The caller; NOBODY until `prepare` has found out, or if public.
        gone: Whether the client went away before it had its answer.
        failure: The error that is answered, for the access log.
    """

    public: ClassVar[bool] = False
    streams_body: ClassVar[bool] = False
    key_in_query: ClassVar[bool] = False

    def initialize(
        self, parts: ServerParts, route: str = "", methods: tuple[str, ...] = ()
    ) -> None:
        """Note what the route table says; called by Tornado for each request."""
        self.parts = parts
        self.route = route
        self.methods = methods
        self.principal = NOBODY
        self.gone = False
        self.failure: ServerError | None = None
        self.began = time.perf_counter()
        self._sent_bytes = 0

    # -- before the method -------------------------------------------------------------

    def clear(self) -> None:
        """Begin a response; called by Tornado, which formats the time for each."""
        self._headers = HTTPHeaders()
        self._headers["Date"] = _date(int(time.time()))
        self.set_default_headers()
        self._write_buffer = []
        self.set_status(HTTPStatus.OK)

    def set_default_headers(self) -> None:
        """Set the headers of every response; called by Tornado, first of all."""
        # Not with set_header, which checks what is known to be good.
        for name, value in SECURITY_HEADERS.items():
            self._headers[name] = value
        self._headers["X-Request-Id"] = request_id(self.request)

    async def prepare(self) -> None:
        """Check where the request comes from; called by Tornado before the method."""
        self.parts.enter(self)
        guard = self.parts.guard
        guard.check_host(self.request)
        self._allow_origin()
        if self.request.method == "OPTIONS":
            return
        guard.check_origin(self.request)
        if not self.public:
            self.principal = await self.parts.access.identify(
                self.request, in_query=self.key_in_query
            )
            await self.count_request()
        if self.request.method not in self.methods and self.methods:
            raise MethodError
        if self.parts.cluster is not None and not self.public:
            await self.locate(self.parts.cluster)

    async def count_request(self) -> None:
        """Count the request, of which a workspace may make so many.

        Raises:
            RateLimitError: It is one too many.
            DatabaseError: The servers' common count can't be read.
        """
        if "request" in self.parts.rates.limited:
            await self.parts.rates.take(self.principal, "request")

    async def locate(self, cluster: Cluster) -> None:
        """Have what the path names be here, where servers share a database.

        Raises:
            LeaseError: This server may not serve now.
            ElsewhereError: Another server has it.
        """
        cluster.check()
        context_id = self.path_kwargs.get("context_id")
        if context_id is not None:
            await self.parts.contexts.adopt(self.principal.workspace, context_id)

    def _allow_origin(self) -> None:
        origin = self.request.headers.get("Origin")
        if origin is None or not self.parts.guard.allows(origin):
            return
        self.set_header("Access-Control-Allow-Origin", origin)
        self.set_header(
            "Access-Control-Expose-Headers",
            "X-Request-Id, X-Context-Id, X-Execution-Id, X-Error-Code, Retry-After, "
            "WWW-Authenticate, ETag, Content-Range, X-Isokernel-Owner",
        )
        self.set_header("Cross-Origin-Resource-Policy", "cross-origin")
        self.set_header("Vary", "Origin")

    def options(self, **_path: str) -> None:
        """Answer a preflight: a browser that asks whether its page may call."""
        origin = self.request.headers.get("Origin")
        if origin is None or not self.parts.guard.allows(origin):
            raise MethodError
        self.set_header("Access-Control-Allow-Methods", ", ".join(self.methods))
        allowed = (
            "Authorization, Content-Type, X-API-Key, X-Request-Id, X-Workspace-Id, "
            "If-Match, If-None-Match, Last-Event-ID, Range"
        )
        self.set_header("Access-Control-Allow-Headers", allowed)
        self.set_header("Access-Control-Max-Age", _PREFLIGHT_SECONDS)
        self.set_status(HTTPStatus.NO_CONTENT)

    # -- reading -----------------------------------------------------------------------

    def parse(self, model: type[Model]) -> Model:
        """Read a body of JSON.

        Raises:
            InvalidRequestError: It isn't what the model says.
        """
        kind = self.request.headers.get("Content-Type", "").partition(";")[0]
        if kind.strip().lower() != JSON:
            raise InvalidRequestError(FieldProblem("Content-Type", f"must be {JSON}"))
        return self.parse_json(model)

    def parse_json(self, model: type[Model], text: str | None = None) -> Model:
        """Read JSON: the body, whatever its content type, or a text that was in it.

        Raises:
            InvalidRequestError: It isn't what the model says.
        """
        try:
            return model.model_validate_json(
                self.request.body if text is None else text
            )
        except ValidationError as error:
            raise InvalidRequestError(*_problems(error)) from None

    def parse_query(self, model: type[Model]) -> Model:
        """Read the query's arguments; those that the model doesn't know are ignored.

        Raises:
            InvalidRequestError: One isn't what the model says.
        """
        given = {
            name: self.get_query_argument(name)
            for name in model.model_fields
            if name in self.request.query_arguments
        }
        try:
            return model.model_validate_strings(given)
        except ValidationError as error:
            raise InvalidRequestError(*_problems(error)) from None

    def pairs(self, name: str) -> list[tuple[str, str]]:
        r"""Read a query argument that may be repeated, each `NAME:VALUE`.

        A colon in the name is written `\:`, and a backslash before one `\\`.

        Raises:
            InvalidRequestError: One isn't such a pair.
        """
        found = []
        for text in self.get_query_arguments(name, strip=False):
            pair = _PAIR.fullmatch(text)
            if pair is None or "\0" in text:
                problem = r"must be NAME:VALUE; a colon in the name is written \:"
                raise InvalidRequestError(FieldProblem(name, problem))
            found.append((_ESCAPED.sub(r"\1", pair[1]), pair[2]))
        return found

    def choice(self, name: str, default: str, *others: str) -> str:
        """Read a query argument with a few possible values.

        Raises:
            InvalidRequestError: It has another one.
        """
        if not self.request.query:
            return default
        value = self.get_query_argument(name, default)
        if value in {default, *others}:
            return value
        problem = f"must be one of {', '.join([default, *others])}"
        raise InvalidRequestError(FieldProblem(name, problem))

    def whole_number(self, name: str, default: int, low: int, high: int) -> int:
        """Read a query argument that is a whole number.

        Raises:
            InvalidRequestError: It isn't one from `low` to `high`.
        """
        text = self.get_query_argument(name, str(default))
        number = int(text) if text.isdecimal() and len(text) <= _DIGITS_MAX else -1
        if low <= number <= high:
            return number
        problem = f"must be a whole number from {low} to {high}"
        raise InvalidRequestError(FieldProblem(name, problem))

    def find_context(self, context_id: str) -> Context:
        """Find one of the caller's contexts.

        Raises:
            ContextMissingError: There is none of that id in the workspace.
        """
        return self.parts.contexts.get(self.principal.workspace, context_id)

    def require_admin(self) -> None:
        """Refuse callers who aren't administrators of their workspace.

        Raises:
            AdminError: The caller isn't one.
        """
        if not self.principal.admin:
            self.parts.access.refuse(AdminError())

    def require_operator(self) -> None:
        """Refuse callers who aren't administrators of the default workspace.

        What concerns the whole server is theirs.

        Raises:
            AdminError: The caller isn't one.
        """
        self.require_admin()
        if self.principal.workspace != DEFAULT_WORKSPACE:
            self.parts.access.refuse(AdminError())

    def check_open(self) -> None:
        """Refuse new work while the server stops.

        Raises:
            StoppingError: The server is stopping.
        """
        if self.parts.contexts.stopping:
            raise StoppingError

    # -- writing -----------------------------------------------------------------------

    def answer(self, content: Any, status: HTTPStatus = HTTPStatus.OK) -> None:
        """Send plain data as JSON and finish the response."""
        self.set_status(status)
        data = msgspec.json.encode(content)
        # Not with set_header, which checks what is known to be good.
        self._headers["Content-Type"] = JSON
        self._headers["Content-Length"] = str(len(data))
        self.finish(data)

    async def send_events(self, events: EventSource, text: str = "") -> None:
        """Send server-sent events, at the pace at which the client reads.

        A client that reads nothing is cut off.

        Args:
            events: Where they come from.
            text: The first of them.
        """
        settings = self.parts.settings
        self.set_header("Content-Type", "text/event-stream; charset=utf-8")
        self.set_header("X-Accel-Buffering", "no")
        try:
            if text:
                self.write(text)
            async with timeout(settings.stream_stall_timeout_seconds):
                await self.flush()
            while not self.gone and not events.ended:
                text = await events.get(settings.stream_heartbeat_interval_seconds)
                if text or not events.ended:
                    self.write(text or ": ping\n\n")
                async with timeout(settings.stream_stall_timeout_seconds):
                    await self.flush()
        except (StreamClosedError, asyncio.TimeoutError):
            self._cut_off()

    def _cut_off(self) -> None:
        """Close the connection of a client that doesn't read."""
        if self.gone:
            return
        self.parts.log.warning("stalled", route=self.route)
        self.on_connection_close()
        self.detach().close()

    def flush(self, include_footers: bool = False) -> asyncio.Future[None]:  # noqa: FBT001, FBT002 - Tornado's
        """Send what was written; may be waited for by what is cancelled.

        Tornado reads the outcome of its own future, which it can't if that is
        cancelled, and the loop logs that as a defect.
        """
        if self.parts.ending and not self._headers_written:
            # Balancers and clients send what comes next by another connection, instead
            # of by one that ends at that moment, when nobody knows what became of it.
            self._headers.setdefault("Connection", "close")
        sent = super().flush(include_footers)
        return sent if include_footers else asyncio.shield(sent)

    def write(self, chunk: str | bytes | dict[str, Any]) -> None:
        """Add to the response; counted for the access log."""
        self._sent_bytes += len(chunk)
        super().write(chunk)

    def compute_etag(self) -> str | None:
        """Return no ETag: nothing here is cached, and hashing answers costs time."""
        return None

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Answer an error in JSON; called by Tornado when a method raised."""
        error = (kwargs.get("exc_info") or (None, None, None))[1]
        if isinstance(error, HTTPError):
            error = _from_tornado(error)
        if isinstance(error, ServerError):
            self.failure = error
            self._allow_origin()
            self._error_headers(error)
            self.answer(self._error_content(error), error.http_status)
            return
        self.internal_error(HTTPStatus(status_code))

    def _error_headers(self, error: ServerError) -> None:
        self.set_header("X-Error-Code", type(error).code)
        if error.retry_after is not None:
            self.set_header("Retry-After", str(error.retry_after))
        challenge = self.parts.access.challenge(error, self.request)
        if challenge is not None:
            self.set_header("WWW-Authenticate", challenge)
        if isinstance(error, ElsewhereError):
            self.set_header("X-Isokernel-Owner", error.url)
        if isinstance(error, RangeError):
            self.set_header("Content-Range", f"bytes */{error.size}")
        if isinstance(error, MethodError):
            self.set_header("Allow", ", ".join(self.methods))

    def internal_error(self, status: HTTPStatus) -> None:
        """Answer an internal error, whose traceback is in the log."""
        self.answer({self._error_key: status.phrase}, status)

    @property
    def _error_key(self) -> str:
        """The field that holds an error's message; it is another one under /api."""
        return "error" if self.request.path.startswith(API) else "message"

    def _error_content(self, error: ServerError) -> dict[str, Any]:
        if self._error_key == "error":
            return {"error": error.in_words()}
        return {"message": str(error), **error.body_fields()}

    # -- afterwards --------------------------------------------------------------------

    def log_exception(
        self,
        typ: type[BaseException] | None,
        value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Log internal errors and failures of the database; called by Tornado."""
        if isinstance(value, DatabaseError):
            self.parts.log.error(
                "the database can't be used",
                route=self.route,
                request_id=request_id(self.request),
                reason=str(getattr(value.__cause__, "orig", None) or value.__cause__),
            )
        if isinstance(value, (ServerError, HTTPError)) or typ is None or value is None:
            return
        self.parts.log.error(
            "failed",
            route=self.route,
            request_id=request_id(self.request),
            exc_info=(typ, value, tb),
        )

    def on_connection_close(self) -> None:
        """Note that the client is gone; called by Tornado."""
        self.gone = True
        self.parts.leave(self)

    def on_finish(self) -> None:
        """Count and log the request; called by Tornado when the response is sent."""
        parts = self.parts
        parts.leave(self)
        status = self.get_status()
        method = self.request.method or ""
        parts.metrics.requested(self.route or "none", method, status)
        if parts.settings.access_log:
            taken = time.perf_counter() - self.began
            log = parts.log.error if status >= _SERVER_ERRORS else parts.log.info
            log(
                "request",
                method=method,
                route=self.route,
                status=status,
                ms=round(taken * 1e3, 2),
                size=self._sent_bytes,
                remote=self.request.remote_ip,
                request_id=request_id(self.request),
                **({} if self.route else {"path": self.request.path[:_PATH_MAX]}),
                **({} if self.failure is None else {"error": self.failure.code}),
            )


class MissingHandler(Handler):
    """Answers paths that don't exist."""

    async def prepare(self) -> None:
        """Answer 404, once the caller is known to be allowed."""
        await super().prepare()
        raise RouteMissingError


def request_id(request: HTTPServerRequest) -> str:
    """Return a request's id: the client's if it is a sensible one, else a new one."""
    known: str | None = getattr(request, "isokernel_id", None)
    if known is None:
        given = request.headers.get("X-Request-Id", "")
        known = given if _REQUEST_ID.fullmatch(given) else _new_id()
        request.isokernel_id = known  # type: ignore[attr-defined]  # it lives as long
    return known


@lru_cache(maxsize=1)
def _date(seconds: int) -> str:
    return format_timestamp(seconds)


def _new_id() -> str:
    """Return an id that no other request has; it needn't be secret."""
    return f"{_IDS.getrandbits(64):016x}"


def _problems(error: ValidationError) -> list[FieldProblem]:
    problems = []
    for detail in error.errors(include_url=False, include_input=False):
        place = [str(part) for part in detail["loc"] if part != "[key]"]
        text = "unknown field" if detail["type"] == "extra_forbidden" else detail["msg"]
        problems.append(FieldProblem(".".join(place) or "body", text))
    return problems


def _from_tornado(error: HTTPError) -> ServerError | HTTPError:
    if error.status_code == HTTPStatus.NOT_FOUND:
        return RouteMissingError()
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        return MethodError()
    if error.status_code == HTTPStatus.BAD_REQUEST:
        text = error.log_message or "malformed"
        return InvalidRequestError(FieldProblem("request", text.partition("%")[0]))
    return error
