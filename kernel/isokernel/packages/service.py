"""`Packages`: modules for all contexts of a process.

One event loop uses it. What blocks (files, packs, the graph's own work) runs on
threads; what must not run twice at a time (downloads, metadata) is shared by all who
ask for it, here and, by locks in the cache's folder, in other processes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections import OrderedDict
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from isokernel.errors import (
    ModuleMissingError,
    ModuleSpecifierError,
    PackageCacheError,
    PackageDamagedError,
    PackageError,
    PackageLimitError,
    shorten,
)
from isokernel.packages.answers import text_of
from isokernel.packages.cache import Cache
from isokernel.packages.graphs import GraphBuilder, Root
from isokernel.packages.kept import (
    KeptGraph,
    KeptGraphs,
)
from isokernel.packages.lock import Lock
from isokernel.packages.packer import Packer
from isokernel.packages.packs import Analysis, Code, format_of, left_out
from isokernel.packages.registry import Metadata, Received, Registry, Release
from isokernel.packages.resolver import Need, aliased
from isokernel.packages.specifiers import PackageRequest, location_of, parse_request
from isokernel.packages.supplies import ContextSupplies, too_many
from isokernel.packages.versions import newest, pick

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence

    from isokernel.packages.answers import Graph, GraphAnswer, Place
    from isokernel.packages.packs import Pack
    from isokernel.packages.resolver import Kind
    from isokernel.packages.settings import PackageSettings
    from isokernel.packages.supplies import Access

__all__ = ["Packages"]

T = TypeVar("T")
_PACKS_OPEN_MAX: Final = 128
_ANALYSES_MAX: Final = 2000
_IDLE_SECONDS: Final = 30.0
"""After so long without orders the packer's process ends."""
_COMPILED_BYTES: Final = 4 << 20
"""Of modules that are compiled at a time; downloads wait meanwhile."""
_CLAIM_STEP_SECONDS: Final = 0.05
_LISTED_MAX: Final = 8


