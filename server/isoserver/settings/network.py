"""Limits of what contexts do on the network."""

from __future__ import annotations

from typing import Final

from isokernel.network.settings import NetworkSettings
from isoserver.settings.fields import PositiveFloat, PositiveInt, Settings, setting

__all__ = ["NetSettings", "network_settings"]

_PREFIX: Final = "net_"
_USUAL: Final = NetworkSettings()


class NetSettings(Settings):
    """Limits of requests. Times are in seconds, sizes in bytes."""

    net_requests_max: PositiveInt = setting(
        _USUAL.requests_max,
        "Requests of one context that are under way at a time, those whose "
        "responses aren't read to their end among them; others wait for their turn.",
    )
    net_requests_total_max: PositiveInt = setting(
        _USUAL.requests_total_max, "Of all contexts together."
    )
    net_connect_timeout_seconds: PositiveFloat = setting(
        _USUAL.connect_timeout_seconds, "For looking up a name, and for a connection."
    )
    net_idle_timeout_seconds: PositiveFloat = setting(
        _USUAL.idle_timeout_seconds,
        "How long the other side may send nothing, and how long a response "
        "may lie unread.",
    )
    net_request_timeout_seconds: PositiveFloat = setting(
        _USUAL.request_timeout_seconds, "For a request as a whole."
    )
    net_request_bytes_max: PositiveInt = setting(
        _USUAL.request_bytes_max, "The body of a request."
    )
    net_response_bytes_max: PositiveInt = setting(
        _USUAL.response_bytes_max, "The body of a response, after it was unpacked."
    )
    net_head_bytes_max: PositiveInt = setting(
        _USUAL.head_bytes_max,
        "Method, URL and headers of a request; the headers of a response.",
    )
    net_ca_file: str | None = setting(
        _USUAL.ca_file,
        "A PEM file with the authorities to trust, instead of those of the "
        "package certifi.",
    )
    net_proxies: bool = setting(
        _USUAL.proxies,
        "Use the proxies that HTTP_PROXY, HTTPS_PROXY and NO_PROXY name. "
        "They look up names themselves, so addresses aren't decided then.",
    )


def network_settings(settings: NetSettings) -> NetworkSettings:
    """Return the limits for whoever does what contexts ask for."""
    given = {name: getattr(settings, _PREFIX + name) for name in _USUAL._fields}
    return NetworkSettings(**given)
