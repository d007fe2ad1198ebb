"""From a specifier to a URL, as Node.js resolves.

The resolver itself reads nothing: it looks at what is there, a `View`, which raises
`Needed` when a package or file must be brought first. Whoever asks brings it and asks
again, so that all packages that a wave of imports needs are brought at a time.

Where packages for bundlers rely on it, a module's import may leave out the ending of a
file, which Node.js allows in CommonJS only.
"""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, Protocol, TypeAlias
from urllib.parse import quote, unquote, urljoin, urlsplit

from isokernel.errors import (
    CapabilityDeniedError,
    ModuleMissingError,
    ModuleSpecifierError,
    PackageExportError,
    shorten,
)
from isokernel.packages.manifests import EMPTY, Manifest, match, overridden, target_path
from isokernel.packages.packs import left_out
from isokernel.packages.specifiers import (
    Location,
    PackageRequest,
    builtin_url,
    location_of,
    parse_bare,
    parse_request,
    valid_name,
)

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = [
    "AS_BEFORE",
    "FILES",
    "Kind",
    "Need",
    "Needed",
    "Resolver",
    "Tree",
    "View",
    "aliased",
    "file_path",
    "file_url",
]

Kind: TypeAlias = Literal["import", "require"]

AS_BEFORE: Final = "*"
"""The dependent of a package that has asked for something: whoever brought it."""
FILES: Final = "file:///"
"""URLs of the context's own files begin with it."""

_SCHEME: Final = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*):")
_RELATIVE: Final = re.compile(r"\.{0,2}/|\.{1,2}$")
_PLAIN: Final = "/!$&'()*+,:;=@"
"""Characters that the path of a URL has as they are, beside letters and digits."""
_ENDINGS: Final = (".js", ".json", ".mjs", ".cjs", ".ts", ".mts")
_LISTED_MAX: Final = 8
_HOISTED_MAX: Final = 64
"""Packages that are looked at for what another one should have asked for."""


class Need(NamedTuple):
    """What must be brought.

    Attributes:
        kind: `version` of a package for a range; the `pack` of a version; a `file` of
            the context; what an `address` leads to; the `analysis` of one of these two.
        name: Of a package; else the path or the URL.
        detail: The range, the version, or the integrity.
        dependent: The package that imports it, as name@version; empty for the code.
    """

    kind: Literal["version", "pack", "file", "address", "analysis"]
    name: str
    detail: str = ""
    dependent: str = ""


class Needed(Exception):  # noqa: N818 - not an error: it says what to bring
    """Something must be brought before this can be resolved.

    Attributes:
        need: What.
    """

    def __init__(self, need: Need) -> None:
        """Say what."""
        self.need = need
        super().__init__(need)


class Tree(Protocol):
    """Files below a folder: a package's, or the context's."""

    def has_file(self, path: str) -> bool:
        """Tell whether there is such a file."""

    def has_folder(self, path: str) -> bool:
        """Tell whether there is such a folder."""

    def real_path(self, path: str) -> str:
        """Return where a file is once links are followed, as its URL says."""

    def manifest(self, folder: str) -> Manifest | None:
        """Return the package.json of a folder."""


class View(Protocol):
    """What is there. All of its methods may raise `Needed`."""

    @property
    def files(self) -> Tree | None:
        """The context's files; None where it has none."""

    def version(self, name: str, wanted: str, dependent: str) -> str:
        """Return the version that a request comes to."""

    def any_version(self, name: str, wanted: str) -> str | None:
        """Return a version that the context has anyway, best one in the range."""

    def dependents(self, package: str) -> list[str]:
        """Return the packages that brought one, the one next to it first."""

    def package(self, name: str, version: str, dependent: str = "") -> Tree:
        """Return the files of a package; `dependent` is the one that imports it."""


class _Place(NamedTuple):
    """A file, and what its URL is made of."""

    tree: Tree
    path: str
    package: Location | None
    """With any path; None for the context's files."""

    def at(self, path: str) -> _Place:
        return self._replace(path=path)

    @property
    def url(self) -> str:
        if self.package is None:
            return file_url(self.path)
        return self.package._replace(path=self.path).url

    @property
    def name(self) -> str:
        return "the context's folder" if self.package is None else self.package.package

    def within(self, root: str) -> str:
        """Return the name of a package in a folder of the tree."""
        return f"the folder {shorten(root)!r}" if root else self.name


def file_url(path: str) -> str:
    """Return the URL of a file of the context."""
    return FILES + quote(path, safe=_PLAIN)


