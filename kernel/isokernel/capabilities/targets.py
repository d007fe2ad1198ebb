"""Patterns of rules, and what they fit: one class for each kind of target.

What is asked for is in canonical form, and so are patterns once they are read: a part
that isn't is refused, rather than understood in some way. `*` is any text within a
part, `**` any number of parts of a path.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol
from urllib.parse import urlsplit

from isokernel.capabilities.hosts import PORTS, read_host, read_place
from isokernel.errors import SettingsError

if TYPE_CHECKING:
    from isokernel.capabilities.grant import Asked

__all__ = ["CAPABILITIES", "NETWORKS", "Fit", "Pattern", "read_pattern", "suggested"]

CAPABILITIES: Final = ("modules", "net", "files", "env")
NETWORKS: Final = frozenset(
    {"public", "loopback", "private", "link-local", "metadata", "reserved"}
)

_NPM_NAME: Final = re.compile(
    r"(?:@[a-z0-9*~-][a-z0-9*._~-]*/)?[A-Za-z0-9*~_-][A-Za-z0-9*._~-]*"
)
_VERSION: Final = re.compile(r"[0-9]+(?:\.[0-9]+){0,2}(?:[-+][0-9A-Za-z.+-]+)?")
_ENV_NAME: Final = re.compile(r"[^=\0]+")
_SLASHES: Final = re.compile(r"/|\\|%2F|%5C", re.IGNORECASE)
_CLIMBS: Final = re.compile(r"(?:/|\\|%2F|%5C)\.{1,2}(?:/|\\|%2F|%5C|$)", re.IGNORECASE)
_UNRESERVED: Final = re.compile(r"%([0-9A-Fa-f]{2})")
_COMMON: Final = (
    "on off ask allow allowed deny denied yes no true false all none write enforce "
    "audit require_approval enabled disabled"
)
_OF_MODULES: Final = "npm jsr node http https file any read public 0 1"
_OF_NET: Final = "http https any read public private 0 1"
_OF_FILES: Final = "read read-write readwrite rw 0 1"
_WORDS: Final = frozenset(_COMMON.split())
"""No patterns, though they could be names; `npm:all`, `all:443` and `/all` are."""
_MORE_WORDS: Final = {
    "modules": frozenset(_OF_MODULES.split()),
    "net": frozenset(_OF_NET.split()),
    "files": frozenset(_OF_FILES.split()),
}


class Fit(NamedTuple):
    """Whether a pattern fits what is asked for.

    Attributes:
        certain: It does, whatever becomes known later.
        possible: It does, or may once the address or the version is known.
        names: It names the address, or the network that it is in.
        loosely: Only in another spelling, which some servers take for the same: it
            counts for rules that restrict, and for none that allows.
    """

    certain: bool
    possible: bool
    names: bool = False
    loosely: bool = False


_YES: Final = Fit(certain=True, possible=True)
_NAMED: Final = Fit(certain=True, possible=True, names=True)
_NO: Final = Fit(certain=False, possible=False)
_MAYBE: Final = Fit(certain=False, possible=True, names=True)


class Pattern(Protocol):
    """What a rule is about, within its capability."""

    def fit(self, asked: Asked) -> Fit:
        """Compare it with what is asked for."""


class _Any(NamedTuple):
    def fit(self, _asked: Asked) -> Fit:
        return _YES


class _Network(NamedTuple):
    """An IP address, or all that begin alike."""

    network: ipaddress.IPv4Network | ipaddress.IPv6Network
    port: int | None = None
    scheme: str | None = None

    def fit(self, asked: Asked) -> Fit:
        if self.port is not None and asked.facts.get("port") != self.port:
            return _NO
        if self.scheme is not None and asked.facts.get("scheme") != self.scheme:
            return _NO
        address = asked.facts.get("address")
        if address is None:
            address = str(asked.facts.get("host", ""))
            if _ip(address) is None:
                return _MAYBE
        found = _ip(str(address))
        if found is None or found.version != self.network.version:
            return _NO
        return _NAMED if found in self.network else _NO


class _Host(NamedTuple):
    """A host by its name, and what is below it if that begins with `*.`."""

    name: str
    port: int | None = None
    scheme: str | None = None

    def fit(self, asked: Asked) -> Fit:
        facts = asked.facts
        host = str(facts.get("host", "")).removesuffix(".")
        if self.name.startswith("*."):
            fits = host.endswith(self.name[1:])
        else:
            fits = host == self.name
        if not fits or (self.port is not None and facts.get("port") != self.port):
            return _NO
        if self.scheme is not None and facts.get("scheme") != self.scheme:
            return _NO
        # Of a name that is this machine's by itself, no other address is meant.
        local = self.name == "localhost" or self.name.endswith(".localhost")
        address = _ip(str(facts.get("address")))
        here = local and address is not None and address.is_loopback
        return _NAMED if here else _YES


class _Url(NamedTuple):
    """A URL, whose path may have stars; without `?` the query may be any."""

    place: Pattern
    path: re.Pattern[str]
    any_case: re.Pattern[str]
    query: bool

    def fit(self, asked: Asked) -> Fit:
        fit = self.place.fit(asked)
        if not fit.possible:
            return fit
        parts = urlsplit(asked.target)
        query = f"?{parts.query}" if self.query and parts.query else ""
        path = _decoded(parts.path or "/")
        plain = _plain(path)
        fits = self.path.fullmatch(path + query) is not None
        climbs = _CLIMBS.search(path) is not None
        if fits and (not climbs or self.path.fullmatch(plain + query)):
            return fit
        if fits or self.any_case.fullmatch(plain + query):
            return fit._replace(loosely=True)
        return _NO


class _ModuleUrl(NamedTuple):
    """The URL of a module; its facts are those of the URL itself."""

    pattern: _Url

    def fit(self, asked: Asked) -> Fit:
        parts = urlsplit(asked.target)
        if parts.scheme not in PORTS:
            return _NO
        try:
            port = parts.port or PORTS[parts.scheme]
            name = parts.hostname or ""
            host = read_host(f"[{name}]" if ":" in name else name).name
        except ValueError:
            return _NO
        place = {"scheme": parts.scheme, "host": host, "port": port}
        fit = self.pattern.fit(asked._replace(facts={**asked.facts, **place}))
        return _YES._replace(loosely=fit.loosely) if fit.certain else _NO


class _Package(NamedTuple):
    """A package of npm or jsr: `npm:NAME@VERSION`."""

    registry: str
    name: re.Pattern[str]
    version: str

    def fit(self, asked: Asked) -> Fit:
        registry, colon, rest = asked.target.partition(":")
        if not colon or registry != self.registry:
            return _NO
        at = rest.find("@", 1)
        name, version = (rest, "") if at < 0 else (rest[:at], rest[at + 1 :])
        if not self.name.fullmatch(name):
            return _NO
        if asked.facts.get("early") and at < 0 and self.version not in {"", "*"}:
            return Fit(certain=False, possible=True)
        return _YES if _is_version(version, self.version) else _NO


class _Path(NamedTuple):
    """Files, by the path from the context's folder."""

    path: re.Pattern[str]

    def fit(self, asked: Asked) -> Fit:
        return _YES if self.path.fullmatch(asked.target.strip("/")) else _NO