class Packages:
    """Registries, cache and packer, for many contexts."""

    def __init__(self, settings: PackageSettings, packer: Packer | None = None) -> None:
        """Start nothing yet.

        Args:
            settings: Where packages come from, and limits.
            packer: What makes packs; stays with the caller. None for one of its own.
        """
        self.settings = settings
        self.cache = Cache(settings.cache_dir, settings.cache_bytes_max)
        self._registry = Registry(settings, self.cache)
        self._own = packer is None
        self._packer = packer or Packer(
            sandbox=settings.sandbox,
            seconds_max=settings.pack_timeout_seconds,
            unpacked_bytes_max=settings.unpacked_bytes_max,
            files_max=settings.files_max,
        )
        self._idle: asyncio.TimerHandle | None = None
        self._open: OrderedDict[str, Pack] = OrderedDict()
        self._analyses: OrderedDict[tuple[Any, ...], Analysis] = OrderedDict()
        self._running: dict[tuple[str, ...], asyncio.Task[Any]] = {}
        self._uncompiled: dict[str, dict[str, None]] = {}
        self._graphs = KeptGraphs(settings.graphs_kept_bytes_max)

    async def close(self) -> None:
        """End all that runs."""
        running = list(self._running.values())
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await self._registry.close()
        if self._idle is not None:
            self._idle.cancel()
        if self._own:
            await asyncio.to_thread(self._packer.close)
        while self._open:
            self._open.popitem()[1].close()

    async def answer(
        self,
        specifiers: Sequence[tuple[str, Mapping[str, str]]],
        access: Access,
        *,
        referrer: str = "",
        kind: Kind = "import",
        known: Sequence[str] = (),
    ) -> GraphAnswer:
        """Return what an import loads; what was built before, if it would be the same.

        Args:
            specifiers: What is imported, with the attributes of the statement.
            access: What the context may have.
            referrer: The URL of the module that imports; empty for a cell.
            kind: How.
            known: URLs of modules that the context has.

        Raises:
            PackageError: Something can't be had; the message says what to do.
            CapabilityDeniedError: A policy denies something.
        """
        supplies = ContextSupplies(self, access, known)
        key = KeptGraphs.key(specifiers, referrer, kind, access.lock)
        found = self._graphs.get(key, asyncio.get_running_loop().time())
        if (
            found is not None
            and supplies.is_locked
            and found.urls.isdisjoint(known)
            and await supplies.repeat(found.steps)
        ):
            return found.answer
        graph = await self._build(supplies, specifiers, referrer, kind, known)
        answer = await asyncio.to_thread(graph.answer, access.bytes_max)
        todo = graph.uncompiled() if self.settings.code_cache else []
        if todo:
            self._compile_later(todo)
        elif supplies.steps.is_kept and not known:
            urls = frozenset(graph.modules)
            self._graphs.put(key, KeptGraph(answer, urls, supplies.steps))
        return answer

    async def _build(
        self,
        supplies: ContextSupplies,
        specifiers: Sequence[tuple[str, Mapping[str, str]]],
        referrer: str,
        kind: Kind,
        known: Sequence[str],
    ) -> Graph:
        graph = GraphBuilder(supplies, self.settings, known)
        roots = [Root(specifier, attributes) for specifier, attributes in specifiers]
        return await graph.build(roots, referrer, kind)

    # -- code ----------------------------------------------------------------------

    def _compile_later(self, places: Sequence[Place]) -> None:
        """Have modules compiled, for who imports them next."""
        for place in places:
            integrity = place.pack.integrity
            todo = self._uncompiled.setdefault(integrity, {})
            todo[place.path] = None
            key = ("code", integrity)
            running = self._running.get(key)
            # One that is over doesn't see what comes before it is forgotten.
            if running is None or running.done():
                self._start(key, partial(self._compile, place.pack, todo))

    async def _compile(self, pack: Pack, todo: dict[str, None]) -> None:
        """Have modules of a pack compiled, and keep that beside the pack.

        Args:
            pack: The pack.
            todo: Their paths; more may come meanwhile.
        """
        while todo:
            batch, size = [], 0
            while todo and size < _COMPILED_BYTES:
                batch.append(todo.popitem()[0])
                size += pack.header.files[batch[-1]].size
            texts = await asyncio.to_thread(_texts, pack, batch)
            try:
                made = await self._work(partial(self._packer.compile, texts))
            except PackageError:  # the packer's process goes on; without their code
                made = [Code()] * len(batch)
            pack.code.update(zip(batch, made, strict=True))
            if not todo:
                with contextlib.suppress(PackageCacheError):  # it may be read-only
                    code = dict(pack.code)
                    await asyncio.to_thread(self.cache.put_code, pack.integrity, code)
        del self._uncompiled[pack.integrity]

    async def read(self, url: str, access: Access) -> bytes:
        """Return a file of a package, as it is.

        Args:
            url: A module's, or of the form that imports have: then the package is one
                that the context asks for, as if it were imported.
            access: What the context may have.

        Raises:
            PackageError: There is none.
            CapabilityDeniedError: A policy denies the package.
        """
        supplies = ContextSupplies(self, access)
        location = location_of(url)
        if location is not None and Lock(access.lock).integrity(*location[:2]):
            await supplies.bring(Need("pack", location.name, location.version))
            pack = supplies.pack(location.name, location.version)
            package, path = location.package, location.path
        else:
            request = parse_request(url)
            path = request.subpath.removeprefix("./")
            if path == ".":
                raise ModuleSpecifierError(url, "it names no file of the package")
            package, _, pack = await supplies.acquire(request.name, request.range, "")
        if pack is None or path not in pack.header.files:
            message = f"{package} has no file {path!r}{left_out(path)}"
            raise ModuleMissingError(message)
        return pack.data(path)

    async def fetch_all(
        self, requests: Sequence[tuple[str, str]], access: Access
    ) -> dict[str, str]:
        """Bring packages with all that they depend on, for use without a network.

        Args:
            requests: Names and ranges.
            access: Whose lock is filled.

        Returns:
            Integrities by name@version.

        Raises:
            PackageError: One that was asked for can't be had.
        """
        supplies = ContextSupplies(self, access)
        found: dict[str, str] = {}
        wave = [(name, wanted, "", True) for name, wanted in requests]
        while wave:
            results = await asyncio.gather(
                *(supplies.acquire(name, wanted, who) for name, wanted, who, _ in wave),
                return_exceptions=True,
            )
            further = []
            for (_, _, who, required), result in zip(wave, results, strict=True):
                if isinstance(result, BaseException):
                    if required or not isinstance(result, Exception):
                        if who:
                            result.args = (f"{result} (which {who} depends on)",)
                        raise result
                    continue
                package, integrity, pack = result
                if package in found:
                    continue
                found[package] = integrity
                further += _dependencies(package, pack)
            wave = further
            if len(found) > self.settings.packages_max:
                raise too_many(self.settings)
        return found

    # -- versions and packs, shared ------------------------------------------------

    async def resolve(
        self, name: str, wanted: str, registry: Registry | None = None
    ) -> str:
        """Return the version that a registry has for a range.

        Args:
            name: The package.
            wanted: The range.
            registry: Which; None for those of the settings.

        Raises:
            PackageError: There is none.
        """
        registry = registry or self._registry
        metadata = await self._metadata(name, registry)
        version = self._pick(name, wanted, metadata)
        if version is None and not self.settings.offline:
            metadata = await self._metadata(
                name, registry, fresh=True
            )  # it may be a new one
            version = self._pick(name, wanted, metadata)
        if version is None:
            raise _no_version(name, wanted, metadata)
        return version

    def _pick(self, name: str, wanted: str, metadata: Metadata) -> str | None:
        releases = metadata.releases
        old = [each for each, release in releases.items() if release.deprecated]
        picked = pick(name, wanted, releases, metadata.tags, old)
        if picked is None or not self.settings.offline:
            return picked
        if self.cache.has_pack(releases[picked].integrity):
            return picked
        # Offline, an older version that is there is better than none.
        there = [
            each
            for each, release in releases.items()
            if self.cache.has_pack(release.integrity)
        ]
        return newest(there, "" if wanted in metadata.tags else wanted) or picked

    async def _metadata(
        self, name: str, registry: Registry, *, fresh: bool = False
    ) -> Metadata:
        key = ("metadata", name, str(fresh), str(id(registry)))
        return await self._shared(
            key,
            lambda: registry.metadata(name, fresh=fresh, expect=self._expect_package),
        )

    def _expect_package(self) -> None:
        """Start the packer while a registry is asked: it takes longer than that."""
        key = ("packer",)
        if key not in self._running:
            self._start(key, lambda: self._work(self._packer.start))

    def fresh_until(self, name: str) -> float:
        """Return when a registry must be asked again for a package's versions."""
        return self._registry.fresh_until(name)

    async def _integrity(self, name: str, version: str, registry: Registry) -> str:
        """Return what the registry has as a version's hash; empty if it has none."""
        release = await self._release(name, version, registry)
        return "" if release is None else release.integrity

    async def _release(
        self, name: str, version: str, registry: Registry
    ) -> Release | None:
        """Return what is known of a version: what was said of it doesn't change."""
        kept = registry.kept(name)
        if kept is None or version not in kept.releases:
            kept = await self._metadata(name, registry)
        return kept.releases.get(version)

    async def pack(
        self,
        name: str,
        version: str,
        integrity: str | None,
        progress: Callable[[Received], Awaitable[None]] | None,
        registry: Registry | None = None,
    ) -> tuple[str, Pack]:
        """Open the pack of a package; download it if the cache hasn't got it.

        Args:
            name: The package.
            version: Exact.
            integrity: What a lock says of it; None for what the registry says.
            progress: Told how the download goes, if it is the one to start it.
            registry: Where it comes from; None for those of the settings.

        Returns:
            Its integrity, and the pack.

        Raises:
            PackageError: It can't be had, or isn't what the lock says.
        """
        registry = registry or self._registry
        expected = integrity or await self._integrity(name, version, registry)
        if expected:
            there = self._open.get(expected) or await asyncio.to_thread(
                self.cache.open_pack, expected
            )
            if there is not None:
                return expected, self._keep(expected, there)
        key = ("download", name, version, str(id(registry)))
        found, pack = await self._shared(
            key, lambda: self._download(name, version, integrity, progress, registry)
        )
        if integrity is not None and found != integrity:
            raise _another(name, version, integrity, found)
        return found, pack

    def opened(self, integrity: str) -> Pack | None:
        """Return a pack that is open."""
        return self._open.get(integrity)

    def _keep(self, integrity: str, pack: Pack) -> Pack:
        """Keep a pack open; the one unused longest goes, when nobody has it."""
        self._open[integrity] = pack
        self._open.move_to_end(integrity)
        while len(self._open) > _PACKS_OPEN_MAX:
            self._open.popitem(last=False)
        return pack

    async def _download(
        self,
        name: str,
        version: str,
        integrity: str | None,
        progress: Callable[[Received], Awaitable[None]] | None,
        registry: Registry,
    ) -> tuple[str, Pack]:
        release = await self._release(name, version, registry)
        if release is None:
            metadata = await self._metadata(name, registry, fresh=True)
            release = metadata.releases.get(version)
        if release is None:
            raise _no_version(name, version, metadata)
        expected = integrity or release.integrity
        if integrity and release.integrity and integrity != release.integrity:
            raise _another(name, version, integrity, release.integrity)
        claim = await self._claim(f"{name}@{version}")
        try:
            if expected:  # another process may have fetched it meanwhile
                pack = await asyncio.to_thread(self.cache.open_pack, expected)
                if pack is not None:
                    return expected, self._keep(expected, pack)
            tarball, found = await registry.tarball(name, version, release, progress)
            if integrity is not None and integrity != found:
                raise _another(name, version, integrity, found)
            try:
                packed = await self._work(lambda: self._packer.pack(tarball))
            except (PackageDamagedError, PackageLimitError) as error:
                error.args = (f"{name}@{version} can't be used: {error}",)
                raise
            pack = await asyncio.to_thread(self.cache.put_pack, found, packed)
        finally:
            if claim is not None:
                os.close(claim)
        return found, self._keep(found, pack)

    async def _claim(self, key: str) -> int | None:
        """Wait until no other process fetches the same; not longer than it may take."""
        end = time.monotonic() + self.settings.download_timeout_seconds
        while time.monotonic() < end:
            claim = await asyncio.to_thread(self.cache.try_claim, key)
            if claim is not None:
                return claim
            await asyncio.sleep(_CLAIM_STEP_SECONDS)
        return None  # it hangs; fetching twice does no harm

    async def _shared(
        self, key: tuple[str, ...], work: Callable[[], Coroutine[Any, Any, T]]
    ) -> T:
        """Do something once for all who ask for it at a time.

        It goes on when the one who asked first is cancelled.
        """
        task = self._running.get(key) or self._start(key, work)
        result: T = await asyncio.shield(task)
        return result

    def _start(
        self, key: tuple[str, ...], work: Callable[[], Coroutine[Any, Any, T]]
    ) -> asyncio.Task[T]:
        task = self._running[key] = asyncio.create_task(work())
        task.add_done_callback(lambda done: self._done(key, done))
        return task

    def _done(self, key: tuple[str, ...], task: asyncio.Task[Any]) -> None:
        if self._running.get(key) is task:
            del self._running[key]
        if not task.cancelled():
            task.exception()  # whoever asked has been told, if still there

    async def _work(self, order: Callable[[], T]) -> T:
        """Have the packer do something; without orders its process ends."""
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        try:
            return await asyncio.to_thread(order)
        finally:
            if self._own:
                loop = asyncio.get_running_loop()
                self._idle = loop.call_later(
                    _IDLE_SECONDS, loop.run_in_executor, None, self._packer.close
                )

    # -- files ---------------------------------------------------------------------

    async def analyse(self, path: str, data: bytes, is_module: bool | None) -> Analysis:  # noqa: FBT001 - as in packs
        """Find what a file that isn't in a pack imports."""
        known = format_of(path, is_module)
        if known not in ("", "esm", "commonjs"):
            return Analysis(known)
        key = (path.rpartition(".")[2], is_module, data)
        found = self._analyses.get(key)
        if found is None:
            found = await self._work(
                lambda: self._packer.analyse(path, data, is_module)
            )
            self._analyses[key] = found
            if len(self._analyses) > _ANALYSES_MAX:
                self._analyses.popitem(last=False)
        return found


