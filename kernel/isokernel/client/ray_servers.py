"""The servers that `isokernel cluster up` has started in a Ray cluster."""

from __future__ import annotations

import socket
from typing import Final

from isokernel.client.errors import ClientSettingsError, NetworkError

__all__ = ["NAMESPACE", "PLACEMENT", "check_address", "find"]

NAMESPACE: Final = "isokernel"
"""Of our actors in Ray."""
PLACEMENT: Final = "placement"
"""The actor that knows the servers."""
_ANSWER_SECONDS: Final = 10.0


def check_address(address: str) -> None:
    """See whether anything is at an address of a Ray cluster, for Ray tries for long.

    Args:
        address: `HOST:PORT`, a URL of a client's server, or a word such as `auto`.

    Raises:
        OSError: Nothing is.
    """
    host, _, port = address.rpartition("/")[2].rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), _ANSWER_SECONDS).close()


def find(address: str) -> list[str]:
    """Return the URLs of the servers that answer; blocks.

    Args:
        address: The address of the Ray cluster, to which this process connects unless
            it is connected already.

    Raises:
        ClientSettingsError: Ray isn't installed, or no cluster is up there.
        NetworkError: Ray gives no answer.
    """
    try:
        import ray  # noqa: PLC0415 -- a second, for who asks for it
    except ImportError as error:
        message = "Ray isn't installed: pip install 'isokernel[ray]'"
        raise ClientSettingsError(message) from error
    try:
        if not ray.is_initialized():
            check_address(address)
            ray.init(address, namespace=NAMESPACE, log_to_driver=False)
        placement = ray.get_actor(PLACEMENT, namespace=NAMESPACE)
        urls: list[str] = ray.get(placement.urls.remote(), timeout=_ANSWER_SECONDS)
    except ValueError as error:
        message = f"no cluster is up in Ray at {address}: isokernel cluster up"
        raise ClientSettingsError(message) from error
    except (OSError, RuntimeError, ray.exceptions.RayError) as error:
        message = f"Ray at {address} gives no answer: {error}"
        raise NetworkError(message, sent=False) from error
    return urls