class _Name(NamedTuple):
    name: re.Pattern[str]

    def fit(self, asked: Asked) -> Fit:
        return _YES if self.name.fullmatch(asked.target) else _NO


def read_pattern(capability: str, text: str, words: str = "") -> Pattern:
    """Read a pattern.

    Args:
        capability: What it is for.
        text: The pattern.
        words: What may stand in its place, for the message.

    Raises:
        SettingsError: It can't be understood, or is a word that looks like a setting
            and isn't one: it would be a name of something that nobody has.
    """
    if text in {"*", "**"}:
        return _Any()
    misleading = _WORDS | _MORE_WORDS.get(capability, frozenset())
    made: Pattern | None = None
    if text.lower() not in misleading:
        made = _READERS[capability](text)
    if made is None:
        either = f"{words}, or patterns" if words else "patterns"
        message = (
            f"{text!r} means nothing for {capability}: it takes {either} such as "
            f"{_EXAMPLES[capability]}"
        )
        raise SettingsError(message)
    return made


# -- reading -----------------------------------------------------------------------


def _read_net(text: str) -> Pattern | None:
    if "://" in text:
        return _read_url(text)
    if "/" in text:
        try:
            return _Network(ipaddress.ip_network(text))
        except ValueError:
            return None
    return _read_place(text)


def _read_place(text: str, scheme: str | None = None) -> Pattern | None:
    """Read a host, or an address, with or without a port."""
    try:
        host, port = read_place(text)
        bare = host[1:-1] if host.startswith("[") else host
        if (address := _ip(bare)) is not None:
            return _Network(ipaddress.ip_network(address), port, scheme)
        below = "*." if host.startswith("*.") else ""
        name, numbers = read_host(host.removeprefix(below))
    except ValueError:
        return None
    if numbers is None:
        return _Host(below + name, port, scheme)
    # With a dot at its end it is an address as well; below one there is nothing.
    network = ipaddress.ip_network(numbers)
    return None if below else _Network(network, port, scheme)


def _read_url(text: str) -> _Url | None:
    scheme, _, rest = text.partition("://")
    scheme = scheme.lower()
    if scheme not in PORTS or "@" in rest.partition("/")[0] or "#" in rest:
        return None
    place, slash, path = rest.partition("/")
    made: Pattern | None
    if place == "*":
        made = _Scheme(scheme)
    else:
        made = _read_place(place, scheme)
        if isinstance(made, (_Host, _Network)) and made.port is None:
            made = made._replace(port=PORTS[scheme])
    if made is None:
        return None
    path = _decoded(slash + path) if slash else "/**"
    stars = _stars(path)
    any_case = re.compile(stars, re.IGNORECASE)
    return _Url(made, re.compile(stars), any_case, "?" in path)


