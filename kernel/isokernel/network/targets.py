"""URLs, methods and headers as they are decided and sent.

What comes from a context is not trusted to be what its URL parser makes: it is accepted
in the canonical form only, so that what a policy decides about is what is asked for.
"""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

from isokernel.capabilities.hosts import PORTS, Host, read_host
from isokernel.errors import CapabilityError

__all__ = ["Target", "read_headers", "read_method", "read_url"]

_URL: Final = re.compile(
    r"(https?)://(\[[0-9A-Fa-f:.]+\]|[^\[\]/?#@:\\\s]+)(?::([0-9]{1,5}))?(/[!-~]*)?"
)
# The percent-encode sets of the URL standard: a query has fewer that are encoded.
_NOT_IN_PATH: Final = re.compile(r'[#\\"<>^`{}]')
_NOT_IN_QUERY: Final = re.compile(r'[#"<>]')
_DOTS: Final = re.compile(r"/(?:\.|%2e){1,2}(?:/|\?|$)", re.IGNORECASE)
_PORT_MAX: Final = 65535
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_METHODS: Final = frozenset({"CONNECT", "TRACE", "TRACK"})
_HEADERS: Final = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "host",
        "http2-settings",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""They describe the connection or the framing of the body, which are ours."""
_BAD_PORTS: Final = frozenset(
    # https://fetch.spec.whatwg.org/#port-blocking
    (
        0, 1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79,
        87, 95, 101, 102, 103, 104, 109, 110, 111, 113, 115, 117, 119, 123, 135, 137,
        139, 143, 161, 179, 389, 427, 465, 512, 513, 514, 515, 526, 530, 531, 532, 540,
        548, 554, 556, 563, 587, 601, 636, 989, 990, 993, 995, 1719, 1720, 1723, 2049,
        3659, 4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679,
        6697, 10080,
    )
)  # fmt: skip
"""Ports of other protocols, whose servers could take HTTP for something of theirs."""


class Target(NamedTuple):
    """Where a request goes, in canonical form.

    Attributes:
        scheme: `http` or `https`.
        host: A name in lower case and ASCII, or an IP address without brackets.
        port: Its port.
        path: Path and query.
        address: The host, if it is an IP address.
    """

    scheme: str
    host: str
    port: int
    path: str
    address: str | None

    @property
    def authority(self) -> str:
        """Host and port as a URL and the header Host have them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        usual = self.port == PORTS[self.scheme]
        return host if usual else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The URL."""
        return f"{self.scheme}://{self.authority}{self.path}"

    @property
    def origin(self) -> str:
        """The URL without its path, which messages show."""
        return f"{self.scheme}://{self.authority}"


def read_url(text: object) -> Target:
    """Read a URL.

    Raises:
        CapabilityError: It isn't one in canonical form, or none of HTTP.
    """
    found = _URL.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        message = "a URL must be one of http or https, without a user's name"
        raise _invalid(message)
    scheme, host, port, path = found.groups()
    number = int(port) if port else PORTS[scheme]
    if number > _PORT_MAX or number in _BAD_PORTS:
        message = f"port {number} is not allowed: it is not one of HTTP"
        raise _invalid(message)
    path = path or "/"
    before, _, query = path.partition("?")
    if (
        _NOT_IN_PATH.search(before)
        or _NOT_IN_QUERY.search(query)
        or _DOTS.search(before)
    ):
        message = "the path of the URL is not in its canonical form"
        raise _invalid(message)
    name, address = _read_host(host)
    return Target(scheme, name, number, path, address)


def _read_host(text: str) -> Host:
    try:
        return read_host(text)
    except ValueError as error:
        raise _invalid(str(error)) from None


def read_method(text: object) -> str:
    """Read a method.

    Raises:
        CapabilityError: It isn't one, or not one for a server.
    """
    if not (isinstance(text, str) and _TOKEN.fullmatch(text)):
        message = "the method is not one of HTTP"
        raise CapabilityError(message, code="invalid_request")
    if text.upper() in _METHODS:
        message = f"the method {text} is not allowed"
        raise CapabilityError(message, code="invalid_request")
    return text


def read_headers(pairs: object, bytes_max: int) -> list[tuple[str, str]]:
    """Read headers; those that are the connection's own are left out.

    Args:
        pairs: Lists of name and value.
        bytes_max: The most that they may have.

    Raises:
        CapabilityError: One can't be a header, or they are too large.
    """
    headers: list[tuple[str, str]] = []
    size = 0
    for pair in pairs if isinstance(pairs, list) else [None]:
        name, value = _read_header(pair)
        size += len(name) + len(value) + 4
        if name.lower() not in _HEADERS and not name.lower().startswith("proxy-"):
            headers.append((name, value))
    if size > bytes_max:
        message = f"the headers have {size} bytes, {bytes_max} are allowed"
        raise CapabilityError(message, code="too_large")
    return headers


def _read_header(pair: Any) -> tuple[str, str]:
    match pair:
        case [str(name), str(value)] if _TOKEN.fullmatch(name):
            if _VALUE.fullmatch(value) and value == value.strip(" \t"):
                return name, value
    message = "a header is not a name and a value"
    raise CapabilityError(message, code="invalid_request")


def _invalid(message: str) -> CapabilityError:
    return CapabilityError(message, code="invalid_url")
