"""What a context gets of a graph: JSON about its modules, and their texts as bytes.

Texts, and the code that V8 has made of them, come as bytes: as JSON they would be
written, read and copied several times on their way. What compiles them needs little of
the rest, so that has a JSON text of its own, which the context hands on as it is.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from isokernel.packages.packs import Analysis, Code, Pack

__all__ = ["Graph", "GraphAnswer", "GraphModule", "Place", "text_of"]

_TYPESCRIPT: Final = (".ts", ".mts", ".cts", ".tsx", ".jsx")
_BYTE_ORDER_MARK: Final = "\ufeff".encode()
_ALIGNMENT: Final = 8
"""V8 copies code that begins elsewhere."""


class Place(NamedTuple):
    """A file in a pack.

    Attributes:
        pack: The pack.
        package: Its package, as name@version.
        path: The file's.
    """

    pack: Pack
    package: str
    path: str


class GraphModule:
    """A module of a graph.

    Attributes:
        url: Its URL.
        analysis: What was found in it.
        data: Its text, in UTF-8.
        sha256: Of its text.
        imports: The URLs of its specifiers.
        importer: The URL of the module that brought it; empty for the code itself.
        place: Where it is, if it is in a pack.
    """

    def __init__(self, url: str, analysis: Analysis, data: bytes, sha256: str) -> None:
        """Import nothing yet."""
        self.url = url
        self.analysis = analysis
        self.data = data
        self.sha256 = sha256
        self.imports: dict[str, str] = {}
        self.importer = ""
        self.place: Place | None = None

    @property
    def is_typescript(self) -> bool:
        """Whether the context has to make JavaScript of it."""
        is_code = self.analysis.format in ("esm", "commonjs")
        return is_code and urlsplit(self.url).path.endswith(_TYPESCRIPT)

    @property
    def is_compiled(self) -> bool:
        """Whether V8 compiles its text as an ES module."""
        return self.analysis.format == "esm" and not self.is_typescript

    @property
    def is_script(self) -> bool:
        """Whether V8 compiles its text as that of a CommonJS module."""
        return self.analysis.format == "commonjs" and not self.is_typescript

    @property
    def text(self) -> bytes:
        """Its text, as `text_of` has it."""
        return text_of(self.data)

    @property
    def code(self) -> Code | None:
        """Its code, if it has been compiled."""
        return None if self.place is None else self.place.pack.code.get(self.place.path)


class GraphAnswer(NamedTuple):
    """What a context gets.

    Attributes:
        text: JSON: `roots`, URLs by what was asked for; `compile`, what
            `v8.modules.Modules.compile_all` takes, as JSON; `compiled`, the URLs of
            what that makes, and `imports`, JSON of what their specifiers mean: URLs,
            and of each module places among them by specifier. `modules` are the
            others, of each `url`, `format`, `imports`, perhaps `exports` and
            `reexports`, and `source` if its text is wanted, as its place in the data;
            `values`, URLs of those that ES modules import and that are none.
        data: Texts and code.
    """

    text: str
    data: bytes


class Graph:
    """What an import loads.

    Attributes:
        roots: URLs by what was asked for.
        modules: By URL; what is imported comes after what imports it.
    """

    def __init__(
        self, roots: Mapping[str, str], modules: Mapping[str, GraphModule]
    ) -> None:
        """Answer what was asked for."""
        self.roots = roots
        self.modules = modules

    def uncompiled(self) -> list[Place]:
        """Return what is in packs and has no code yet."""
        return [
            module.place
            for module in self.modules.values()
            if (module.is_compiled or module.is_script)
            and module.place is not None
            and module.code is None
        ]

    def answer(self, bytes_max: int, *, with_code: bool = True) -> GraphAnswer:
        """Return what a context gets.

        Args:
            bytes_max: With more than this, modules come without their code.
            with_code: Whether they may come with it.
        """
        data = _Data()
        table = {url: number for number, url in enumerate(self._urls())}
        rows, compiled, imports, entries = [], [], [], []
        scripts: list[tuple[int, int, int]] = []
        for module in self.modules.values():
            if module.is_compiled:
                rows.append(_row(module, table, data, with_code=with_code))
                compiled.append(module.url)
                imports.append({s: table[url] for s, url in module.imports.items()})
                continue
            entry = self._entry(module)
            if module.analysis.format != "builtin":
                entry["source"] = data.add(module.text)
            code = module.code if with_code and module.is_script else None
            if code is not None and code.code:
                place = data.add(code.code, alignment=_ALIGNMENT)
                scripts.append((table[module.url], *place))
            entries.append(entry)
        if data.size > bytes_max and with_code:
            return self.answer(bytes_max, with_code=False)
        value = {
            "roots": self.roots,
            "modules": entries,
            "values": self._values(),
            "compile": _json([list(table), rows, scripts]),
            "compiled": compiled,
            "imports": _json([list(table), imports]),
        }
        return GraphAnswer(_json(value), data.joined())

    def _urls(self) -> Iterable[str]:
        found = dict.fromkeys(self.modules)
        for module in self.modules.values():
            found.update(dict.fromkeys(module.imports.values()))
        return found

    def _values(self) -> list[str]:
        """Return what ES modules import that is none, or isn't in this graph."""
        found: dict[str, None] = {}
        for module in self.modules.values():
            if module.analysis.format != "esm":
                continue
            for url in module.imports.values():
                target = self.modules.get(url)
                if target is None or target.analysis.format != "esm":
                    found[url] = None
        return list(found)

    def _entry(self, module: GraphModule) -> dict[str, Any]:
        analysis = module.analysis
        entry: dict[str, Any] = {
            "url": module.url,
            "format": analysis.format,
            "imports": module.imports,
        }
        if analysis.format == "commonjs":
            names, others = self._names(module.url, set())
            entry["exports"] = list(dict.fromkeys(names))
            if others:
                entry["reexports"] = others
        if module.is_typescript:
            entry["language"] = "typescript"
        return entry

    def _names(self, url: str, seen: set[str]) -> tuple[list[str], list[str]]:
        """Return a CommonJS module's names, and what it passes on of other modules.

        Of these, builtins and what the context has already, it knows the names itself.
        """
        seen.add(url)
        module = self.modules.get(url)
        if module is None or module.analysis.format == "builtin":
            return [], [url]
        if module.analysis.format != "commonjs":
            return [], []
        names, others = list(module.analysis.exports), []
        for specifier in module.analysis.reexports:
            target = module.imports.get(specifier)
            if target is None or target in seen:
                continue
            further, passed = self._names(target, seen)
            names += further
            others += passed
        return names, others


