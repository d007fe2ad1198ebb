"""What import statements and `require` can name."""

from __future__ import annotations

import re
from typing import Final, NamedTuple
from urllib.parse import unquote, urlsplit

from isokernel.errors import ModuleSpecifierError

__all__ = [
    "BUILTINS",
    "NPM",
    "Location",
    "PackageRequest",
    "builtin_url",
    "location_of",
    "parse_bare",
    "parse_request",
    "valid_name",
]

NPM: Final = "npm:/"
"""URLs of modules in packages begin with it: `npm:/d3@7.9.0/src/index.js`."""

_BUILTIN_NAMES: Final = (
    "assert assert/strict async_hooks buffer child_process cluster console constants "
    "crypto dgram diagnostics_channel dns dns/promises domain events fs fs/promises "
    "http http2 https inspector inspector/promises module net os path path/posix "
    "path/win32 perf_hooks process punycode querystring readline readline/promises "
    "repl stream stream/consumers stream/promises stream/web string_decoder sys timers "
    "timers/promises tls trace_events tty url util util/types v8 vm wasi "
    "worker_threads zlib"
)
BUILTINS: Final = frozenset(_BUILTIN_NAMES.split())
"""Modules of Node.js that need no `node:` before their names."""

_NAME_LENGTH_MAX: Final = 214  # npm's own
_RANGE_LENGTH_MAX: Final = 256  # that of npm's semver
_SPECIFIER_LENGTH_MAX: Final = 2048
_NAME: Final = r"(?:@[a-zA-Z0-9~_-][\w.~-]*/)?[a-zA-Z0-9~_-][\w.~-]*"
_BARE: Final = re.compile(rf"(?P<name>{_NAME})(?P<subpath>/.*)?", re.ASCII)
_REQUEST: Final = re.compile(
    rf"/?(?P<name>{_NAME})(?:@(?P<range>[^/]*))?(?P<subpath>/.*)?", re.ASCII
)
_JSR: Final = re.compile(
    r"/?@(?P<scope>[a-z0-9-]+)/(?P<name>[a-z0-9-]+)(?:@(?P<range>[^/]*))?"
    r"(?P<subpath>/.*)?",
    re.ASCII,
)
_LOCATION: Final = re.compile(
    rf"npm:/(?P<name>{_NAME})@(?P<version>[^/@]+)/(?P<path>.+)", re.ASCII
)


class PackageRequest(NamedTuple):
    """A package that is asked for.

    Attributes:
        name: The package's.
        range: Versions, as in package.json, or a tag; empty for any.
        subpath: What of it, as in `exports`: `.` or `./sub/path`.
    """

    name: str
    range: str
    subpath: str


class Location(NamedTuple):
    """A file of a package.

    Attributes:
        name: The package's.
        version: Exact.
        path: In the package, without a leading slash.
    """

    name: str
    version: str
    path: str

    @property
    def package(self) -> str:
        """Name and version."""
        return f"{self.name}@{self.version}"

    @property
    def url(self) -> str:
        """The module's URL."""
        return f"{NPM}{self.package}/{self.path}"


def valid_name(name: str) -> bool:
    """Tell whether npm could have a package of this name."""
    found = _BARE.fullmatch(name)
    if found is None or found["subpath"]:
        return False
    return len(name) <= _NAME_LENGTH_MAX


def parse_request(specifier: str) -> PackageRequest:
    """Read an `npm:` or `jsr:` specifier.

    Raises:
        ModuleSpecifierError: It is none.
    """
    scheme, _, rest = specifier.partition(":")
    pattern = _JSR if scheme == "jsr" else _REQUEST
    found = pattern.fullmatch(rest) if len(specifier) <= _SPECIFIER_LENGTH_MAX else None
    if found is None:
        form = (
            "jsr:@SCOPE/NAME@VERSION/PATH"
            if scheme == "jsr"
            else "npm:NAME@VERSION/PATH"
        )
        raise ModuleSpecifierError(specifier, f"it isn't of the form {form}")
    name = found["name"]
    if scheme == "jsr":
        # JSR's npm registry has no scopes but its own.
        name = f"@jsr/{found['scope']}__{name}"
    return _request(specifier, name, unquote(found["range"] or ""), found["subpath"])


def parse_bare(specifier: str, *, versions: bool = False) -> PackageRequest:
    """Read a specifier that is neither a path nor a URL.

    Args:
        specifier: What is imported.
        versions: Whether it may have one, `d3@7`: in code, though not in packages.

    Raises:
        ModuleSpecifierError: It names no package.
    """
    found = _BARE.fullmatch(specifier)
    if found is None and versions and _REQUEST.fullmatch(specifier):
        return parse_request(f"npm:{specifier}")
    if found is None or len(specifier) > _SPECIFIER_LENGTH_MAX:
        raise ModuleSpecifierError(specifier, "it names no package, file or URL")
    return _request(specifier, found["name"], "", found["subpath"])


def _request(
    specifier: str, name: str, wanted: str, subpath: str | None
) -> PackageRequest:
    if len(name) > _NAME_LENGTH_MAX:
        message = f"a package's name has {_NAME_LENGTH_MAX} characters at most"
        raise ModuleSpecifierError(specifier, message)
    if len(wanted) > _RANGE_LENGTH_MAX:
        message = f"a range of versions has {_RANGE_LENGTH_MAX} characters at most"
        raise ModuleSpecifierError(specifier, message)
    subpath = (subpath or "").rstrip("/") if subpath == "/" else subpath or ""
    return PackageRequest(name, wanted.strip(), f".{subpath}")


def location_of(url: str) -> Location | None:
    """Return the file of a package that a URL means; None for other URLs."""
    if not url.startswith(NPM):
        return None
    found = _LOCATION.fullmatch(urlsplit(url)._replace(query="", fragment="").geturl())
    if found is None:
        return None
    return Location(found["name"], found["version"], found["path"])


def builtin_url(specifier: str) -> str | None:
    """Return the URL of a module of Node.js; None if it is none.

    `node:` names are passed on as they are: whether there is such a module is for the
    context to say.
    """
    if specifier.startswith("node:"):
        return specifier
    return f"node:{specifier}" if specifier in BUILTINS else None
