"""Secrets that the host puts into requests, and takes out of what comes back."""

from __future__ import annotations

import base64
import binascii
import json
import re
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, quote_plus

from isokernel.network.addresses import network_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from isokernel.network.exchange import Request

__all__ = ["HIDDEN", "SECRET_MIN", "Redaction", "forms_of", "with_secrets"]

HIDDEN: Final = "[redacted]"
SECRET_MIN: Final = 4
"""Characters of the shortest secret that is looked for: a shorter one would be found
everywhere."""
_PIECE_MIN: Final = 8
"""Characters of base64 that are looked for amid a longer one."""
_BASIC: Final = re.compile(r"basic +([A-Za-z0-9+/=]+)", re.IGNORECASE)
_PERCENT: Final = re.compile("%[0-9A-F]{2}")


def with_secrets(request: Request, secrets: Mapping[str, str]) -> Request:
    """Put in what the context only has placeholders of, for the request's own host.

    In headers, in the Base64 of Basic authentication, and in the query. They are put in
    anew for each request, so that none goes along with a redirect to another host; and
    without TLS only to this machine, as others on the way would read them.

    Args:
        request: What the context sends.
        secrets: Values by placeholder, of the request's host.
    """
    target = request.target
    here = target.address is not None and network_of(target.address) == "loopback"
    if not secrets or (target.scheme != "https" and not here):
        return request
    headers = [(name, _put_in(text, secrets)) for name, text in request.headers]
    path = target.path
    for placeholder, value in secrets.items():
        # As it is in a query, from encodeURI, and from encodeURIComponent.
        encoded = (quote(placeholder, safe=safe) for safe in (":", ""))
        for form in (placeholder, *encoded):
            path = path.replace(form, quote(value, safe=""))
    return request._replace(headers=headers, target=target._replace(path=path))


def _put_in(text: str, secrets: Mapping[str, str]) -> str:
    for placeholder, value in secrets.items():
        text = text.replace(placeholder, value)
    basic = _BASIC.fullmatch(text)
    if basic is None:
        return text
    try:
        given = base64.b64decode(basic[1], validate=True)
    except binascii.Error:
        return text
    made = given
    for placeholder, value in secrets.items():
        made = made.replace(placeholder.encode(), value.encode())
    return text if made == given else f"Basic {base64.b64encode(made).decode()}"


def forms_of(secret: str) -> set[str]:
    """Return a secret as it may be written: plain, in a URL, in JSON, in Base64.

    Base64 as a whole, and as it is amid a longer text, such as `user:secret`, which
    depends on where in a group of three bytes it begins.
    """
    data = secret.encode()
    forms = {secret, json.dumps(secret)[1:-1], base64.b64encode(data).decode()}
    for made in (quote(secret), quote(secret, safe=""), quote_plus(secret)):
        forms.update((made, _PERCENT.sub(lambda found: found[0].lower(), made)))
    for before in range(3):
        coded = base64.b64encode(b"\0" * before + data).decode().rstrip("=")
        # Characters that have bits of what is before or after aren't the secret's.
        first = (before * 8 + 5) // 6
        piece = coded[first : (before + len(data)) * 8 // 6]
        if len(piece) >= _PIECE_MIN:
            forms.add(piece)
            forms.add(piece.replace("+", "-").replace("/", "_"))
    return forms


class Redaction:
    """Takes the secrets of a host out of one response, whose body comes in pieces."""

    def __init__(self, secrets: Iterable[str]) -> None:
        """Prepare for the values of some secrets, at least one."""
        forms = {
            form.encode()
            for secret in secrets
            if len(secret) >= SECRET_MIN
            for form in forms_of(secret)
        }
        # The longest first, so that no part of one is left over by a shorter one.
        self._forms = sorted(forms, key=len, reverse=True)
        self._longest = len(self._forms[0]) if self._forms else 0
        # Without forms, what matches nothing.
        self._pattern = re.compile(b"|".join(map(re.escape, self._forms)) or b"(?!)")
        self._held = b""

    def text(self, text: str) -> str:
        """Return a header or a message without the secrets."""
        hidden = self._pattern.sub(HIDDEN.encode(), text.encode("utf-8", "replace"))
        return hidden.decode()

    def feed(self, data: bytes) -> bytes:
        """Return what can be passed on: all but an end that a secret may begin with."""
        text = self._held + data
        made: list[bytes] = []
        start = 0
        while True:
            end = self._beginning(text, start)
            found = self._pattern.search(text, start)
            if found is None or found.start() >= end:
                break
            made += (text[start : found.start()], HIDDEN.encode())
            start = found.end()
        made.append(text[start:end])
        self._held = text[end:]
        return b"".join(made)

    def finish(self) -> bytes:
        """Return the end that was kept back."""
        held, self._held = self._held, b""
        return self._pattern.sub(HIDDEN.encode(), held)

    def _beginning(self, text: bytes, start: int) -> int:
        """Return where text begins that may go on to be a form; else its end."""
        for place in range(max(start, len(text) - self._longest + 1), len(text)):
            piece = text[place:]
            if any(
                len(form) > len(piece) and form.startswith(piece)
                for form in self._forms
            ):
                return place
        return len(text)
