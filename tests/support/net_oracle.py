"""What policies of the network mean, told by parts: an oracle for fuzzing.

The policy has the text alone, and the oracle what the text was made of.
"""

from __future__ import annotations

import ipaddress
from typing import NamedTuple


class Place(NamedTuple):
    """Where a request goes."""

    scheme: str
    host: str
    port: int
    path: tuple[str, ...]
    address: str

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}/{'/'.join(self.path)}"


class Wanted(NamedTuple):
    """A pattern by its parts; None where anything will do."""

    host: str | None = None
    below: bool = False
    port: int | None = None
    scheme: str | None = None
    path: tuple[str, ...] | None = None
    network: str | None = None

    @property
    def text(self) -> str:
        if self.network is not None:
            return self.network
        host = ("*." if self.below else "") + (self.host or "*")
        port = "" if self.port is None else f":{self.port}"
        if self.scheme is None:
            return f"{host}{port}"
        path = "" if self.path is None else "/" + "/".join((*self.path, "**"))
        return f"{self.scheme}://{host}{port}{path}"

    def fits(self, place: Place) -> bool:
        if self.network is not None:
            return is_within(place.address, self.network)
        if self.host is not None:
            labels, wanted = place.host.split("."), self.host.split(".")
            tail = labels[len(labels) - len(wanted) :] == wanted
            longer = len(labels) > len(wanted)
            if not tail or longer != self.below:
                return False
        usual = {"http": 80, "https": 443}
        port = self.port
        if port is None and self.scheme is not None and self.host is not None:
            port = usual[self.scheme]
        if port is not None and place.port != port:
            return False
        if self.scheme is not None and place.scheme != self.scheme:
            return False
        if self.path is None:
            return True
        prefix = [_plain(part) for part in self.path]
        given = [_plain(part) for part in place.path]
        return given[: len(prefix)] == prefix and len(given) > len(prefix)

    def names(self, place: Place) -> bool:
        if self.network is not None:
            return True
        local = (self.host or "").split(".")[-1] == "localhost"
        return local and any(
            is_within(place.address, network) for network in ("127.0.0.0/8", "::1/128")
        )


def _plain(part: str) -> str:
    """A segment without escapes of what needs none."""
    made, rest = "", part
    while rest:
        digits = rest[1:3]
        if rest[0] == "%" and len(digits) == 2:
            letter = chr(int(digits, 16))
            if letter in "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-._~":
                made += letter
            else:
                made += f"%{digits.upper()}"
            rest = rest[3:]
        else:
            made += rest[0]
            rest = rest[1:]
    return made


def is_within(address: str, network: str) -> bool:
    found, wanted = ipaddress.ip_address(address), ipaddress.ip_network(network)
    mapped = getattr(found, "ipv4_mapped", None)
    return (mapped or found) in wanted
