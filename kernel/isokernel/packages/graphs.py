"""The modules that one import loads: what it names, and all that those import.

In each wave, everything that can be resolved with what is there is resolved, on a
thread; what is missing for the rest is then brought at a time. So a package with 30
dependencies takes as many round trips to the registry as they are deep.
"""

from __future__ import annotations

import asyncio
import hashlib
import posixpath
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol
from urllib.parse import unquote_to_bytes, urlsplit

from isokernel.errors import (
    IsokernelError,
    ModuleMissingError,
    ModuleSpecifierError,
    PackageLimitError,
    shorten,
)
from isokernel.packages.answers import Graph, GraphModule, Place
from isokernel.packages.cache import check_integrity
from isokernel.packages.manifests import EMPTY, Manifest
from isokernel.packages.packs import Analysis, left_out
from isokernel.packages.resolver import (
    AS_BEFORE,
    FILES,
    Kind,
    Need,
    Needed,
    Resolver,
    Tree,
    file_path,
)
from isokernel.packages.specifiers import NPM, location_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from isokernel.packages.packs import Pack
    from isokernel.packages.settings import PackageSettings

__all__ = ["GraphBuilder", "Root", "Source", "Supplies"]

_CHAIN_MAX: Final = 4
"""How many of the modules that led to an error are named."""
_TYPESCRIPT: Final = (".ts", ".mts", ".cts", ".tsx", ".jsx")
_DATA_FORMATS: Final = {
    "text/javascript": "esm",
    "application/javascript": "esm",
    "application/json": "json",
    "text/plain": "text",
}


class Root(NamedTuple):
    """What a cell or a module imports.

    Attributes:
        specifier: As it is written.
        attributes: Of the import statement.
    """

    specifier: str
    attributes: Mapping[str, str]


class Source(NamedTuple):
    """A file that isn't in a pack.

    Attributes:
        data: Its bytes.
        media_type: What the server said that it is; empty for files.
        url: Where it came from in the end, after redirects or links.
    """

    data: bytes
    media_type: str = ""
    url: str = ""


class Supplies(Protocol):
    """What a graph is built from: the service, for one context."""

    async def bring(self, need: Need) -> None:
        """Bring something that was needed.

        Raises:
            PackageError: It can't be had. The graph remembers that.
        """

    def version(self, name: str, wanted: str) -> str | None:
        """Return the version for a range, if it is known."""

    def any_version(self, name: str, wanted: str) -> str | None:
        """Return a version that the context has anyway."""

    def dependents(self, package: str) -> list[str]:
        """Return the packages that brought one, the one next to it first."""

    def pack(self, name: str, version: str) -> Pack | None:
        """Return an open pack."""

    def file(self, path: str) -> Source | bool | None:
        """Return a file of the context; True for a folder, None if not looked up."""

    def address(self, url: str) -> Source | None:
        """Return what came from an address."""

    @property
    def has_files(self) -> bool:
        """Whether the context has files at all."""

    async def analyse(self, path: str, data: bytes, is_module: bool | None) -> Analysis:  # noqa: FBT001 - as in packs
        """Find what a file that isn't in a pack imports."""


class _Edge(NamedTuple):
    """An import: from what, of what."""

    referrer: str
    specifier: str
    attributes: Mapping[str, str]
    kind: Kind
    required: bool
    """Whether the graph fails without it: not what CommonJS may require."""


def _beside(place: Place, specifier: str) -> Place | None:
    """Return the file that a specifier means, if it is as plain as `./x.js`.

    Most are, in packages of hundreds of modules; the resolver takes 40 times as
    long. No name of a file has `.` or `..` between its slashes, so what is found
    is what is meant.
    """
    if not specifier.startswith("./") or place.pack.has_browser_map:
        return None
    path = f"{place.path[: place.path.rfind('/') + 1]}{specifier[2:]}"
    return place._replace(path=path) if path in place.pack.header.files else None


def _url_of(place: Place) -> str:
    return f"{NPM}{place.package}/{place.path}"


def _edges(module: GraphModule) -> list[_Edge]:
    found = [
        _Edge(module.url, specifier, attributes, "import", required=True)
        for specifier, attributes in module.analysis.imports
    ]
    found += [
        _Edge(module.url, specifier, {}, "require", required=False)
        for specifier in module.analysis.requires
    ]
    return found


