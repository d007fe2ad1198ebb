"""Who does what contexts ask for."""

from __future__ import annotations

from functools import cache, partial
from typing import TYPE_CHECKING

from isoserver.files.service import provider
from isoserver.settings.network import network_settings

if TYPE_CHECKING:
    from isokernel.capabilities import Provider, Providers
    from isoserver.files.service import Files
    from isoserver.settings.server import ServerSettings

__all__ = ["providers_of"]


def providers_of(settings: ServerSettings, files: Files) -> Providers:
    """Return what a server holds; each is made, and loaded, for its first call.

    Modules come by the same two as what code asks for: their limits are of both.
    """
    files_of_contexts = cache(partial(provider, files))

    @cache
    def network() -> Provider:
        from isokernel.network.provider import Network  # noqa: PLC0415 - 30 ms

        return Network(network_settings(settings))

    def modules() -> Provider:
        from isokernel.packages.provider import (  # noqa: PLC0415 - httpx
            ModuleProvider,
        )

        return ModuleProvider(
            lambda: settings.package_settings(sandbox=settings.sandbox),
            files=files_of_contexts,
            network=network,
        )

    return {"net": network, "modules": modules, "files": files_of_contexts}
