"""Registries, scopes and credentials, as .npmrc files have them.

Of npm's settings those are read that say where packages come from and who asks.
Variables of the environment (`${NAME}`) are filled in only in the user's own file: a
file that comes with somebody's project can't send them anywhere.
"""

from __future__ import annotations

import base64
import os
import re
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from isokernel.errors import PackageError, reason_of

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["JSR_REGISTRY", "NPM_REGISTRY", "Npmrc", "read_npmrc"]

NPM_REGISTRY: Final = "https://registry.npmjs.org/"
JSR_REGISTRY: Final = "https://npm.jsr.io/"
"""The npm registry of JSR, for the scope @jsr."""

_VARIABLE: Final = re.compile(r"\$\{([^}?]+)(\?)?\}")
_BYTES_MAX: Final = 1 << 20


class Npmrc:
    """Where packages come from, and with whose credentials.

    Attributes:
        settings: What the files say, by key.
    """

    def __init__(self, settings: Mapping[str, str] | None = None) -> None:
        """Take what files say; without them there are npm's and JSR's registries."""
        self.settings = dict(settings or {})

    def registry(self, name: str) -> str:
        """Return the registry of a package; its URL ends with a slash."""
        scope = name.partition("/")[0] if name.startswith("@") else ""
        default = JSR_REGISTRY if scope == "@jsr" else NPM_REGISTRY
        if scope and (own := self.settings.get(f"{scope}:registry")):
            return f"{own.rstrip('/')}/"
        if scope == "@jsr":
            return default
        return f"{self.settings.get('registry', default).rstrip('/')}/"

    def names(self, name: str, base: Npmrc) -> bool:
        """Whether it, and not the file that it is added to, says where a package is."""
        scope = f"{name.partition('/')[0]}:registry" if name.startswith("@") else ""
        if scope and (scope in self.settings or scope in base.settings):
            return scope in self.settings
        return "registry" in self.settings and not name.startswith("@jsr/")

    def authorization(self, url: str) -> str | None:
        """Return the header for a request; None if no credentials are for its place.

        Credentials are kept by host and path: those of the longest path that the URL
        is below are taken, as npm does.
        """
        parts = urlsplit(url)
        place = f"//{parts.netloc}{parts.path}"
        while place.strip("/"):
            for form in (place, f"{place.rstrip('/')}/"):
                if found := self._credentials(form):
                    return found
            place = place.rstrip("/").rpartition("/")[0]
        return None

    def _credentials(self, place: str) -> str | None:
        token = self.settings.get(f"{place}:_authToken")
        if token:
            return f"Bearer {token}"
        basic = self.settings.get(f"{place}:_auth")
        if basic:
            return f"Basic {basic}"
        user = self.settings.get(f"{place}:username")
        password = self.settings.get(f"{place}:_password")
        if user and password:
            try:
                secret = base64.b64decode(password).decode()
            except ValueError:
                return None
            pair = base64.b64encode(f"{user}:{secret}".encode()).decode()
            return f"Basic {pair}"
        return None


def read_npmrc(text: str, environment: Mapping[str, str] | None = None) -> Npmrc:
    """Read the text of a file.

    Args:
        text: Lines `key = value`; `#` and `;` begin comments.
        environment: Variables that the text may name; without them a key or value that
            names one is left out.
    """
    settings: dict[str, str] = {}
    for line in text.splitlines():
        if not line.strip() or line.lstrip()[0] in "#;[":
            continue
        key, equals, value = line.partition("=")
        pair = [_fill(part.strip(), environment) for part in (key, value)]
        if equals and pair[0] and pair[1] is not None:
            settings[pair[0]] = _unquoted(pair[1])
    return Npmrc(settings)


def load_npmrc(*paths: str) -> Npmrc:
    """Read the user's own files; later ones win, those that aren't there are left out.

    Raises:
        PackageError: One can't be read.
    """
    settings: dict[str, str] = {}
    for path in paths:
        try:
            with open(path, encoding="utf-8") as file:  # noqa: PTH123 - see settings
                text = file.read(_BYTES_MAX)
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            message = f"{path} can't be read: {reason_of(error)}"
            raise PackageError(message) from error
        settings |= read_npmrc(text, os.environ).settings
    return Npmrc(settings)


def _fill(text: str, environment: Mapping[str, str] | None) -> str | None:
    """Fill in variables; None if one may not be, or isn't there."""
    missing = False

    def value(found: re.Match[str]) -> str:
        nonlocal missing
        if environment is None or (found[1] not in environment and not found[2]):
            missing = True
            return ""
        return environment.get(found[1], "")

    filled = _VARIABLE.sub(value, text)
    return None if missing else filled


def _unquoted(text: str) -> str:
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        return text[1:-1]
    return text
