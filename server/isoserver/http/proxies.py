"""Whom a request comes from where proxies are between: what those are believed to say.

A proxy adds the address that it was asked from at the end of `X-Forwarded-For`, or of
`Forwarded` (RFC 7239). What is before that is as the client has sent it, and may say
anything. So the addresses are read from the last one on, as long as they are those of
proxies that a setting names; the first other one is the client's.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING, Final
from urllib.request import parse_http_list

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tornado.httputil import HTTPHeaders

    _Address = ipaddress.IPv4Address | ipaddress.IPv6Address

__all__ = ["Proxies"]

_HEADER_MAX: Final = 4096
"""Characters of a header that is read; a longer one names nobody."""
_PLACE: Final = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::\w+)?|([0-9.]+):\w+|([^%]+)")
"""An address, which a port may follow."""
_PAIR: Final = re.compile(
    r"""\s*([\w!#$%&'*+.^`|~-]+)\s*=\s*("[^"\\]*"|[^\s",;=\\]+)\s*"""
)
_PAIRS: Final = re.compile(rf"{_PAIR.pattern}(?:;{_PAIR.pattern})*")
"""An element of `Forwarded`. What isn't quite one is none: a quote that a client has
left open must not hide what a proxy has added."""


class Proxies:
    """The proxies that are believed. False if there are none."""

    def __init__(self, names: Iterable[str]) -> None:
        """Know them.

        Args:
            names: Their addresses or networks, which settings have checked.
        """
        self._networks = [ipaddress.ip_network(name) for name in names]

    def __bool__(self) -> bool:
        """Tell whether there are any."""
        return bool(self._networks)

    def client(self, peer: str, headers: HTTPHeaders) -> str:
        """Return the address that a request comes from.

        Args:
            peer: The one that the connection comes from.
            headers: The request's.

        Returns:
            The last one that isn't a proxy's; the connection's if both headers are
            there and differ, since a proxy passes on the one that it doesn't know.
        """
        address = _read(peer.partition("%")[0])
        if address is None or not self._has(address):
            return peer
        chains = []
        for name, parse in (("X-Forwarded-For", _split), ("Forwarded", _split_pairs)):
            text = headers.get(name)
            if text is not None:
                chains.append(parse(text) if len(text) <= _HEADER_MAX else [])
        found = {self._follow(address, chain) for chain in chains}
        return str(found.pop()) if len(found) == 1 else peer

    def _follow(self, address: _Address, chain: list[str]) -> _Address:
        """Return the address before the last proxy that is known."""
        for text in reversed(chain):
            if not self._has(address):
                break
            before = _read(text)
            if before is None:
                break
            address = before
        return address

    def _has(self, address: _Address) -> bool:
        return any(address in network for network in self._networks)


def _split(text: str) -> list[str]:
    return text.split(",")


def _split_pairs(text: str) -> list[str]:
    """Return what is behind each `for=`, and no address where that is malformed."""
    return [_behind_for(element) for element in parse_http_list(text)]


def _behind_for(element: str) -> str:
    if _PAIRS.fullmatch(element) is None:
        return ""
    pairs = _PAIR.findall(element)
    values = [value.strip('"') for name, value in pairs if name.lower() == "for"]
    return values[0] if len(values) == 1 else ""


def _read(text: str) -> _Address | None:
    """Return the address that a text is, without its port; None if it is none."""
    place = _PLACE.fullmatch(text.strip())
    if place is None:
        return None
    try:
        address = ipaddress.ip_address(next(filter(None, place.groups())))
    except ValueError:
        return None
    mapped = address.ipv4_mapped if address.version == 6 else None  # noqa: PLR2004
    return mapped or address
