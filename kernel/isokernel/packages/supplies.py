"""What the graph of one import is built from: the packages and files of its context.

Everything is decided before it is given, and what was decided, locked and looked up is
noted, so that the same can be asked for another context.
"""

from __future__ import annotations

import asyncio
import hashlib
import posixpath
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, TypeAlias

from isokernel.errors import (
    CapabilityDeniedError,
    IsokernelError,
    ModuleSpecifierError,
    PackageLimitError,
    PackageOfflineError,
    RegistryError,
)
from isokernel.packages.cache import check_integrity, integrity_of
from isokernel.packages.graphs import Source
from isokernel.packages.kept import Decision, LookUp, Resolution, Steps
from isokernel.packages.lock import Lock
from isokernel.packages.npmrc import Npmrc, read_npmrc
from isokernel.packages.progress import Reports
from isokernel.packages.registry import Registry
from isokernel.packages.resolver import AS_BEFORE, Need, file_path
from isokernel.packages.specifiers import location_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from isokernel.packages.packs import Analysis, Pack
    from isokernel.packages.progress import Progress
    from isokernel.packages.service import Packages
    from isokernel.packages.settings import PackageSettings

    Decide: TypeAlias = Callable[[str, Mapping[str, Any]], Awaitable[None]]
    """Raises for what is denied: of a target, and facts."""

__all__ = [
    "Access",
    "Addresses",
    "ContextSupplies",
    "SourceFiles",
    "decide_lock",
    "target_of",
    "too_many",
]

_NPMRC: Final = ".npmrc"
_PROJECT: Final = frozenset({"package.json", _NPMRC})
"""Files of a context that graphs depend on without being made of them."""
_ADDRESS_PARTS: Final = 3
"""Of an address in the lock: integrity, media type, and where it was redirected to."""


class SourceFiles(Protocol):
    """The files of a context, for modules."""

    async def read_module(self, path: str) -> Source | bool:
        """Return a file, True for a folder, False for what isn't there.

        Args:
            path: Below the context's folder, with `/`, without `..`.

        Raises:
            CapabilityDeniedError: Its policy doesn't allow to read it.
        """


class Addresses(Protocol):
    """Where modules at addresses come from: the network of a context."""

    async def get_module(self, url: str) -> Source:
        """Return what an `https:` URL leads to, redirects followed, each allowed.

        Raises:
            CapabilityDeniedError: A policy doesn't allow it.
            IsokernelError: It can't be had.
        """

    async def fetch(
        self, url: str, headers: list[tuple[str, str]], bytes_max: int
    ) -> tuple[int, dict[str, str], bytes]:
        """Send one GET to a registry that the context's files name.

        Raises:
            CapabilityDeniedError: A policy doesn't allow it.
            IsokernelError: It fails.
        """


class Access(NamedTuple):
    """What one context may have.

    Attributes:
        lock: Its lock; changed in place.
        decide: Asked before anything is given: by its target (`npm:NAME@VERSION`,
            `jsr:@SCOPE/NAME@VERSION` or an `https:` URL), and facts, of which
            `dependents` are the targets that brought it. Raises if it is denied.
        files: Its files; None where it has none.
        addresses: Its network; None where it has none.
        progress: Told how far downloads have come.
        bytes_max: See `Graph.answer`.
    """

    lock: dict[str, Any]
    decide: Decide
    files: SourceFiles | None = None
    addresses: Addresses | None = None
    progress: Callable[[Progress], Awaitable[None]] | None = None
    bytes_max: int = 16 << 20


