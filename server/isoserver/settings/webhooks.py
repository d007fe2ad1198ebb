"""Settings of webhooks: where they may be sent, what signs them, how often."""

from __future__ import annotations

from typing import Annotated, Final, NamedTuple

from isoserver.settings.fields import (
    Limits,
    PositiveFloat,
    PositiveInt,
    Settings,
    setting,
)

__all__ = ["SECRET_LENGTH_MIN", "Receivers", "WebhookSettings", "read_receivers"]

SECRET_LENGTH_MIN: Final = 24


class WebhookSettings(Settings):
    """How the server tells others that runs have ended. Times are in seconds."""

    webhook_host: Annotated[
        list[str],
        Limits(
            pattern=r"(?:\*|(?:\*\.)?[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::(?:\d{1,5}|\*))?",
            words="hosts, each perhaps with a port: example.com, *.example.com:8443",
        ),
    ] = setting(
        [],
        "A host that webhooks may be sent to, at its usual ports or at :PORT (:* for "
        "all); *.example.com stands for all below, * for all. May be repeated.",
    )
    webhook_private: bool = setting(
        False, "Send webhooks to addresses that aren't public, too."
    )
    webhook_secret: Annotated[
        list[str],
        Limits(
            pattern=rf"[!-~]{{{SECRET_LENGTH_MIN},}}",
            words=f"secrets of {SECRET_LENGTH_MIN} or more ASCII characters, no spaces",
        ),
    ] = setting(
        [],
        "A secret that signs the webhooks of the default workspace: whsec_ and base64, "
        "or any text. May be repeated, for signatures by each.",
        shown=False,
    )
    webhook_attempts_max: PositiveInt = setting(
        8, "How often a webhook is sent until it is taken."
    )
    webhook_timeout_seconds: PositiveFloat = setting(
        15.0, "Seconds that its receiver has to answer."
    )
    webhook_retry_seconds: PositiveFloat = setting(
        5.0, "Seconds until it is sent again; four times as many after each failure."
    )
    webhook_retry_seconds_max: PositiveFloat = setting(
        3600.0, "Seconds until it is sent again, at most."
    )
    webhooks_pending_max: PositiveInt = setting(
        10_000, "Webhooks that wait for their run's end, or for their receiver."
    )
    webhooks_running_max: PositiveInt = setting(16, "Webhooks that are sent at a time.")


class Receivers(NamedTuple):
    """Those that an entry of `webhook_host` allows.

    Attributes:
        host: A host in canonical form, `*.` and one for all below it, `*` for all.
        port: The only port; None for the usual one of the URL's scheme.
        any_port: Whether all ports are allowed.
    """

    host: str
    port: int | None
    any_port: bool


def read_receivers(entry: str) -> Receivers:
    """Read an entry of `webhook_host`.

    Raises:
        ValueError: Its host or its port is none.
    """
    from isokernel.capabilities.hosts import (  # noqa: PLC0415 - if there are any
        read_host,
        read_place,
    )

    any_port = entry.endswith(":*")
    host, port = read_place(entry.removesuffix(":*"))
    if host != "*":
        below = "*." if host.startswith("*.") else ""
        host = below + read_host(host.removeprefix(below)).name
    return Receivers(host, port, any_port)