class GraphBuilder:
    """Builds one graph."""

    def __init__(
        self, supplies: Supplies, settings: PackageSettings, known: Sequence[str] = ()
    ) -> None:
        """Begin with nothing.

        Args:
            supplies: What it is built from.
            settings: Conditions and limits.
            known: URLs of modules that the context has: they are not sent again.
        """
        self.supplies = supplies
        self._settings = settings
        self._known = frozenset(known)
        self._resolver = Resolver(_View(self), settings.conditions)
        self._modules: dict[str, GraphModule] = {}
        self._todo: list[_Edge] = []
        self._waiting: dict[Need, list[_Edge]] = {}
        self._analysed: dict[str, Analysis] = {}
        self._resolved: dict[tuple[str, str, Kind], str] = {}
        self._bytes = 0
        self._failed: dict[Need, IsokernelError] = {}

    async def build(self, roots: Sequence[Root], referrer: str, kind: Kind) -> Graph:
        """Return the graph.

        Args:
            roots: What is imported.
            referrer: The URL of the module that imports it; empty for a cell.
            kind: How.

        Raises:
            PackageError: Something of it can't be had.
        """
        edges = [_Edge(referrer, *root, kind, required=True) for root in roots]
        self._todo += edges
        while self._todo:
            await asyncio.to_thread(self._advance)
            waiting, self._waiting = self._waiting, {}
            results = await asyncio.gather(
                *(self._bring(need) for need in waiting), return_exceptions=True
            )
            for result in results:
                if isinstance(result, BaseException):
                    raise result
            for stuck in waiting.values():
                self._todo += stuck
        found = {
            edge.specifier: self._resolved[edge.referrer, edge.specifier, edge.kind]
            for edge in edges
        }
        # Dependencies come after what imports them; a context compiles in this order.
        return Graph(found, self._modules)

    async def _bring(self, need: Need) -> None:
        try:
            if need.kind == "analysis":
                await self._analyse(need.name)
            else:
                await self.supplies.bring(need)
        except IsokernelError as error:
            self._failed[need] = error

    # -- a wave --------------------------------------------------------------------

    def _advance(self) -> None:
        """Resolve what can be resolved."""
        while self._todo:
            edge = self._todo.pop()
            try:
                near = self._near(edge)
                url = self._url(edge) if near is None else _url_of(near)
                module = self._load(url, edge, near)
            except Needed as needed:
                self._waiting.setdefault(needed.need, []).append(edge)
                continue
            except IsokernelError as error:
                if edge.required:
                    self._explain(error, edge)
                    raise
                continue
            referrer = self._modules.get(edge.referrer)
            if referrer is not None:
                referrer.imports[edge.specifier] = url
            self._resolved[edge.referrer, edge.specifier, edge.kind] = url
            if module is not None:
                module.importer = edge.referrer
                self._todo += _edges(module)

    def _near(self, edge: _Edge) -> Place | None:
        """Return a file beside the one that imports it, in the same pack."""
        referrer = self._modules.get(edge.referrer)
        if referrer is None or referrer.place is None or edge.attributes:
            return None
        return _beside(referrer.place, edge.specifier)

    def _url(self, edge: _Edge) -> str:
        url = self._resolver.resolve(edge.specifier, edge.referrer, edge.kind)
        integrity = edge.attributes.get("integrity")
        if url.startswith("https:"):
            if integrity or url not in self._known:
                url = self._source(url, edge).url or url  # what it is redirected to
        elif integrity:
            why = (
                "integrity is for modules at https: addresses; the hashes of packages "
                "are in the context's lock"
            )
            raise ModuleSpecifierError(edge.specifier, why)
        if edge.attributes.get("type") == "text" and not url.startswith("node:"):
            return f"{url}#text"  # the same file can be a module as well
        return url

    def _load(self, url: str, edge: _Edge, near: Place | None) -> GraphModule | None:
        """Return a module that is new in the graph."""
        if url in self._modules or url in self._known:
            return None
        module = self._read(url, edge) if near is None else _read_packed(url, near)
        _check_type(module, edge)
        if len(self._modules) >= self._settings.graph_modules_max:
            message = (
                f"the import loads more than {self._settings.graph_modules_max} "
                "modules (package_graph_modules_max)"
            )
            raise PackageLimitError(message)
        self._bytes += len(module.data)
        if self._bytes > self._settings.graph_bytes_max:
            message = (
                f"the import loads more than {self._settings.graph_bytes_max} bytes "
                "of modules (package_graph_bytes_max)"
            )
            raise PackageLimitError(message)
        self._modules[url] = module
        return module

    def _read(self, url: str, edge: _Edge) -> GraphModule:
        if url.startswith("node:"):
            return GraphModule(url, Analysis("builtin"), b"", "")
        if url == EMPTY:
            return GraphModule(url, Analysis("commonjs"), b"", "")
        base, _, text = url.partition("#")
        location = location_of(url)
        if location is not None:
            pack = self.pack(location.name, location.version, AS_BEFORE)
            place = Place(pack, location.package, location.path)
            return _read_packed(url, place, as_text=bool(text))
        source = self._source(base, edge)
        if text:
            return GraphModule(url, Analysis("text"), source.data, _sha256(source.data))
        found = self._analysed.get(url)
        if found is None:
            raise self._needed(Need("analysis", url))
        return GraphModule(url, found, source.data, _sha256(source.data))

    def _source(self, url: str, edge: _Edge) -> Source:
        if url.startswith("data:"):
            return _read_data_url(url)
        if url.startswith(FILES):
            found = self.look_up(file_path(url))
            if not isinstance(found, Source):
                message = f"the context's folder has no file {file_path(url)!r}"
                raise ModuleMissingError(message)
            return found
        address = self.supplies.address(url)
        integrity = edge.attributes.get("integrity", "")
        if address is None:
            raise self._needed(Need("address", url, integrity))
        if integrity:
            then = "if you trust it, import it with that hash"
            check_integrity(url, address.data, integrity, "its import", then)
        return address

    async def _analyse(self, url: str) -> None:
        """Find what a file or an address imports."""
        path, is_module = urlsplit(url).path, None
        if url.startswith(FILES):
            path = file_path(url)
            source = self.supplies.file(path)
            while True:
                try:
                    is_module = self._resolver.scope(url).is_module
                    break
                except Needed as needed:
                    await self.supplies.bring(needed.need)
        elif url.startswith("data:"):
            source = _read_data_url(url)
        else:
            source = self.supplies.address(url)
        if not isinstance(source, Source):
            message = f"there is no file {shorten(url)!r}"
            raise ModuleMissingError(message)
        known = _DATA_FORMATS.get(source.media_type, "")
        if known == "esm":
            path = "module.ts" if path.endswith(_TYPESCRIPT) else "module.js"
            is_module = True
        elif known:
            path = f"file.{'json' if known == 'json' else 'txt'}"
        self._analysed[url] = await self.supplies.analyse(path, source.data, is_module)

    # -- what there is -------------------------------------------------------------

    def pack(self, name: str, version: str, dependent: str = "") -> Pack:
        """Return a pack that is open, or say that it is needed."""
        found = self.supplies.pack(name, version)
        if found is None:
            raise self._needed(Need("pack", name, version, dependent))
        return found

    def version_of(self, name: str, wanted: str, dependent: str) -> str:
        """Return the version for a range, or say that it is needed."""
        found = self.supplies.version(name, wanted)
        if found is None:
            raise self._needed(Need("version", name, wanted, dependent))
        return found

    def look_up(self, path: str) -> Source | bool:
        """Return a file of the context, True for a folder, False for nothing."""
        if not self.supplies.has_files:
            return False
        found = self.supplies.file(path)
        if found is None:
            raise self._needed(Need("file", path))
        return found

    def _needed(self, need: Need) -> Exception:
        """Return what to raise for a need; its failure, if it couldn't be met."""
        return self._failed.get(need) or Needed(need)

    def _explain(self, error: IsokernelError, edge: _Edge) -> None:
        """Say in an error which modules led to it."""
        chain: list[str] = []
        url = edge.referrer
        while url and len(chain) < _CHAIN_MAX:
            chain.append(url)
            module = self._modules.get(url)
            url = module.importer if module is not None else ""
        if chain and len(error.args) == 1:
            names = ", which was imported by ".join(shorten(each) for each in chain)
            error.args = (f"{error.args[0]} (imported by {names})",)