class ContextSupplies:
    """What the graphs of one call are built from; the `Supplies` of a `GraphBuilder`.

    Attributes:
        steps: What was decided, locked and looked up so far.
        is_locked: Whether the lock has all that the context has loaded.
    """

    def __init__(
        self, packages: Packages, access: Access, known: Sequence[str] = ()
    ) -> None:
        """Have nothing yet.

        Args:
            packages: What all contexts share.
            access: What the context may have.
            known: URLs of modules that it has.
        """
        self._packages = packages
        self._access = access
        self._lock = Lock(access.lock)
        locations = filter(None, map(location_of, known))
        expected = {(each.name, each.version) for each in locations}
        self._lock.expect(expected)
        self._packs: dict[tuple[str, str], Pack] = {}
        self._allowed: set[tuple[str, str]] = set()
        self._files: dict[str, Source | bool] = {}
        self._addresses: dict[str, Source] = {}
        self._reports = Reports(access.progress)
        self.steps = Steps()
        # What was loaded before is preferred, and the lock says nothing of it.
        self.is_locked = all(
            f"{name}@{version}" in self._lock.packages for name, version in expected
        )
        self._denied: dict[str, IsokernelError] = {}
        self._project_registry: Registry | None = None

    async def repeat(self, steps: Steps) -> bool:
        """Do what was done for a graph, as if it were built again.

        Returns:
            Whether it would come to the same.
        """
        for step in steps.done:
            if isinstance(step, Resolution):
                self._lock.add(*step.line)
            elif isinstance(step, LookUp):
                await self._bring_file(step.path)
                if self.steps.done[-1:] != [step]:
                    return False
            else:
                try:
                    await self._allow(*step)
                except IsokernelError as error:
                    # Built again, the graph says who imports what was denied.
                    self._denied[step.package] = error
                    return False
        return True

    async def _allow(
        self, package: str, dependent: str, facts: Mapping[str, Any]
    ) -> None:
        """Have it decided whether the context may have a package, unless it was.

        A version is decided once; a name for each package that asks for it.
        """
        if package in self._denied:
            raise self._denied[package]
        key = package, dependent if facts.get("early") else ""
        if key in self._allowed:
            return
        await self._decide(package, dependent, facts)
        self._allowed.add(key)
        self.steps.done.append(Decision(package, dependent, facts))

    @property
    def has_files(self) -> bool:
        """Whether the context has files at all."""
        return self._access.files is not None

    def version(self, name: str, wanted: str) -> str | None:
        """Return the version for a range, if the lock has it."""
        version = self._lock.version(name, wanted)
        if version is not None:
            line = self._lock.unwritten(name, wanted, version)
            if line is not None:
                self._lock.add(*line)
                self.steps.done.append(Resolution(line))
        return version

    def dependents(self, package: str) -> list[str]:
        """Return the packages that brought one, the one next to it first."""
        return self._lock.dependents(package)

    def any_version(self, name: str, wanted: str) -> str | None:
        """Return a version that the context has anyway."""
        return self._lock.version(name, wanted) or self._lock.any_version(name)

    def pack(self, name: str, version: str) -> Pack | None:
        """Return an open pack."""
        return self._packs.get((name, version))

    def file(self, path: str) -> Source | bool | None:
        """Return a file of the context; True for a folder, None if not looked up."""
        return self._files.get(path)

    def address(self, url: str) -> Source | None:
        """Return what came from an address."""
        return self._addresses.get(url)

    async def analyse(self, path: str, data: bytes, is_module: bool | None) -> Analysis:  # noqa: FBT001 - as in packs
        """Find what a file that isn't in a pack imports."""
        return await self._packages.analyse(path, data, is_module)

    async def bring(self, need: Need) -> None:
        """Bring what a graph needs."""
        if need.kind == "version":
            await self.acquire(need.name, need.detail, need.dependent)
        elif need.kind == "pack":
            await self._bring_pack(need.name, need.detail, need.dependent)
        elif need.kind == "file":
            await self._bring_file(need.name)
        else:
            await self._bring_address(need.name, need.detail)

    async def acquire(
        self, name: str, wanted: str, dependent: str
    ) -> tuple[str, str, Pack]:
        """Find the version for a range, and bring the package."""
        version = self._lock.version(name, wanted)
        if version is None:
            # What is denied in any version isn't asked for.
            await self._allow(name, dependent, {"early": True})
            registry = await self._registry(name)
            version = await self._packages.resolve(name, wanted, registry)
            if registry is None:
                end = self._packages.fresh_until(name)
                self.steps.end = min(self.steps.end, end)
            else:
                self.steps.is_kept = False
            # An import beside this one may have found another one meanwhile.
            version = self._lock.version(name, wanted) or version
        integrity, pack = await self._bring_pack(name, version, dependent)
        line = (name, wanted, version, integrity, dependent)
        self._lock.add(*line)
        self.steps.done.append(Resolution(line))
        if len(self._lock.packages) > self._packages.settings.packages_max:
            raise too_many(self._packages.settings)
        return f"{name}@{version}", integrity, pack

    async def _bring_pack(
        self, name: str, version: str, dependent: str
    ) -> tuple[str, Pack]:
        await self._allow(f"{name}@{version}", dependent, {"version": version})
        integrity = self._lock.integrity(name, version)
        self._reports.needs(f"{name}@{version}")
        there = self._packages.opened(integrity or "")
        registry = await self._registry(name) if there is None else None
        integrity, pack = await self._packages.pack(
            name, version, integrity, self._reports.received, registry
        )
        self._packs[name, version] = pack
        await self._reports.has(f"{name}@{version}")
        return integrity, pack

    async def _registry(self, name: str) -> Registry | None:
        """Return the registry that the context's own files name for a package.

        It is asked by the context's network: what code could not reach, its files can't
        have reached either.
        """
        project = await self._project_npmrc()
        base = self._packages.settings.npmrc
        if not project.names(name, base):
            return None
        self.steps.is_kept = False
        if self._project_registry is None:
            addresses = self._access.addresses
            if addresses is None:
                message = (
                    f"{_NPMRC} in the context's folder names a registry for {name}, "
                    "and the context has no network"
                )
                raise RegistryError(message)
            settings = self._packages.settings
            lent = base.settings if settings.lends_credentials else {}
            npmrc = Npmrc({**lent, **project.settings})
            self._project_registry = Registry(
                settings, self._packages.cache, npmrc, addresses.fetch
            )
        return self._project_registry

    async def _project_npmrc(self) -> Npmrc:
        if self._access.files is None:
            return Npmrc()
        if _NPMRC not in self._files:
            await self._bring_file(_NPMRC)
        found = self._files[_NPMRC]
        if isinstance(found, bool):
            return Npmrc()
        return read_npmrc(found.data.decode("utf-8", "replace"))

    async def _decide(
        self, package: str, dependent: str, facts: Mapping[str, Any]
    ) -> None:
        dependents = self._lock.dependents(package)
        if dependent != AS_BEFORE:
            dependents = [dependent, *self._lock.dependents(dependent)]
        await _decide(package, dependents, facts, self._access.decide)

    async def _bring_file(self, path: str) -> None:
        files = self._access.files
        found: Source | bool = False
        try:
            if files is not None:
                found = await files.read_module(path)
        except CapabilityDeniedError:
            # What nobody has asked for needn't be there.
            if posixpath.basename(path) not in _PROJECT:
                raise
        self._files[path] = found
        if isinstance(found, Source) and found.url:
            self._files[file_path(found.url)] = found  # where links lead
        if isinstance(found, bool):
            self.steps.done.append(LookUp(path, "folder" if found else ""))
        elif path in _PROJECT:
            digest = hashlib.sha256(found.data).hexdigest()
            self.steps.done.append(LookUp(path, digest))
        else:
            self.steps.is_kept = False

    async def _bring_address(self, url: str, integrity: str) -> None:
        self.steps.is_kept = False
        await self._access.decide(url, {"integrity": integrity})
        cache = self._packages.cache
        locked = (self._lock.address(url) or "").split(" ")
        if len(locked) == _ADDRESS_PARTS:
            data = await asyncio.to_thread(cache.address, locked[0])
            if data is not None:
                self._keep_address(url, Source(data, locked[1], locked[2]))
                return
        if self._packages.settings.offline:
            message = (
                f"{url} isn't in the cache, and nothing may be fetched "
                "(package_offline)"
            )
            raise PackageOfflineError(message)
        if self._access.addresses is None:
            why = "modules at addresses need a network, which the context hasn't got"
            raise ModuleSpecifierError(url, why)
        source = await self._access.addresses.get_module(url)
        for expected, says, then in (
            (integrity, "its import", "if you trust it, import it with that hash"),
            (locked[0], "the context's lock", "import it in a new context"),
        ):
            if expected:
                check_integrity(url, source.data, expected, says, then)
        found = integrity_of(source.data)
        await asyncio.to_thread(cache.put_address, found, source.data)
        self._lock.add_address(url, f"{found} {source.media_type} {source.url or url}")
        self._keep_address(url, source)

    def _keep_address(self, url: str, source: Source) -> None:
        self._addresses[url] = source
        self._addresses.setdefault(source.url or url, source)


