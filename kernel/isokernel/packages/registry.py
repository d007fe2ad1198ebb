"""What registries say of packages, and their tarballs, over HTTP.

A registry may be down, slow or wrong: each way it fails is an error that names the
registry, what happened, and what to do next. What comes is bounded in size and time.
Credentials go only to the places that .npmrc has them for, never along a redirect.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hashlib
import ipaddress
import math
import ssl
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias
from urllib.parse import quote, urljoin, urlsplit

import httpx
import msgspec

from isokernel._version import __version__
from isokernel.errors import (
    CapabilityDeniedError,
    CapabilityError,
    ModuleMissingError,
    PackageDamagedError,
    PackageError,
    PackageLimitError,
    PackageOfflineError,
    RegistryError,
    shorten,
)
from isokernel.packages.cache import integrity_of
from isokernel.packages.npmrc import NPM_REGISTRY
from isokernel.timeouts import timeout

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from isokernel.packages.cache import Cache
    from isokernel.packages.npmrc import Npmrc
    from isokernel.packages.settings import PackageSettings

__all__ = ["Metadata", "Received", "Registry", "Release"]

_ABBREVIATED: Final = (
    "application/vnd.npm.install-v1+json; q=1.0, application/json; q=0.8"
)
_REDIRECTS_MAX: Final = 5
_REDIRECT: Final = frozenset({301, 302, 303, 307, 308})
_AGAIN: Final = frozenset({408, 429, 500, 502, 503, 504})
_PAUSE_SECONDS: Final = 0.5
"""Before a request is sent again; twice as long each time."""
_PAUSE_SECONDS_MAX: Final = 10.0
_OK: Final = 200
_NOT_MODIFIED: Final = 304
_MISSING: Final = frozenset({404, 410})
_REFUSED: Final = frozenset({401, 403})


Fetch: TypeAlias = """Callable[
    [str, list[tuple[str, str]], int],
    Awaitable[tuple[int, dict[str, str], bytes]],
]"""
"""Sends a GET with headers; returns status, headers and a body, of so many bytes at
most. It follows no redirect."""


class Release(msgspec.Struct, array_like=True, frozen=True):
    """One version of a package, as the registry has it.

    Attributes:
        tarball: Its URL.
        integrity: The SHA-512 of the tarball; empty for some old packages.
        shasum: Its SHA-1, for those.
        deprecated: Whether its authors advise against it.
    """

    tarball: str
    integrity: str = ""
    shasum: str = ""
    deprecated: bool = False


class Metadata(msgspec.Struct, array_like=True, frozen=True):
    """What is kept of what a registry says about a package.

    Attributes:
        tags: Versions by tag.
        releases: By version.
        etag: The registry's name for this answer.
    """

    tags: dict[str, str]
    releases: dict[str, Release]
    etag: str = ""


class Received(NamedTuple):
    """How far a download has come.

    Attributes:
        what: The package, as name@version.
        bytes_done: What has come.
        bytes_total: What will have come; None if the registry doesn't say.
    """

    what: str
    bytes_done: int
    bytes_total: int | None


class _Request(NamedTuple):
    """What is asked for, and how much may come."""

    url: str
    what: str
    bytes_max: int
    setting: str
    headers: dict[str, str]
    progress: Callable[[Received], Awaitable[None]] | None = None


class _Answer(NamedTuple):
    status: int
    headers: httpx.Headers
    body: bytes


class Registry:
    """The registries of one .npmrc. Belongs to one event loop."""

    def __init__(
        self,
        settings: PackageSettings,
        cache: Cache,
        npmrc: Npmrc | None = None,
        fetch: Fetch | None = None,
    ) -> None:
        """Connect to nothing yet.

        Args:
            settings: Limits.
            cache: Where what they say is kept.
            npmrc: Which; None for those of the settings.
            fetch: Sends requests in place of a client of our own: a context's network,
                for registries that its own files name.
        """
        self._settings = settings
        self._npmrc = settings.npmrc if npmrc is None else npmrc
        self._fetch = fetch
        self._cache = cache
        self._clients: dict[bool, httpx.AsyncClient] = {}
        self._turns = asyncio.Semaphore(settings.downloads_max)
        self._kept: dict[str, tuple[Metadata, float]] = {}

    async def close(self) -> None:
        """Close all connections."""
        clients, self._clients = self._clients, {}
        for client in clients.values():
            await client.aclose()

    # -- metadata ------------------------------------------------------------------

    def kept(self, name: str) -> Metadata | None:
        """Return what is in memory of a package, however old it is."""
        found = self._kept.get(name)
        return None if found is None else found[0]

    def fresh_until(self, name: str) -> float:
        """Return when the registry must be asked again, in the loop's time."""
        if self._settings.offline:
            return math.inf
        found = self._kept.get(name)
        when = -math.inf if found is None else found[1]
        return when + self._settings.metadata_fresh_seconds

    async def metadata(
        self,
        name: str,
        *,
        fresh: bool = False,
        expect: Callable[[], object] | None = None,
    ) -> Metadata:
        """Return what the registry says about a package, from the cache if it can.

        When the registry can't be reached, what it said last is as good as it gets.

        Args:
            name: The package.
            fresh: Ask the registry, however young what is kept is.
            expect: Called before the registry is asked about a package of which
                nothing is known yet: most likely it will be downloaded.

        Raises:
            ModuleMissingError: It has no such package.
            PackageOfflineError: Nothing is kept, and it may not be asked.
            RegistryError: Nothing is kept, and it fails.
        """
        registry = self._npmrc.registry(name)
        kept, age = await self._from_cache(registry, name)
        young = age < self._settings.metadata_fresh_seconds and not fresh
        if kept is not None and (young or self._settings.offline):
            return kept
        if self._settings.offline:
            raise _offline(name)
        if kept is None and expect is not None:
            expect()
        try:
            found = await self._ask(registry, name, kept)
        except RegistryError:
            if kept is None:
                raise
            return kept
        self._remember(name, found)
        return found

    async def _from_cache(
        self, registry: str, name: str
    ) -> tuple[Metadata | None, float]:
        loop = asyncio.get_running_loop()
        if name in self._kept:
            metadata, when = self._kept[name]
            return metadata, loop.time() - when
        if self._is_private(registry):
            return None, 0.0
        found = await asyncio.to_thread(self._cache.metadata, registry, name)
        if found is None:
            return None, 0.0
        data, age = found
        try:
            metadata = msgspec.json.decode(data, type=Metadata)
        except msgspec.MsgspecError:
            return None, 0.0
        self._kept[name] = (metadata, loop.time() - age)
        return metadata, age

    def _remember(self, name: str, metadata: Metadata) -> None:
        if len(self._kept) >= self._settings.packages_max:
            self._kept.clear()
        self._kept[name] = (metadata, asyncio.get_running_loop().time())

    async def _ask(self, registry: str, name: str, kept: Metadata | None) -> Metadata:
        url = f"{registry}{quote(name, safe='@')}"
        headers = {"Accept": _ABBREVIATED}
        if kept is not None and kept.etag:
            headers["If-None-Match"] = kept.etag
        bytes_max = self._settings.metadata_bytes_max
        answer = await self._get(
            _Request(url, name, bytes_max, "metadata_bytes_max", headers)
        )
        if answer.status == _NOT_MODIFIED and kept is not None:
            await asyncio.to_thread(self._cache.confirm_metadata, registry, name)
            return kept
        if answer.status in _MISSING:
            message = f"there is no package {name!r} at {registry}: check its spelling"
            raise ModuleMissingError(message)
        if answer.status != _OK:
            raise _refused(url, answer.status)
        found = await asyncio.to_thread(_read_metadata, registry, name, answer)
        if not self._is_private(registry):
            data = msgspec.json.encode(found)
            await asyncio.to_thread(self._cache.put_metadata, registry, name, data)
        return found

    def _is_private(self, registry: str) -> bool:
        """Whether what it says is for one context alone, which has credentials."""
        return self._fetch is not None and bool(self._npmrc.authorization(registry))

    # -- tarballs ------------------------------------------------------------------

    async def tarball(
        self,
        name: str,
        version: str,
        release: Release,
        progress: Callable[[Received], Awaitable[None]] | None = None,
    ) -> tuple[bytes, str]:
        """Download a package.

        Returns:
            The tarball, whose hash is what the registry says, and its integrity.

        Raises:
            PackageDamagedError: Its hash is another one.
            PackageLimitError: It is too large.
            RegistryError: The registry fails.
        """
        package = f"{name}@{version}"
        if self._settings.offline:
            raise _offline(package)
        url = self._tarball_url(name, release.tarball)
        bytes_max = self._settings.tarball_bytes_max
        answer = await self._get(
            _Request(url, package, bytes_max, "tarball_bytes_max", {}, progress)
        )
        if answer.status in _MISSING:
            message = f"the registry has no file of {package} at {url}"
            raise ModuleMissingError(message)
        if answer.status != _OK:
            raise _refused(url, answer.status)
        integrity = await asyncio.to_thread(integrity_of, answer.body)
        _check(package, url, answer.body, integrity, release)
        return answer.body, integrity

    def _tarball_url(self, name: str, given: str) -> str:
        """Return where a tarball is fetched from.

        Registries that copy npm's hand on its URLs; npm asks the registry itself then.
        Any other place must be a public one: what a registry says can't make us ask
        around in our own network.
        """
        registry = urlsplit(self._npmrc.registry(name))
        url = urljoin(registry.geturl(), given)
        parts = urlsplit(url)
        if parts.netloc == urlsplit(NPM_REGISTRY).netloc != registry.netloc:
            base = f"{registry.scheme}://{registry.netloc}{registry.path.rstrip('/')}"
            return f"{base}{parts.path}"
        if parts.netloc != registry.netloc or parts.scheme != registry.scheme:
            _refuse_private(url)
        return url

    # -- HTTP ----------------------------------------------------------------------

    async def _get(self, request: _Request) -> _Answer:
        """Send a request, again if the registry fails in a way that may pass."""
        url = request.url
        pause = _PAUSE_SECONDS
        seconds = self._settings.download_timeout_seconds
        for left in range(self._settings.retries_max, -1, -1):
            try:
                async with self._turns, timeout(seconds):
                    answer = await self._follow(request)
                if answer.status not in _AGAIN or not left:
                    return answer
                pause = _pause_of(answer.headers, pause)
            except asyncio.TimeoutError as error:
                raise _slow(url, seconds, "package_download_timeout_seconds") from error
            except httpx.InvalidURL as error:
                raise _unreachable(url, error) from error
            except httpx.TimeoutException as error:
                if not left:
                    silent = self._settings.request_timeout_seconds
                    setting = "package_request_timeout_seconds"
                    raise _slow(url, silent, setting) from error
            except (httpx.HTTPError, OSError) as error:
                if not left:
                    raise _unreachable(url, error) from error
            await asyncio.sleep(pause)
            pause = min(2 * pause, _PAUSE_SECONDS_MAX)
        raise AssertionError  # the last turn returns or raises

    async def _follow(self, request: _Request) -> _Answer:
        """Send a request, and follow where it is redirected to."""
        first, url = urlsplit(request.url), request.url
        for _ in range(_REDIRECTS_MAX + 1):
            headers = dict(request.headers)
            if authorization := self._npmrc.authorization(url):
                headers["Authorization"] = authorization
            answer = await self._send(url, headers, request)
            if answer.status not in _REDIRECT:
                return answer
            target = urljoin(url, answer.headers.get("Location", ""))
            if first.scheme == "https" and urlsplit(target).scheme != "https":
                message = f"the registry redirects {url} to {target}, without TLS"
                raise RegistryError(message)
            if urlsplit(target).netloc != first.netloc:
                _refuse_private(target)
            url = target
        message = f"the registry redirects {url} more than {_REDIRECTS_MAX} times"
        raise RegistryError(message)

    async def _send(
        self, url: str, headers: dict[str, str], request: _Request
    ) -> _Answer:
        """Send one request; of a redirect, the body is left out."""
        if self._fetch is not None:
            try:
                status, given, body = await self._fetch(
                    url, list(headers.items()), request.bytes_max
                )
            except (CapabilityDeniedError, PackageError):
                raise
            except CapabilityError as error:
                raise _unreachable(url, error) from error
            return _Answer(status, httpx.Headers(given), body)
        client = await self._client(url)
        async with client.stream("GET", url, headers=headers) as response:
            body = b""
            if response.status_code not in _REDIRECT:
                body = await _read(response, request)
            return _Answer(response.status_code, response.headers, body)

    async def _client(self, url: str) -> httpx.AsyncClient:
        secure = not url.startswith("http:")
        if secure not in self._clients:
            tls = await asyncio.to_thread(_trusted) if secure else _trusting_nobody()
            if secure not in self._clients:
                self._clients[secure] = httpx.AsyncClient(
                    timeout=self._settings.request_timeout_seconds,
                    headers={"User-Agent": f"isokernel/{__version__}"},
                    follow_redirects=False,
                    verify=tls,
                )
        return self._clients[secure]


