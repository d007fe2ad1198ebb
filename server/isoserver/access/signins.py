"""People who have signed in with a browser, which can't send keys in headers."""

from __future__ import annotations

import hashlib
import secrets
from collections import OrderedDict
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["SIGN_IN_SECONDS", "SignIn", "SignIns"]

SIGN_IN_SECONDS: Final = 12 * 3600.0
"""Without any request, after which a key is asked for again."""
_SIGN_INS_MAX: Final = 10_000
"""That are remembered; those unused for longest go."""


class SignIn(NamedTuple):
    """What somebody has signed in with.

    Attributes:
        credential: The key or token; checked anew with each request.
        workspace: The workspace that they named, if they named one.
        used: When it was last used, by the clock.
    """

    credential: str
    workspace: str | None
    used: float


class SignIns:
    """Stands in for keys and tokens, in memory alone.

    A cookie goes to every server on the same host, whatever its port. So it doesn't
    hold the key, but a random text that means something only here.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        """Begin with nobody.

        Args:
            clock: Returns the time in seconds.
        """
        self._clock = clock
        self._known: OrderedDict[bytes, SignIn] = OrderedDict()

    def add(self, credential: str, workspace: str | None) -> str:
        """Remember a key or token; return what its owner's browser keeps."""
        token = secrets.token_urlsafe(32)
        self._known[_digest(token)] = SignIn(credential, workspace, self._clock())
        while len(self._known) > _SIGN_INS_MAX:
            self._known.popitem(last=False)
        return token

    def find(self, token: str) -> SignIn | None:
        """Return what somebody signed in with; None if that is over, or never was."""
        key = _digest(token)
        found = self._known.pop(key, None)
        now = self._clock()
        if found is None or now - found.used > SIGN_IN_SECONDS:
            return None
        self._known[key] = found = found._replace(used=now)
        return found

    def end(self, token: str) -> None:
        """Forget one; nothing happens if there is none."""
        self._known.pop(_digest(token), None)


def _digest(token: str) -> bytes:
    """Return what is looked up, so that its time says nothing about tokens."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
