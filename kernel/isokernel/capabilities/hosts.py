"""Hosts as settings, requests and URLs name them: one canonical form for all.

What a rule names and what code asks for are compared as texts, so both are read here.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final, NamedTuple

__all__ = ["PORTS", "Host", "Place", "read_host", "read_origin", "read_place"]

PORTS: Final = {"http": 80, "https": 443}
"""The usual port of each scheme."""

_LABEL: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
_PORT: Final = re.compile(r"[0-9]{1,5}")
_SCHEME: Final = re.compile(r"[a-z][a-z0-9+.-]*")
_HOST_MAX: Final = 253
_PORT_MAX: Final = 65535


class Host(NamedTuple):
    """A host in canonical form.

    Attributes:
        name: In lower case and ASCII, without a dot at its end; or an IP address
            without brackets.
        address: The same, if it is an IP address.
    """

    name: str
    address: str | None = None


class Place(NamedTuple):
    """A host, and a port if one is named."""

    host: str
    port: int | None = None


def read_host(text: str) -> Host:
    """Read a host as a URL has it: IPv6 addresses stand in brackets.

    Raises:
        ValueError: It is none, or an IPv4 address in another form than four numbers,
            which the system's resolver would take as one (127.1, 0x7f000001).
    """
    if text.startswith("["):
        inner = text[1:-1] if text.endswith("]") else ""
        try:
            address = str(ipaddress.IPv6Address(inner))
        except ValueError:
            message = f"{text} is not an IPv6 address"
            raise ValueError(message) from None
        return Host(address, address)
    name = (text if text.isascii() else _to_ascii(text)).lower()
    name = name.removesuffix(".")
    labels = name.split(".")
    if len(name) > _HOST_MAX or not all(_LABEL.fullmatch(label) for label in labels):
        raise _no_name(text)
    if not _NUMBER.fullmatch(labels[-1]):
        return Host(name)
    try:
        address = str(ipaddress.IPv4Address(name))
    except ValueError:
        message = f"{name} is not an IPv4 address in its canonical form"
        raise ValueError(message) from None
    return Host(address, address)


def read_place(text: str) -> Place:
    """Split a host and a port.

    More than one colon without brackets is all of an IPv6 address, which gets them.

    Raises:
        ValueError: The port is none. The host isn't looked at.
    """
    host, port = text, ""
    if text.startswith("["):
        host, bracket, port = text.partition("]")
        host += bracket
        if not bracket or (port and not port.startswith(":")):
            message = f"{text!r} is not an address in brackets and a port"
            raise ValueError(message)
    elif text.count(":") == 1:
        host, colon, port = text.partition(":")
        port = colon + port
    elif ":" in text:
        host = f"[{text}]"
    if not port:
        return Place(host)
    if not _PORT.fullmatch(port[1:]) or not 0 < int(port[1:]) <= _PORT_MAX:
        message = f"{port[1:]!r} in {text!r} is not a port"
        raise ValueError(message)
    return Place(host, int(port[1:]))


def read_origin(text: str) -> str:
    """Read an origin; the result is as browsers write it in the header Origin.

    Raises:
        ValueError: It is none.
    """
    scheme, _, rest = text.partition("://")
    scheme = scheme.lower()
    if text == "null":
        return text  # of pages without one
    if not _SCHEME.fullmatch(scheme) or not rest or re.search(r"[/?#@\s]", rest):
        message = f"{text!r} is not an origin, such as https://example.com: no path"
        raise ValueError(message)
    if scheme not in PORTS:
        return f"{scheme}://{rest}"  # of editors and extensions, which name no host
    host, port = read_place(rest)
    name, address = read_host(host)
    shown = f"[{name}]" if address is not None and ":" in name else name
    usual = port is None or port == PORTS[scheme]
    return f"{scheme}://{shown}" + ("" if usual else f":{port}")


def _to_ascii(text: str) -> str:
    import idna  # noqa: PLC0415 - 10 ms; contexts send names in ASCII

    try:
        return idna.encode(text, uts46=True).decode("ascii")
    except idna.IDNAError:
        raise _no_name(text) from None


def _no_name(text: str) -> ValueError:
    return ValueError(f"{text[:_HOST_MAX]!r} is not the name of a host")