@functools.cache
def _trusted() -> ssl.SSLContext:
    """Read whom to trust: 20 to 50 ms of work, once for all registries."""
    return httpx.create_ssl_context()


@functools.cache
def _trusting_nobody() -> ssl.SSLContext:
    """For requests without TLS."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


async def _read(response: httpx.Response, request: _Request) -> bytes:
    """Read a body, which is no longer than allowed, compressed or not."""
    length = response.headers.get("Content-Length", "")
    total = int(length) if length.isdecimal() else None
    if response.headers.get("Content-Encoding"):
        total = None
    chunks: list[bytes] = []
    done = 0
    if total is not None and total > request.bytes_max:
        raise _too_large(request)
    async for chunk in response.aiter_bytes():
        done += len(chunk)
        if done > request.bytes_max:
            raise _too_large(request)
        chunks.append(chunk)
        if request.progress is not None:
            await request.progress(Received(request.what, done, total))
    return b"".join(chunks)


def _read_metadata(registry: str, name: str, answer: _Answer) -> Metadata:
    """Take what is needed out of a registry's answer."""
    try:
        content = msgspec.json.decode(answer.body)
    except (ValueError, RecursionError) as error:
        message = f"what {registry} says of {name} isn't JSON: {error}"
        raise RegistryError(message) from error
    versions = content.get("versions") if isinstance(content, dict) else None
    if not isinstance(versions, dict) or content.get("name") not in (name, None):
        message = (
            f"what {registry} says of {name} isn't about that package; is it a "
            "registry of npm packages?"
        )
        raise RegistryError(message)
    tags = content.get("dist-tags")
    releases = {
        version: release
        for version, entry in versions.items()
        if (release := _release(entry)) is not None
    }
    return Metadata(
        {tag: text for tag, text in tags.items() if isinstance(text, str)}
        if isinstance(tags, dict)
        else {},
        releases,
        answer.headers.get("ETag", ""),
    )


