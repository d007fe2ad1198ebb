"""Which network an IP address belongs to: what a policy must name, unless it is public.

Looked at when an address is connected to, so that a name can't mean one thing when it
is looked up and another one when it is used.
"""

from __future__ import annotations

import ipaddress
from typing import Final, Literal, TypeAlias

__all__ = ["Network", "is_public", "network_of"]

Network: TypeAlias = Literal[
    "public", "loopback", "private", "link-local", "metadata", "reserved"
]

_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
_NETWORKS: Final[tuple[tuple[Network, tuple[str, ...]], ...]] = (
    (
        "metadata",  # where a machine in a cloud finds its own credentials
        (
            "169.254.169.254",  # AWS, Azure, Google Cloud, and those that follow them
            "169.254.170.2",  # AWS, for containers
            "169.254.170.23",
            "168.63.129.16",  # Azure: a public address that leads to the cloud itself
            "100.100.100.200",  # Alibaba
            "192.0.0.192",  # Oracle
            "fd00:ec2::254",  # AWS
            "fd00:ec2::23",
            "fd20:ce::254",  # Google Cloud
        ),
    ),
    ("loopback", ("127.0.0.0/8", "::1")),
    ("link-local", ("169.254.0.0/16", "fe80::/10")),
    (
        "private",
        ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", "fec0::/10"),
    ),
    ("reserved", ("2001::/32", "64:ff9b:1::/48")),  # Teredo, NAT64 of a network's own
)
"""What is set aside; the first that has an address counts."""
_KNOWN: Final = tuple(
    (name, tuple(ipaddress.ip_network(text) for text in texts))
    for name, texts in _NETWORKS
)


def network_of(text: str) -> Network:
    """Return the network of an IP address.

    An IPv6 address that stands for an IPv4 one belongs to that one's network.

    Raises:
        ValueError: It isn't an IP address.
    """
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        address = _inside(address) or address
    for name, networks in _KNOWN:
        if any(address in network for network in networks):
            return name
    public = address.is_global and not address.is_multicast and not address.is_reserved
    return "public" if public else "reserved"


def _inside(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address that an IPv6 one stands for."""
    inner = address.ipv4_mapped or address.sixtofour
    if inner is None and address in _NAT64:
        inner = ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return inner


def is_public(text: str) -> bool:
    """Tell whether an IP address is one of the public Internet."""
    return network_of(text) == "public"
