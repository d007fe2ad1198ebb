"""A context whose modules come from a table, by the call that a holder would answer."""

from __future__ import annotations

import contextlib
import json
import posixpath
import re
from typing import TYPE_CHECKING, Any

from tests.support.local_contexts import LocalContext

from isokernel.context.events import CallAnswer, CapabilityCall
from isokernel.packages.answers import Graph, GraphModule
from isokernel.packages.packs import Analysis

if TYPE_CHECKING:
    from collections.abc import Callable

_IMPORTS = re.compile(r"\b(?:from|import)\s*['\"](.+?)['\"]")
_REQUIRES = re.compile(r"\brequire\(['\"](.+?)['\"]\)")
_EXPORTS = re.compile(r"\bexports\.(\w+)\s*=")
_BUILTINS = ("node:path", "node:util")


class ModulesContext(LocalContext):
    """Imports `name` as `npm:/name@1/index.js`, and paths relative to what imports.

    The format of a file follows its name: `.cjs`, `.json`, `.ts`, else ES modules.

    Attributes:
        files: Texts by URL; may be changed.
        asked: The arguments of all calls, in order.
        held: While it is true, calls wait.
    """

    def __init__(self, files: dict[str, str], **options: Any) -> None:
        self.files = files
        self.asked: list[dict[str, Any]] = []
        self.held = False
        self._waiting: list[CapabilityCall] = []
        super().__init__(call_now=self._answer, **options)

    def wait(self, until: Callable[[], bool], *rest: Any) -> None:
        """Step, and answer what is asked meanwhile."""

        def served() -> bool:
            self.serve()
            return until()

        super().wait(served, *rest)

    def serve(self) -> None:
        """Answer the calls that have come, and those that come of the answers."""
        while (calls := self._calls()) and not self.held:
            call = calls.pop(0)
            self.context.settle_call(call.call_id, self._answer(call))

    def _calls(self) -> list[CapabilityCall]:
        """Move the calls out of the events."""
        calls = [event for event in self.events if isinstance(event, CapabilityCall)]
        for call in calls:
            self.events.remove(call)
        self._waiting += calls
        return self._waiting

    def _answer(self, call: CapabilityCall) -> CallAnswer:
        arguments = json.loads(call.arguments)
        self.asked.append(arguments)
        if call.name == "modules.read":
            return CallAnswer("value", "", self.files[arguments["url"]].encode())
        try:
            text, data = self._graph(arguments).answer(1 << 24)
        except LookupError as error:
            fields = {"message": str(error.args[0]), "code": "ERR_MODULE_NOT_FOUND"}
            return CallAnswer(
                "error", json.dumps(fields | {"specifier": error.args[1]})
            )
        return CallAnswer("value", text, data)

    def _graph(self, arguments: dict[str, Any]) -> Graph:
        known = set(arguments["known"])
        modules: dict[str, GraphModule] = {}
        roots = {}
        todo = []
        for wanted in arguments["specifiers"]:
            specifier = wanted["specifier"]
            url = self._url(specifier, arguments["referrer"])
            if wanted["attributes"].get("type") == "text":
                url += "#text"
            roots[specifier] = url
            todo.append(url)
        while todo:
            url = todo.pop()
            if url in known:
                continue
            known.add(url)
            module = modules[url] = self._module(url)
            todo += module.imports.values()
        return Graph(roots, modules)

    def _url(self, specifier: str, referrer: str) -> str:
        if specifier in _BUILTINS:
            return specifier
        if specifier.startswith("."):
            base = referrer or "file:///"
            head, _, path = base.partition(":/")
            folder = posixpath.dirname(path)
            url = f"{head}:/{posixpath.normpath(posixpath.join(folder, specifier))}"
        elif ":" in specifier:
            url = specifier
        else:
            url = next(
                (u for u in self.files if u.startswith(f"npm:/{specifier}@1/")), ""
            )
        if url not in self.files:
            message = f"there is no module {specifier!r}"
            raise LookupError(message, specifier)
        return url

    def _module(self, url: str) -> GraphModule:
        if url in _BUILTINS:
            return GraphModule(url, Analysis("builtin"), b"", "")
        source = self.files[url.removesuffix("#text")]
        ending = posixpath.splitext(url)[1]
        formats = {".cjs": "commonjs", ".json": "json", ".js#text": "text"}
        kind = "text" if url.endswith("#text") else formats.get(ending, "esm")
        exports = _EXPORTS.findall(source) if kind == "commonjs" else []
        analysis = Analysis(kind, exports=exports)
        module = GraphModule(url, analysis, source.encode(), "")
        pattern = {"esm": _IMPORTS, "commonjs": _REQUIRES}.get(kind)
        for name in pattern.findall(source) if pattern else []:
            with contextlib.suppress(*[LookupError][kind == "esm" :]):
                module.imports[name] = self._url(name, url)
        return module