def _release(entry: Any) -> Release | None:
    dist = entry.get("dist") if isinstance(entry, dict) else None
    if not isinstance(dist, dict) or not isinstance(dist.get("tarball"), str):
        return None
    # Several hashes may be given, one for each algorithm.
    given = str(dist.get("integrity") or "").split()
    integrity = next((text for text in given if text.startswith("sha512-")), "")
    return Release(
        dist["tarball"],
        integrity.partition("?")[0],
        str(dist.get("shasum") or ""),
        bool(entry.get("deprecated")),
    )


def _check(
    package: str, url: str, body: bytes, integrity: str, release: Release
) -> None:
    """Compare a tarball with the hash that the registry has of it."""
    if release.integrity:
        expected, found = release.integrity, integrity
    elif release.shasum:
        expected = release.shasum
        found = hashlib.sha1(body, usedforsecurity=False).hexdigest()
    else:
        message = f"the registry has no hash of {package}, so it can't be checked"
        raise PackageDamagedError(message)
    if expected != found:
        message = (
            f"{package} from {url} has the hash {found}, not {expected} as the "
            "registry says: it was damaged or exchanged on the way; try again, or ask "
            "those who run the registry"
        )
        raise PackageDamagedError(message)


def _refuse_private(url: str) -> None:
    parts = urlsplit(url)
    host = parts.hostname or ""
    private = host == "localhost" or host.endswith((".localhost", ".internal"))
    with contextlib.suppress(ValueError):  # it is a name
        private = private or not ipaddress.ip_address(host).is_global
    if parts.scheme not in ("https", "http") or not host or private:
        message = f"the registry names an address that isn't public: {shorten(url)}"
        raise RegistryError(message)