def target_of(package: str) -> str:
    """Return what policies call a package: `npm:d3@7.9.0`, `jsr:@std/path@1.0.0`."""
    name = package.removeprefix("@jsr/")
    if name == package:
        return f"npm:{package}"
    scope, _, rest = name.partition("__")
    return f"jsr:@{scope}/{rest}"


async def decide_lock(content: Mapping[str, Any], decide: Decide) -> None:
    """Have it decided whether a context may have all packages of a lock.

    Args:
        content: The lock of another context.
        decide: As `Access.decide`; raises what this raises.
    """
    lock = Lock(dict(content))
    for package in lock.packages:
        version = package.rpartition("@")[2]
        dependents = lock.dependents(package)
        await _decide(package, dependents, {"version": version}, decide)
    for address in lock.listed_addresses():
        await decide(address["url"], {"integrity": address["integrity"]})


async def _decide(
    package: str, dependents: Sequence[str], facts: Mapping[str, Any], decide: Decide
) -> None:
    chain = [target_of(each) for each in dependents if each]
    target = target_of(package)
    name = target.partition(":")[2]
    at = name.find("@", 1)
    facts = {"dependents": chain, "name": name if at < 0 else name[:at], **facts}
    await decide(target, facts)


def too_many(settings: PackageSettings) -> PackageLimitError:
    """Make the error of a context that would have more packages than it may."""
    return PackageLimitError(
        f"the context has more than {settings.packages_max} packages (packages_max)"
    )