class _Scheme(NamedTuple):
    scheme: str

    def fit(self, asked: Asked) -> Fit:
        return _YES if asked.facts.get("scheme") == self.scheme else _NO


def _read_modules(text: str) -> Pattern | None:
    if "://" in text:
        url = _read_url(text)
        return None if url is None else _ModuleUrl(url)
    registry, colon, rest = text.partition(":")
    if not colon:
        registry, rest = "npm", text
    if registry not in {"npm", "jsr"} or not rest:
        return None
    if rest in {"*", "**"}:
        return _Package(registry, re.compile(".*"), "")
    at = rest.find("@", 1)
    name, version = (rest, "") if at < 0 else (rest[:at], rest[at + 1 :])
    if not _NPM_NAME.fullmatch(name) or (at >= 0 and not _may_be_version(version)):
        return None
    return _Package(registry, re.compile(_stars(name)), version)


def _may_be_version(text: str) -> bool:
    return text == "*" or _VERSION.fullmatch(text) is not None


def _is_version(version: str, wanted: str) -> bool:
    """Whether a version is the one that is wanted, or begins with its numbers."""
    if wanted in {"", "*"} or version == wanted:
        return True
    if "-" in wanted or "+" in wanted:
        return False
    numbers = re.split(r"[-+]", version, maxsplit=1)
    if len(numbers) > 1:
        return False  # what comes before a version isn't one of it
    return version.startswith(f"{wanted}.")


def _read_files(text: str) -> Pattern | None:
    path = text.strip("/")
    if not path or "\0" in path or "\\" in path:
        return None
    if any(part in {"", ".", ".."} for part in path.split("/")):
        return None
    return _Path(re.compile(_globs(path), re.DOTALL))


def _read_env(text: str) -> Pattern | None:
    if not _ENV_NAME.fullmatch(text):
        return None
    return _Name(re.compile(_stars(text)))


def _stars(text: str) -> str:
    """Compile a text whose stars stand for any text without `/`, two for any text."""
    parts = re.split(r"(\*+)", text)
    made = ""
    for part in parts:
        if part.startswith("**"):
            made += ".*"
        elif part == "*":
            made += "[^/]*"
        else:
            made += re.escape(part)
    return made


def _globs(path: str) -> str:
    """Compile a path; `a/**` is `a` as well as all below it."""
    if path.endswith("/**"):
        return f"{_globs(path[:-3])}(?:/.*)?"
    made = ""
    parts = path.split("/")
    for place, part in enumerate(parts):
        last = place == len(parts) - 1
        if part == "**":
            made += ".*" if last else "(?:[^/]+/)*"
        else:
            made += _stars(part) + ("" if last else "/")
    return made


def _decoded(path: str) -> str:
    """Return a path without the escapes that mean nothing: `%61` is `a`."""

    def decode(found: re.Match[str]) -> str:
        letter = chr(int(found[1], 16))
        plain = letter.isascii() and (letter.isalnum() or letter in "-._~")
        return letter if plain else found[0].upper()

    return _UNRESERVED.sub(decode, path)


def _plain(path: str) -> str:
    """Return a path as servers may take it that decode it first.

    With slashes that were escaped or turned, each once, and without dots.
    """
    parts: list[str] = []
    *folders, last = _SLASHES.split(path)
    for part in folders:
        if part == "..":
            del parts[-1:]
        elif part not in {"", "."}:
            parts.append(part)
    if last == "..":
        del parts[-1:]
    end = "" if last in {".", ".."} else last
    return "/" + "".join(f"{part}/" for part in parts) + end


def _ip(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Read an address; an IPv4 one that is written as IPv6 is that."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return address if mapped is None else mapped


_READERS: Final[dict[str, Any]] = {
    "modules": _read_modules,
    "net": _read_net,
    "files": _read_files,
    "env": _read_env,
}
_EXAMPLES: Final = {
    "modules": "npm:d3, npm:@scope/*, npm:d3@7 or https://example.com/**",
    "net": "example.com, *.example.com, localhost:8000 or 10.0.0.0/8",
    "files": "data/** or *.csv",
    "env": "NAME or PREFIX_*",
}


def suggested(asked: Asked) -> str:
    """Return a pattern that fits what is asked for, and little else."""
    if asked.capability == "net":
        facts = asked.facts
        if facts.get("network", "public") != "public":
            host = str(facts.get("host"))
            if host == "localhost" and facts["network"] == "loopback":
                return f"{host}:{facts.get('port')}"
            return str(facts.get("address"))
        port = facts.get("port")
        host = str(facts.get("host", asked.target))
        usual = port is None or port == PORTS.get(str(facts.get("scheme")))
        return host if usual else f"{host}:{port}"
    if asked.capability == "modules" and not asked.target.startswith("http"):
        at = asked.target.find("@", asked.target.find(":") + 2)
        return asked.target if at < 0 else asked.target[:at]
    return asked.target
