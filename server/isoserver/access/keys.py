"""API keys, and the principal that each stands for."""

from __future__ import annotations

import hmac
import secrets
from typing import TYPE_CHECKING

from isoserver.principal import Principal

if TYPE_CHECKING:
    from isoserver.settings.access import AccessSettings

__all__ = ["Keys"]


class Keys:
    """All keys, looked up in a way whose time says nothing about them."""

    def __init__(self, settings: AccessSettings) -> None:
        """Digest the keys; they themselves aren't kept.

        Args:
            settings: The keys of the default workspace and of the others.
        """
        # Whoever can't compute a digest can't choose where the look-up stops.
        self._salt = secrets.token_bytes(32)
        self._principals = {
            self._digest(key): Principal() for key in settings.api_key
        } | {
            self._digest(key.secret): Principal(workspace.name, key.client, key.admin)
            for workspace in settings.workspaces
            for key in workspace.api_keys
        }

    def __bool__(self) -> bool:
        """Tell whether there are any."""
        return bool(self._principals)

    def find(self, key: str) -> Principal | None:
        """Return the principal of a key; None if the key is unknown."""
        return self._principals.get(self._digest(key))

    def _digest(self, key: str) -> bytes:
        return hmac.digest(self._salt, key.encode("utf-8", "surrogateescape"), "sha256")
