"""Settings of packages."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from isokernel.errors import SettingsError
from isokernel.packages.npmrc import Npmrc, load_npmrc
from isokernel.sandbox import SandboxSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["CONDITIONS", "PackageSettings", "default_cache_dir", "package_settings"]

CONDITIONS: Final = ("edge-light", "browser")
"""Besides `import` or `require` and `default`: code for V8 with the web's globals and
few of Node.js's modules, which is what contexts are."""

_PREFIX: Final = "ISOKERNEL_PACKAGE_"
_WORDS: Final = {"on": True, "1": True, "true": True, "off": False, "0": False}


class PackageSettings(NamedTuple):
    """Where packages come from and are kept, and how large they may be.

    Attributes:
        cache_dir: The folder of the cache.
        npmrc: Registries and credentials.
        offline: Fetch nothing: what isn't in the cache is an error.
        conditions: Of `exports` and `imports` in package.json, besides `import` or
            `require` and `default`.
        cache_bytes_max: Bytes of packs in the cache.
        tarball_bytes_max: Bytes of a package as it is downloaded.
        unpacked_bytes_max: Bytes of its files.
        files_max: How many there may be.
        metadata_bytes_max: Bytes that a registry may say of a package.
        metadata_fresh_seconds: How long what a registry has said is taken for true
            without asking again.
        request_timeout_seconds: How long a registry may say nothing.
        download_timeout_seconds: How long a package may take to come.
        pack_timeout_seconds: How long it may take to unpack and analyse.
        retries_max: How often a request is sent again when the registry fails.
        downloads_max: How many may run at a time.
        graph_modules_max: How many modules one import may load.
        graph_bytes_max: Bytes of them.
        graphs_kept_bytes_max: Bytes of what imports have loaded that are kept in
            memory, for the same imports of other contexts.
        code_cache: Keep what V8 has made of modules, so that they are compiled once.
        packages_max: How many packages one import may load.
        lends_credentials: Whether those of `npmrc` are also for a registry that the
            files of a context name: where both are the same user's.
        sandbox: How what unpacks packages is confined; None for not at all.
    """

    cache_dir: str
    npmrc: Npmrc = Npmrc()
    offline: bool = False
    conditions: tuple[str, ...] = CONDITIONS
    cache_bytes_max: int = 4 << 30
    tarball_bytes_max: int = 128 << 20
    unpacked_bytes_max: int = 512 << 20
    files_max: int = 50_000
    metadata_bytes_max: int = 64 << 20
    metadata_fresh_seconds: float = 3600.0
    request_timeout_seconds: float = 30.0
    download_timeout_seconds: float = 300.0
    pack_timeout_seconds: float = 120.0
    retries_max: int = 2
    downloads_max: int = 8
    graph_modules_max: int = 20_000
    graph_bytes_max: int = 256 << 20
    graphs_kept_bytes_max: int = 64 << 20
    code_cache: bool = True
    packages_max: int = 2000
    lends_credentials: bool = False
    sandbox: SandboxSettings | None = SandboxSettings()


def default_cache_dir() -> str:
    """Return the user's folder for what can be fetched again (XDG_CACHE_HOME)."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111 - pathlib: 4 ms
    return f"{base}/isokernel/packages"


def package_settings(environment: Mapping[str, str]) -> PackageSettings:
    """Read the settings of a notebook's kernel and of the commands.

    Each is a variable: ISOKERNEL_PACKAGE_ and the setting in capitals, such as
    ISOKERNEL_PACKAGE_OFFLINE=on. ISOKERNEL_PACKAGE_NPMRC names another file than the
    user's own ~/.npmrc.

    Args:
        environment: The variables.

    Raises:
        SettingsError: One has no sensible value.
    """
    given: dict[str, Any] = {"cache_dir": default_cache_dir()}
    for name, default in PackageSettings._field_defaults.items():
        variable = f"{_PREFIX}{name.upper()}"
        text = environment.get(variable, "").strip()
        if not text or name in ("npmrc", "lends_credentials", "sandbox"):
            continue
        try:
            given[name] = _read(text, default)
        except (ValueError, KeyError):
            message = f"{variable}={text}: expected {_expected(default)}"
            raise SettingsError(message) from None
    if folder := environment.get(f"{_PREFIX}CACHE_DIR"):
        given["cache_dir"] = os.path.expanduser(folder)  # noqa: PTH111 - as above
    npmrc = environment.get(f"{_PREFIX}NPMRC") or "~/.npmrc"
    given["npmrc"] = load_npmrc(os.path.expanduser(npmrc))  # noqa: PTH111 - as above
    return PackageSettings(**given, lends_credentials=True)


def _read(text: str, default: object) -> object:
    if isinstance(default, bool):
        return _WORDS[text.lower()]
    if isinstance(default, tuple):
        return tuple(part.strip() for part in text.split(",") if part.strip())
    number = float(text) if isinstance(default, float) else int(text)
    if number < 0:
        raise ValueError
    return number


def _expected(default: object) -> str:
    if isinstance(default, bool):
        return "on or off"
    return "a number of 0 or more" if isinstance(default, (int, float)) else "words"
