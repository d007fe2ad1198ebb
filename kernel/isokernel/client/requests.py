"""Requests as data, and when one that failed may be sent again.

A call of the API is a generator of requests and pauses, which returns what came of
them; a synchronous and an asynchronous executor send what it asks for.
"""

from __future__ import annotations

import random
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from isokernel.client.errors import (
    ClientError,
    ClientSettingsError,
    GoneError,
    LimitReachedError,
    NetworkError,
    NotFoundError,
    ProtocolError,
    StatusError,
    StreamError,
    UnavailableError,
    status_error,
)

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "NOTHING",
    "Answer",
    "Pause",
    "Rejoining",
    "Request",
    "Steps",
    "path_of",
    "pause_before_retry",
    "refusal",
]

T = TypeVar("T")
_PAUSE_SECONDS: Final = 0.25
_PAUSE_SECONDS_MAX: Final = 8.0
_RETRY_AFTER_MAX: Final = 60.0
"""Seconds; whoever is to wait longer gets the error at once."""
_SAFE: Final = {"GET", "PUT", "DELETE"}
_NOT_BEGUN: Final = frozenset(
    {"stopping", "connection_limit", "lease", "moving", "peer_unreachable"}
)
"""What answers with 503 say by which nothing was done."""
_SPREAD: Final = random.Random()  # noqa: S311 -- only so that not all come at once


@dataclass(frozen=True)
class Request:
    """A request.

    Attributes:
        method: The HTTP method.
        path: The path below the server's URL, quoted.
        query: Arguments for the query; those that are None are left out.
        body: What is sent as JSON; None sends none.
        content: What is sent as it is: bytes, or the file that has them.
        headers: Headers of this request.
        seconds: How long an answer may take; None leaves that to the client.
        repeatable: Whether it may be sent twice, though it changes something.
    """

    method: str
    path: str
    query: Mapping[str, Any] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None
    content: bytes | Path | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    seconds: float | None = None
    repeatable: bool = False

    @property
    def safe(self) -> bool:
        """Whether sending it twice does nothing twice."""
        return self.repeatable or self.method in _SAFE

    @property
    def target(self) -> str:
        """The path, with the query."""
        given = {name: _text(value) for name, value in self.query.items()}
        given = {name: value for name, value in given.items() if value is not None}
        return f"{self.path}?{urlencode(given, doseq=True)}" if given else self.path

    def encoded(self) -> bytes | None:
        """Return the body in bytes; None if there is none, or if it is a file's.

        Raises:
            ClientSettingsError: It can't be JSON.
        """
        if self.body is not None:
            given = {name: one for name, one in self.body.items() if one is not None}
            try:
                return msgspec.json.encode(given)
            except (TypeError, ValueError) as error:  # halves of surrogate pairs, too
                message = f"an argument can't be sent as JSON: {error}"
                raise ClientSettingsError(message) from error
        return self.content if isinstance(self.content, bytes) else None


@dataclass(frozen=True)
class Pause:
    """Nothing to send for so many seconds."""

    seconds: float


@dataclass(frozen=True)
class Answer:
    """An answer that isn't an error.

    Attributes:
        status: The HTTP status.
        headers: Its headers; names in any case.
        content: Its body.
    """

    status: int
    headers: Mapping[str, str]
    content: bytes

    def read(self, kind: type[T]) -> T:
        """Read its JSON; fields that the kind doesn't know are ignored.

        Raises:
            ProtocolError: It isn't that.
        """
        try:
            return msgspec.json.decode(self.content, type=kind)
        except (msgspec.MsgspecError, RecursionError) as error:
            text = f"the answer isn't one of isokernel's API: {error}"
            raise ProtocolError(text) from error


NOTHING: Final = Answer(0, {}, b"")
"""What a pause is answered with."""

Steps = Generator[Request | Pause, Answer, T]
"""A call: what it asks for, and what comes of it."""


def path_of(*parts: str) -> str:
    """Return a path of parts, each of which may have any characters.

    Raises:
        ClientSettingsError: A part is none.
    """
    for part in parts:
        if part in {"", ".", ".."}:
            message = f"{part!r} names nothing"
            raise ClientSettingsError(message)
    try:
        return "".join(f"/{quote(part, safe='')}" for part in parts)
    except UnicodeEncodeError as error:
        message = f"a name can't be sent: {error}"
        raise ClientSettingsError(message) from error


def refusal(status: int, headers: Mapping[str, str], content: bytes) -> StatusError:
    """Return what an answer that is an error says."""
    try:
        body = msgspec.json.decode(content)
    except (msgspec.MsgspecError, RecursionError):
        body = None
    return status_error(status, headers, body, content.decode("utf-8", "replace"))


class Rejoining:
    """Decides whether to go on with a stream that broke, and after how long."""

    def __init__(self, retries_max: int) -> None:
        """Begin with a stream that hasn't broken.

        Args:
            retries_max: How often a request is sent again; a stream that goes nowhere
                is joined three times as often.
        """
        self._max = 3 * retries_max
        self._tried = 0
        self._place = ""

    def pause(self, error: ClientError, place: str) -> float:
        """Return after how many seconds to join again.

        Args:
            error: How it broke.
            place: How far it has come.

        Raises:
            ClientError: It can't be joined; the error itself if nothing else is known.
        """
        if isinstance(error, (NotFoundError, GoneError)):
            text = f"the stream broke, and its execution is no longer known: {error}"
            raise StreamError(text) from error
        if not isinstance(error, (NetworkError, UnavailableError)):
            raise error
        if place != self._place:
            self._place, self._tried = place, 0
        if self._tried >= self._max:
            raise error
        self._tried += 1
        return _pause_seconds(self._tried - 1)


def pause_before_retry(
    request: Request, error: ClientError, tried: int, retries_max: int
) -> float | None:
    """Return after how many seconds to send a request again; None never.

    What changes something is only sent again if the server has surely not begun it.

    Args:
        request: What has failed.
        error: How.
        tried: How often it was sent again before.
        retries_max: How often it may be.
    """
    if tried >= retries_max:
        return None
    pause = _pause_seconds(tried)
    if isinstance(error, NetworkError):
        return pause if request.safe or not error.sent else None
    if isinstance(error, StatusError) and _refused(request, error):
        if error.retry_after is None:
            return pause
        wanted = error.retry_after
        return max(wanted, pause) if wanted <= _RETRY_AFTER_MAX else None
    return None


def _pause_seconds(tried: int) -> float:
    pause = min(_PAUSE_SECONDS * float(2**tried), _PAUSE_SECONDS_MAX)
    return pause + pause * _SPREAD.random() / 4


def _refused(request: Request, error: StatusError) -> bool:
    """Whether an answer means that nothing was done, and that it may be, later."""
    if isinstance(error, LimitReachedError):
        return True
    if not isinstance(error, UnavailableError):
        return False
    return request.safe or error.code in _NOT_BEGUN


def _text(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else value
