"""Limits of the network, for each context unless it says otherwise."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["NetworkSettings"]


class NetworkSettings(NamedTuple):
    """Limits; sizes are in bytes.

    Attributes:
        requests_max: Requests of one context that are under way at a time, those whose
            responses aren't read to their end among them.
        requests_total_max: Of all contexts together.
        connect_timeout_seconds: For looking up a name, and for a connection.
        idle_timeout_seconds: How long the other side may send nothing, and how long a
            response may lie unread.
        request_timeout_seconds: For a request as a whole.
        request_bytes_max: The body of a request.
        response_bytes_max: The body of a response, after it was unpacked.
        head_bytes_max: Method, URL and headers of a request; headers of a response.
        ca_file: Certificates of authorities to trust, instead of those that come with
            the package `certifi`; PEM.
        proxies: Whether to use the proxies that the environment names. They look up
            the names of hosts themselves, so addresses aren't decided then.
    """

    requests_max: int = 32
    requests_total_max: int = 512
    connect_timeout_seconds: float = 15.0
    idle_timeout_seconds: float = 300.0
    request_timeout_seconds: float = 3600.0
    request_bytes_max: int = 256 << 20
    response_bytes_max: int = 1 << 30
    head_bytes_max: int = 64 << 10
    ca_file: str | None = None
    proxies: bool = False