def _pause_of(headers: httpx.Headers, pause: float) -> float:
    wanted = headers.get("Retry-After", "")
    return min(float(wanted), _PAUSE_SECONDS_MAX) if wanted.isdecimal() else pause


def _place(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _unreachable(url: str, error: Exception) -> RegistryError:
    why = str(error) or type(error).__name__
    return RegistryError(
        f"the registry {_place(url)} can't be reached ({why}): check the network, and "
        "`registry` in .npmrc"
    )


def _slow(url: str, seconds: float, setting: str) -> RegistryError:
    return RegistryError(
        f"the registry {_place(url)} took more than {seconds:g} s for {url} "
        f"({setting}): try again, or allow more"
    )


def _refused(url: str, status: int) -> RegistryError:
    if status in _REFUSED:
        place = urlsplit(url).netloc
        return RegistryError(
            f"the registry refuses {url} with status {status}: a token for it goes "
            f"into .npmrc, as //{place}/:_authToken=…"
        )
    return RegistryError(
        f"the registry answers {url} with status {status}: try again later"
    )


def _too_large(request: _Request) -> PackageLimitError:
    return PackageLimitError(
        f"{request.what} is more than {request.bytes_max} bytes "
        f"(package_{request.setting})"
    )


def _offline(what: str) -> PackageOfflineError:
    return PackageOfflineError(
        f"{what} isn't in the cache of packages, and nothing may be fetched "
        f"(package_offline): fetch it with `isokernel packages add {what}` first"
    )