def text_of(data: bytes) -> bytes:
    """Return a file as text: in UTF-8 without a byte order mark.

    Bytes that aren't UTF-8 stay as they are; V8 reads them as U+FFFD.
    """
    return data.removeprefix(_BYTE_ORDER_MARK)


class _Data:
    """Texts and code, one after the other.

    Attributes:
        size: Bytes of all.
    """

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self.size = 0

    def add(self, data: bytes, *, alignment: int = 1) -> tuple[int, int]:
        """Return where it begins, and its bytes."""
        gap = -self.size % alignment
        self._parts += (bytes(gap), data)
        start = self.size + gap
        self.size = start + len(data)
        return start, len(data)

    def joined(self) -> bytes:
        return b"".join(self._parts)


def _row(
    module: GraphModule, table: Mapping[str, int], data: _Data, *, with_code: bool
) -> tuple[int | list[int] | dict[str, int], ...]:
    """Return what compiles a module; see `Modules.compile_all`."""
    code = module.code if with_code else None
    text = data.add(module.text)
    imports = module.imports
    targets: list[int] | dict[str, int]
    if code is None or not code.code or any(r not in imports for r in code.requests):
        compiled = (0, 0)
        targets = {name: table[url] for name, url in imports.items()}
    else:
        compiled = data.add(code.code, alignment=_ALIGNMENT)
        targets = [table[imports[request]] for request in code.requests]
    return (table[module.url], *text, *compiled, targets)


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))