def file_path(url: str) -> str:
    """Return the path of a file of the context, in its folder.

    Raises:
        ModuleSpecifierError: The URL has a host, or leads out of the folder.
    """
    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost"):
        raise ModuleSpecifierError(url, "files are the context's own, without a host")
    path = posixpath.normpath(unquote(parts.path)).lstrip("/")
    return "" if path == "." else path


class Resolver:
    """Resolves what modules import."""

    def __init__(self, view: View, conditions: Collection[str]) -> None:
        """Resolve what there is.

        Args:
            view: What is there.
            conditions: Besides `import` or `require`, and `default`.
        """
        self._view = view
        self._conditions = frozenset(conditions)
        self._browser = "browser" in self._conditions

    def resolve(self, specifier: str, referrer: str, kind: Kind) -> str:
        """Return the URL of a module.

        Args:
            specifier: What is imported.
            referrer: The URL of the module that imports it; empty for a cell.
            kind: How.

        Raises:
            PackageError: There is none.
            Needed: See the module.
        """
        if found := _SCHEME.match(specifier):
            return self._absolute(specifier, found[1].lower(), referrer, kind)
        if urlsplit(referrer).scheme in ("https", "data"):
            return self._from_address(specifier, referrer, kind)
        place = self._place(referrer)
        if specifier.startswith("#"):
            return self._private(specifier, place, kind)
        if _RELATIVE.match(specifier):
            return self._relative(specifier, place, kind)
        return self._bare(specifier, place, kind)

    def scope(self, url: str) -> Manifest:
        """Return the package.json that holds for a module."""
        found = self._scope(self._place(url))
        return Manifest({}) if found is None else found[1]

    # -- kinds of specifiers -------------------------------------------------------

    def _absolute(self, specifier: str, scheme: str, referrer: str, kind: Kind) -> str:
        if scheme == "node":
            return specifier
        if scheme == "npm":
            location = location_of(specifier)
            if location is not None and self._has(location):
                return self._located(specifier, location, referrer)
        if scheme in ("npm", "jsr"):
            return self._requested(parse_request(specifier), "", kind)
        if scheme == "file":
            path = "/" + file_path(specifier)
            return self._relative(path, self._place(""), "require")
        if scheme == "https":
            return urljoin(specifier, specifier)
        if scheme == "data":
            return specifier
        why = (
            "modules come over https: only"
            if scheme == "http"
            else f"nothing is known by {scheme}: (there are npm:, jsr:, node:, https:, "
            "file: and data:)"
        )
        error = ModuleSpecifierError(specifier, why)
        error.code = "ERR_UNSUPPORTED_ESM_URL_SCHEME"
        raise error

    def _has(self, location: Location) -> bool:
        """Tell whether a URL is of a package that the context has.

        One that it hasn't is brought as a request is, and then looked at again.
        """
        found = self._view.any_version(location.name, location.version)
        return found == location.version

    def _located(self, specifier: str, location: Location, referrer: str) -> str:
        """Resolve the URL of a file, as code has it of what was resolved before.

        It is made by `import.meta.resolve`, `require.resolve` and `__dirname`, and what
        the package exports has been minded then.
        """
        own = location_of(referrer)
        dependent = "" if own is None else own.package
        if dependent == location.package:
            dependent = AS_BEFORE
        tree = self._view.package(location.name, location.version, dependent)
        place = _Place(tree, location.path, location)
        path = posixpath.normpath(location.path)
        if path.startswith(".."):
            raise ModuleSpecifierError(specifier, f"it leads out of {place.name}")
        found = self._load_path(place, path)
        if found is None:
            raise self._missing(path, place)
        return self._replaced(place.at(found))

    def _from_address(self, specifier: str, referrer: str, kind: Kind) -> str:
        if _RELATIVE.match(specifier):
            if referrer.startswith("data:"):
                raise ModuleSpecifierError(specifier, "a data: URL has no folder")
            return urljoin(referrer, specifier)
        return builtin_url(specifier) or self._requested(
            parse_bare(specifier), "", kind
        )

    def _relative(self, specifier: str, place: _Place, kind: Kind) -> str:
        base = "" if specifier.startswith("/") else posixpath.dirname(place.path)
        if place.package is not None and specifier.startswith("/"):
            raise ModuleSpecifierError(specifier, "a package has no absolute paths")
        wanted = specifier  # a path for `require`, a part of a URL for `import`
        if kind == "import":
            wanted = unquote(specifier.partition("?")[0].partition("#")[0])
        path = posixpath.normpath(posixpath.join("/", base, wanted.lstrip("/")))
        if posixpath.normpath(posixpath.join(base, wanted.lstrip("/"))).startswith(
            ".."
        ):
            why = f"it leads out of {place.name}"
            raise ModuleSpecifierError(specifier, why)
        found = self._load_path(place, path.lstrip("/"))
        if found is None:
            raise self._missing(specifier, place)
        return self._replaced(place.at(found))

    def _private(self, specifier: str, place: _Place, kind: Kind) -> str:
        scope = self._scope(place)
        target = None
        if scope is not None:
            conditions = self._conditions | {kind}
            target = match(scope[1].imports, specifier, conditions)
        if scope is None or target is None:
            error = PackageExportError(
                f"{place.name} has no import {shorten(specifier)!r} in its package.json"
            )
            error.code = "ERR_PACKAGE_IMPORT_NOT_DEFINED"
            raise error
        if target.startswith("./"):
            path = posixpath.join(scope[0], target_path(target))
            return self._existing(place, path, specifier)
        return self._bare(target, place, kind)

    def _bare(self, specifier: str, place: _Place, kind: Kind) -> str:
        scope = self._scope(place)
        manifest = Manifest({}) if scope is None else scope[1]
        if self._browser and specifier in manifest.browser and scope is not None:
            replacement = manifest.browser[specifier]
            if replacement is False:
                return EMPTY
            if isinstance(replacement, str) and replacement != specifier:
                if replacement.startswith("."):
                    base = place.at(posixpath.join(scope[0], "package.json"))
                    return self._relative(replacement, base, "require")
                specifier = replacement
        if builtin := builtin_url(specifier):
            return builtin
        request = parse_bare(specifier, versions=place.package is None)
        if scope is not None and manifest.name == request.name and manifest.exports:
            return self._exported(place, scope[0], manifest, request.subpath, kind)
        if place.package is None:
            return self._from_files(request, place, manifest, kind)
        # Folders in a package may have a package.json, which says little but `type`.
        whole = place.tree.manifest("") or manifest
        return self._dependency(request, place.package.package, whole, kind)

    # -- packages ------------------------------------------------------------------

    def _dependency(
        self, request: PackageRequest, dependent: str, manifest: Manifest, kind: Kind
    ) -> str:
        """Resolve what a package imports from another one."""
        name = request.name
        wanted = manifest.dependencies.get(name)
        if wanted is None:
            version = self._view.any_version(name, "")
            if version is None:
                hoisted = self._hoisted(name, dependent, manifest)
                if hoisted is not None:
                    return self._requested(aliased(request, hoisted), dependent, kind)
                message = (
                    f"{dependent} imports {name!r}, which isn't among the dependencies "
                    "in its package.json; import that package first if it is needed"
                )
                raise ModuleMissingError(message)
            return self._in_package(request, version, dependent, kind)
        wanted = self._overridden(name, wanted, dependent)
        if name in manifest.peers:
            version = self._view.any_version(name, wanted)
            if version is not None:
                return self._in_package(request, version, dependent, kind)
            if name in manifest.optional:
                message = (
                    f"{dependent} would use {name!r}, an optional peer dependency; "
                    "import that package first if it is needed"
                )
                raise ModuleMissingError(message)
        return self._requested(aliased(request, wanted), dependent, kind)

    def _overridden(self, name: str, wanted: str, dependent: str) -> str:
        """Return the range that the package.json of the context's folder has for it."""
        files = self._view.files
        project = None if files is None else files.manifest("")
        if project is None or not project.content.get("overrides"):
            return wanted
        chain = [*reversed(self._view.dependents(dependent)), dependent]
        pairs = [package.rpartition("@") for package in chain]
        return overridden(
            project, name, wanted, [(name, version) for name, _, version in pairs]
        )

    def _hoisted(self, name: str, dependent: str, manifest: Manifest) -> str | None:
        """Return the versions of it that a dependency of a dependency wants.

        npm puts all packages into one folder, where each finds what another one has
        asked for; some rely on that without knowing.
        """
        found = [(each, dependent, manifest) for each in manifest.required]
        for index in range(_HOISTED_MAX):
            if index == len(found):
                break
            child, parent, by = found[index]
            wanted = aliased(PackageRequest(child, "", "."), by.required[child])
            version = self._view.version(wanted.name, wanted.range, parent)
            own = self._view.package(wanted.name, version, parent).manifest("")
            if own is None:
                continue
            if name in own.required:
                return own.required[name]
            place = f"{wanted.name}@{version}"
            seen = {each for each, _, _ in found}
            found += [(each, place, own) for each in own.required if each not in seen]
        return None

    def _requested(self, request: PackageRequest, dependent: str, kind: Kind) -> str:
        version = self._view.version(request.name, request.range, dependent)
        return self._in_package(request, version, dependent, kind)

    def _in_package(
        self, request: PackageRequest, version: str, dependent: str, kind: Kind
    ) -> str:
        tree = self._view.package(request.name, version, dependent)
        place = _Place(tree, "package.json", Location(request.name, version, ""))
        manifest = tree.manifest("") or Manifest({})
        return self._exported(place, "", manifest, request.subpath, kind)

    def _from_files(
        self, request: PackageRequest, place: _Place, manifest: Manifest, kind: Kind
    ) -> str:
        """Resolve a package from the context's node_modules, or else from npm."""
        if request.range:
            return self._requested(request, "", kind)
        folder = posixpath.dirname(place.path)
        while True:
            if posixpath.basename(folder) != "node_modules":
                modules = posixpath.join(folder, "node_modules")
                found = self._installed(request, place, modules, kind)
                if found is not None:
                    return found
            if not folder:
                break
            folder = posixpath.dirname(folder)
        wanted = manifest.installed.get(request.name, "")
        if wanted.startswith(("file:", "link:", "workspace:")):
            why = "its package.json takes it from a folder: install it there with npm"
            raise ModuleSpecifierError(request.name, why)
        return self._requested(aliased(request, wanted), "", kind)

    def _installed(
        self, request: PackageRequest, place: _Place, modules: str, kind: Kind
    ) -> str | None:
        """Resolve a package in a folder node_modules; None if it isn't in there.

        As in Node.js, it needs no package.json, and may be a file for `require`.
        """
        root = posixpath.join(modules, request.name)
        base = place.at(posixpath.join(root, "package.json"))
        try:
            if not place.tree.has_folder(modules):
                return None
        except CapabilityDeniedError:
            pass  # what is in it may be allowed all the same
        manifest = place.tree.manifest(root)
        if manifest is None:
            try:
                if kind == "require" and request.subpath == ".":
                    file = self._load_file(place, root)
                    if file is not None:
                        return self._replaced(place.at(file))
                if not place.tree.has_folder(root):
                    return None
            except CapabilityDeniedError:
                # The code has asked for a package, not for this folder.
                return None
            manifest = Manifest({})
        return self._exported(base, root, manifest, request.subpath, kind)

    def _exported(
        self, place: _Place, root: str, manifest: Manifest, subpath: str, kind: Kind
    ) -> str:
        """Resolve a subpath of the package in a folder."""
        if manifest.exports is not None:
            conditions = self._conditions | {kind}
            target = match(manifest.exports, subpath, conditions)
            if target is None:
                raise self._unexported(place, root, manifest, subpath)
            path = posixpath.join(root, target_path(target))
            return self._existing(place, path, subpath)
        if subpath != ".":
            wanted = posixpath.normpath(posixpath.join(root, unquote(subpath)))
            inside = not root or wanted.startswith(f"{root}/")
            if not inside or wanted.startswith(".."):
                raise ModuleSpecifierError(subpath, f"it leads out of {place.name}")
            found = self._load_path(place, wanted)
        else:
            found = self._load_folder(place, root, manifest)
        if found is None:
            raise self._missing(subpath, place, root)
        return self._replaced(place.at(found))

    def _existing(self, place: _Place, path: str, what: str) -> str:
        path = posixpath.normpath(path)
        if not place.tree.has_file(path):
            why = "" if place.package is None else left_out(path)
            message = (
                f"{place.name} has no file {shorten(path)!r}, which its package.json "
                f"names for {shorten(what)!r}"
            ) + (
                why
                or ": the package may be incomplete, or made to be built first; try "
                "another version"
            )
            raise ModuleMissingError(message)
        return self._replaced(place.at(path))

    def _unexported(
        self, place: _Place, root: str, manifest: Manifest, subpath: str
    ) -> PackageExportError:
        names = list(manifest.exports or ())
        listed = ", ".join(repr(shorten(name, 60)) for name in names[:_LISTED_MAX])
        more = f" and {len(names) - _LISTED_MAX} more" if names[_LISTED_MAX:] else ""
        what = "anything to import" if subpath == "." else repr(shorten(subpath))
        if subpath in names:
            what = f"{subpath!r} for the conditions " + ", ".join(
                sorted(self._conditions | {"default"})
            )
        return PackageExportError(
            f"{place.within(root)} doesn't export {what}; its package.json exports "
            f"{listed}{more}"
        )

    # -- files ---------------------------------------------------------------------

    def _place(self, referrer: str) -> _Place:
        location = location_of(referrer)
        if location is not None:
            tree = self._view.package(location.name, location.version, AS_BEFORE)
            return _Place(tree, location.path, location)
        if referrer and not referrer.startswith("file:"):
            raise ModuleSpecifierError(referrer, "it is the URL of no module")
        path = file_path(referrer) if referrer else "cell"
        return _Place(self._view.files or _NOTHING, path, None)

    def _scope(self, place: _Place) -> tuple[str, Manifest] | None:
        """Return the nearest package.json, and its folder."""
        folder = posixpath.dirname(place.path)
        while True:
            if posixpath.basename(folder) == "node_modules":
                return None
            manifest = place.tree.manifest(folder)
            if manifest is not None:
                return folder, manifest
            if not folder:
                return None
            folder = posixpath.dirname(folder)

    def _load_path(self, place: _Place, path: str) -> str | None:
        """Find the file that a path means: LOAD_AS_FILE, LOAD_AS_DIRECTORY."""
        path = "" if path == "." else path
        found = self._load_file(place, path)
        if found is None and (not path or place.tree.has_folder(path)):
            manifest = place.tree.manifest(path) or Manifest({})
            found = self._load_folder(place, path, manifest)
        return found

    def _load_file(self, place: _Place, path: str) -> str | None:
        if not path:
            return None
        if place.tree.has_file(path):
            return path
        for ending in _ENDINGS:
            if place.tree.has_file(path + ending):
                return path + ending
        return None

    def _load_folder(
        self, place: _Place, folder: str, manifest: Manifest
    ) -> str | None:
        for name in manifest.main_files(browser=self._browser):
            path = posixpath.normpath(posixpath.join(folder, name))
            if path.startswith("..") or (folder and not path.startswith(folder)):
                continue
            path = "" if path == "." else path
            found = self._load_file(place, path)
            if found is None and place.tree.has_folder(path):
                found = self._load_file(place, posixpath.join(path, "index"))
            if found is not None:
                return found
        return None

    def _replaced(self, place: _Place) -> str:
        """Return the URL of a file, or of what its package's browser map has for it."""
        place = place.at(place.tree.real_path(place.path))
        scope = self._scope(place) if self._browser else None
        if scope is None or not scope[1].browser:
            return place.url
        relative = f"./{posixpath.relpath(place.path, scope[0] or '.')}"
        forms = (relative, relative.rpartition(".")[0], relative[2:])
        for form in forms:
            replacement = scope[1].browser.get(form)
            if replacement is False:
                return EMPTY
            if isinstance(replacement, str):
                path = posixpath.normpath(posixpath.join(scope[0], replacement))
                found = None if path.startswith("..") else self._load_path(place, path)
                if found is not None:
                    return place.at(place.tree.real_path(found)).url
        return place.url

    def _missing(
        self, specifier: str, place: _Place, root: str = ""
    ) -> ModuleMissingError:
        shown = shorten(specifier)
        if place.package is None and self._view.files is None:
            return ModuleMissingError(
                f"there is no file {shown!r}: the context has no folder"
            )
        name = place.within(root)
        manifest = place.tree.manifest(root) if specifier == "." else None
        main = specifier if manifest is None else manifest.text("main")
        if main.endswith(".node"):
            return ModuleMissingError(
                f"{name} needs a native add-on, which a context can't load: look "
                "for a package in JavaScript or WebAssembly"
            )
        if specifier == ".":
            return ModuleMissingError(
                f"{name} has no main file: import one of its files by its path, "
                "or it has only types or programs"
            )
        why = "" if place.package is None else left_out(specifier)
        return ModuleMissingError(f"{name} has no file {shown!r}{why}")


class _Nothing:
    """The files of a context that has none."""

    def has_file(self, path: str) -> bool:
        del path
        return False

    def has_folder(self, path: str) -> bool:
        del path
        return False

    def real_path(self, path: str) -> str:
        return path

    def manifest(self, folder: str) -> Manifest | None:
        del folder
        return None


_NOTHING: Final = _Nothing()


def aliased(request: PackageRequest, wanted: str) -> PackageRequest:
    """Return what a range in package.json asks for: `npm:` gives another name."""
    if wanted.startswith("npm:"):
        name, at, version = wanted[4:].rpartition("@")
        if not at or not name:
            name, version = wanted[4:], ""
        if valid_name(name):
            return PackageRequest(name, version, request.subpath)
    return request._replace(range=wanted)