class _View:
    """What the resolver sees: what a graph has of its supplies."""

    def __init__(self, graph: GraphBuilder) -> None:
        self._graph = graph
        self._files = _Files(graph) if graph.supplies.has_files else None

    @property
    def files(self) -> Tree | None:
        return self._files

    def version(self, name: str, wanted: str, dependent: str) -> str:
        return self._graph.version_of(name, wanted, dependent)

    def any_version(self, name: str, wanted: str) -> str | None:
        return self._graph.supplies.any_version(name, wanted)

    def dependents(self, package: str) -> list[str]:
        return self._graph.supplies.dependents(package)

    def package(self, name: str, version: str, dependent: str = "") -> Tree:
        return _PackTree(self._graph.pack(name, version, dependent))


class _PackTree:
    """A pack's files."""

    def __init__(self, pack: Pack) -> None:
        self._pack = pack

    def has_file(self, path: str) -> bool:
        return path in self._pack.header.files

    def has_folder(self, path: str) -> bool:
        return not path or path in self._pack.folders

    def real_path(self, path: str) -> str:
        return path

    def manifest(self, folder: str) -> Manifest | None:
        return self._pack.manifest_at(folder)


class _Files:
    """The context's files."""

    def __init__(self, graph: GraphBuilder) -> None:
        self._graph = graph

    def has_file(self, path: str) -> bool:
        return isinstance(self._graph.look_up(path), Source)

    def has_folder(self, path: str) -> bool:
        return not path or self._graph.look_up(path) is True

    def real_path(self, path: str) -> str:
        found = self._graph.look_up(path)
        if isinstance(found, Source) and found.url:
            return file_path(found.url)
        return path

    def manifest(self, folder: str) -> Manifest | None:
        found = self._graph.look_up(posixpath.join(folder, "package.json"))
        if not isinstance(found, Source):
            return None
        return Manifest.parse(found.data.decode("utf-8", "replace"))


