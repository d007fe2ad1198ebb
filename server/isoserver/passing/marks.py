"""What one server signs for another: who asks, so that nobody is identified twice.

A request that is passed on has a header with the principal that the first server has
found out, signed with the secret of the cluster. A signature counts for one request to
one life of one server: it covers the method and the URL, whom it is for, and a number
that is taken once. Clocks play no part, so they may differ.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections import defaultdict
from itertools import count
from typing import Final

import msgspec

from isoserver.errors import PeerMarkError, PeerUnreachableError
from isoserver.principal import Principal  # noqa: TC001 - msgspec reads it

__all__ = ["MARK", "Marks"]

MARK: Final = "X-Isokernel-Passed"
"""The header."""
_PURPOSE: Final = b"isokernel: requests passed on, 1"
_WINDOW: Final = 4096
"""Numbers by which a request may come later than a later one: as many as there may be
under way between two servers."""
_MARK_MAX: Final = 4096
_SENDERS_MAX: Final = 10_000
"""Lives of servers whose numbers are known; those that began first are forgotten."""


class _Signed(msgspec.Struct, array_like=True):
    """What a mark says.

    Attributes:
        sender: The id of the server that passes the request on.
        receiver: The id of the one that it is for.
        number: Of the mark, among those of this sender for this receiver.
        principal: Who asks.
    """

    sender: str
    receiver: str
    number: int
    principal: Principal


class _Window:
    """Which numbers of a sender were taken (as in RFC 4303)."""

    def __init__(self) -> None:
        self._highest = 0
        self._taken = 0  # a bit for each number, the highest one's first

    def take(self, number: int) -> bool:
        """Take a number; False if it was taken, or is too old to know that."""
        ahead = number - self._highest
        if ahead > 0:
            kept = self._taken << min(ahead, _WINDOW)
            self._taken = (kept | 1) & ((1 << _WINDOW) - 1)
            self._highest = number
            return True
        bit = 1 << -ahead
        if -ahead >= _WINDOW or self._taken & bit:
            return False
        self._taken |= bit
        return True


class Marks:
    """Makes and reads the marks of one server. In the event loop only."""

    def __init__(self, secret: str, server_id: str) -> None:
        """Derive the key.

        Args:
            secret: The cluster's.
            server_id: This server's, which no other one has, nor it when it is
                started again.
        """
        self._key = hmac.digest(secret.encode(), _PURPOSE, hashlib.sha256)
        self._server_id = server_id
        self._numbers: defaultdict[str, count[int]] = defaultdict(lambda: count(1))
        self._windows: dict[str, _Window] = {}

    def make(self, receiver: str, method: str, url: str, principal: Principal) -> str:
        """Return the mark of a request.

        Args:
            receiver: The id of the server that it is for.
            method: Its method.
            url: Its path and query, as they are sent.
            principal: Who asks.
        """
        signed = _Signed(
            self._server_id, receiver, next(self._numbers[receiver]), principal
        )
        said = base64.urlsafe_b64encode(msgspec.json.encode(signed))
        return f"{said.decode()}.{self._sign(said, method, url).hex()}"

    def read(self, mark: str, method: str, url: str) -> Principal:
        """Return who asks, as another server says.

        Args:
            mark: What the header has.
            method: The request's method.
            url: Its path and query, as they came.

        Raises:
            PeerMarkError: The mark isn't one of this cluster's for this request.
            PeerUnreachableError: It is, but for a server that was at this address
                before, or has the same one.
        """
        said, _, signature = mark[:_MARK_MAX].partition(".")
        try:
            given = bytes.fromhex(signature)
            text = said.encode("ascii")
            if not hmac.compare_digest(given, self._sign(text, method, url)):
                raise PeerMarkError
            signed = msgspec.json.decode(base64.urlsafe_b64decode(text), type=_Signed)
        except (ValueError, binascii.Error, msgspec.DecodeError):
            raise PeerMarkError from None
        if signed.receiver != self._server_id:
            raise PeerUnreachableError
        if not self._is_new(signed):
            raise PeerMarkError
        return signed.principal

    def _sign(self, said: bytes, method: str, url: str) -> bytes:
        text = b"%b\n%b\n%b" % (said, method.encode(), url.encode("latin-1"))
        return hmac.digest(self._key, text, hashlib.sha256)

    def _is_new(self, signed: _Signed) -> bool:
        window = self._windows.get(signed.sender)
        if window is None:
            window = self._windows[signed.sender] = _Window()
            while len(self._windows) > _SENDERS_MAX:
                del self._windows[next(iter(self._windows))]
        return window.take(signed.number)

    def forget(self, server_id: str) -> None:
        """Make no more marks for a server that is gone: its id is never used again."""
        self._numbers.pop(server_id, None)