def _texts(pack: Pack, paths: Sequence[str]) -> list[tuple[bytes, bool]]:
    """Return texts, and whether they are CommonJS."""
    return [
        (
            text_of(pack.data(path)),
            pack.header.files[path].analysis.format == "commonjs",
        )
        for path in paths
    ]


def _dependencies(package: str, pack: Pack) -> list[tuple[str, str, str, bool]]:
    """List what a package depends on: name, range, the package, whether it must be."""
    manifest = pack.manifest
    found = []
    for name, wanted in manifest.dependencies.items():
        if name in manifest.peers and name in manifest.optional:
            continue
        request = aliased(PackageRequest(name, "", "."), wanted)
        required = name not in manifest.optional
        found.append((request.name, request.range, package, required))
    return found


def _no_version(name: str, wanted: str, metadata: Metadata) -> ModuleMissingError:
    latest = metadata.tags.get("latest")
    tags = ", ".join(shorten(tag, 40) for tag in list(metadata.tags)[:_LISTED_MAX])
    known = f"; its latest version is {latest}" if latest else ""
    known += f", its tags are {tags}" if tags else ""
    what = f"version {shorten(wanted)!r}" if wanted else "version that can be had"
    return ModuleMissingError(f"{name} has no {what}{known}")


def _another(name: str, version: str, expected: str, found: str) -> PackageDamagedError:
    return PackageDamagedError(
        f"{name}@{version} has the hash {found}, but the context's lock says "
        f"{expected}: the registry has another package by that version now; import "
        "another version, or ask those who run the registry"
    )