def _read_packed(url: str, place: Place, *, as_text: bool = False) -> GraphModule:
    file = place.pack.header.files.get(place.path)
    if file is None:
        message = f"{place.package} has no file {place.path!r}{left_out(place.path)}"
        raise ModuleMissingError(message)
    analysis = Analysis("text") if as_text else file.analysis
    module = GraphModule(url, analysis, place.pack.data(place.path), file.sha256)
    module.place = place
    return module


def _check_type(module: GraphModule, edge: _Edge) -> None:
    """Compare a module with the `type` of its import.

    Raises:
        ModuleSpecifierError: It is of another type.
    """
    wanted = edge.attributes.get("type")
    found = module.analysis.format
    error = None
    if wanted == "json" and found != "json":
        error = ModuleSpecifierError(edge.specifier, "it is no JSON")
    elif wanted not in (None, "json", "text"):
        why = f"modules have no type {wanted!r}, only `json` and `text`"
        error = ModuleSpecifierError(edge.specifier, why)
    elif found in ("text", "wasm") and wanted is None:
        why = 'it is no JavaScript; import its text with { type: "text" }'
        if found == "wasm":
            why = (
                "WebAssembly can't be imported as a module; compile it: `const { "
                "instance } = await WebAssembly.instantiateStreaming(fetch("
                f"import.meta.resolve({edge.specifier!r})), imports)`"
            )
        error = ModuleSpecifierError(edge.specifier, why)
    if error is not None:
        error.code = "ERR_IMPORT_ATTRIBUTE_TYPE_INCOMPATIBLE"
        raise error


def _read_data_url(url: str) -> Source:
    head, comma, body = url.removeprefix("data:").partition(",")
    media_type, *parameters = head.split(";")
    if not comma or media_type.strip().lower() not in _DATA_FORMATS:
        why = "a data: URL of a module begins with data:text/javascript,"
        raise ModuleSpecifierError(url, why)
    data = unquote_to_bytes(body)
    if "base64" in parameters:
        import base64  # noqa: PLC0415 - rare
        import binascii  # noqa: PLC0415

        try:
            data = base64.b64decode(data, validate=False)
        except binascii.Error as error:
            raise ModuleSpecifierError(url, f"it isn't base64: {error}") from error
    return Source(data, media_type.strip().lower(), url)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
