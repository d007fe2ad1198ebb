"""What runs cases of test262: V8 alone, and contexts.

`Bare` is V8 with scripts, as an engine's shell runs them: what fails there is V8's own.
`Cells` is a context: the files of the harness and the case are cells, one after the
other, in JavaScript or as TypeScript; modules are what a cell imports. Both have the
host object `$262`, as far as one thread can give it.
"""

from __future__ import annotations

import contextlib
import json
import posixpath
import re
from typing import TYPE_CHECKING, Any, Final

from tests.support.modules import ModulesContext
from tests.support.test262 import Case, Failure, Host, run, url_of
from tests.support.waiting import DEADLINE

from isokernel.context.events import ExecutionError
from isokernel.errors import ScriptError, SnapshotFailedError
from isokernel.packages.answers import GraphModule
from isokernel.packages.packs import Analysis
from isokernel.settings import ContextSettings
from isokernel.v8.callbacks import Operation, ThrowError
from isokernel.v8.isolate import Isolate
from isokernel.v8.library import NO_CALLBACK
from isokernel.v8.modules import OPERATIONS
from isokernel.v8.scopes import Entered, TryCatch
from isokernel.v8.values import new_string

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from isokernel.settings import Language
    from isokernel.v8.snapshot import Snapshot
    from isokernel.v8.values import Value

__all__ = ["WAYS", "Bare", "Cells", "make", "run_saved"]

WAYS: Final = ("bare", "javascript", "typescript", "restored", "saved")
"""`restored`: the harness has run before the heap was saved that the context goes on
from. `saved`: the case itself has, and runs again; see `run_saved`."""

_IMPORTS: Final = re.compile(r"""\b(?:from|import)\s*(['"])(.+?)\1""")
_WORD_BYTES: Final = 8
_REJECTED: Final = 2
_FILES: Final = "file:///"
_TYPESCRIPT: Final = ".ts"

# The order of operations is that in `_Shell`.
_INSTALL: Final = """
(native, first) => {
  const { transfer } = ArrayBuffer.prototype;
  const call = (at, ...values) => native(first + at, ...values);
  let realms = 0;
  const host = (index, global) => ({
    global,
    evalScript: (text) => call(0, text, index),
    createRealm() {
      const at = ++realms;
      const global = call(1);
      const made = host(at, global);
      Object.defineProperty(global, "$262", { value: made, configurable: true });
      return made;
    },
    detachArrayBuffer(buffer) { Reflect.apply(transfer, buffer, []); },
    gc() { call(2); },
  });
  const define = (name, value) =>
    Object.defineProperty(globalThis, name, {
      value, writable: true, configurable: true, enumerable: false,
    });
  define("$262", host(0, globalThis));
  define("print", (text) => call(3, String(text)));
}
"""
_DESCRIBE: Final = """
(error) => {
  if (error === null || typeof error !== "object" && typeof error !== "function") {
    return ["", String(error)];
  }
  return [String(error.constructor?.name ?? error.name), String(error.message)];
}
"""
# Modules for `Bare`: what imports what is the checkout's.
_MODULES: Final = """
(native, names, first) => {
  const at = (name) => names.indexOf(name);
  const operation = (name) => (...values) => native(at(name), ...values);
  const [compile, link, evaluate, namespaceOf, statusOf, make, setExport] = [
    "compileModule", "linkModule", "evaluateModule", "namespaceOf", "statusOf",
    "makeModule", "setExport",
  ].map(operation);
  const find = (...values) => JSON.parse(native(first, ...values));
  const texts = new Map(), evaluated = new Map();
  const load = (url, type) => {
    if (statusOf(url) >= 0) return;
    const [text, targets] = find(url, type);
    if (type) {
      texts.set(url, type === "json" ? JSON.parse(text) : text);
      make(url, '["default"]');
      return;
    }
    const problem = compile(url, text, JSON.stringify(targets));
    if (problem) throw problem[0];
    for (const target of Object.values(targets)) {
      load(target, /#(\\w+)$/.exec(target)?.[1] ?? "");
    }
  };
  return {
    async importModule(referrer, specifier, attributes) {
      const type = attributes[1] ?? "";
      const url = find(String(referrer ?? ""), String(specifier), type);
      load(url, type);
      const problem = link(url);
      if (problem) throw problem[0];
      await undefined; // nothing is evaluated amid another evaluation
      if (!evaluated.has(url)) {
        // It may import itself meanwhile.
        const end = Promise.withResolvers();
        evaluated.set(url, end.promise);
        end.promise.catch(() => {});
        end.resolve(evaluate(url));
      }
      await evaluated.get(url);
      return namespaceOf(url);
    },
    evaluateModule(url) {
      setExport(url, "default", texts.get(url));
      return Promise.resolve();
    },
    describeModule(url, meta) { meta.url = url; },
  };
}
"""


class _Shell:
    """`$262` and `print`, in an isolate.

    Attributes:
        isolate: The isolate.
        printed: What was printed.
    """

    def __init__(self, isolate: Isolate, *, install: bool) -> None:
        self.isolate = isolate
        self.printed: list[str] = []
        self._realms = [isolate.context]
        self._kept: list[Value] = []
        self._blank = install
        first = len(isolate.operations)
        isolate.operations += (
            Operation(self._evaluate, raw=True),
            Operation(self._make_realm, raw=True),
            Operation(isolate.collect_garbage),
            Operation(self.printed.append),
        )
        if install:
            function = isolate.run_script(_INSTALL, "install")
            isolate.call(function, isolate.native_function(), first)

    def _evaluate(self, isolate: Isolate, first: int, _count: int) -> int | None:
        """(text, index of a realm): what it throws goes on to the caller."""
        library = isolate.library
        index = library.number_value(first + _WORD_BYTES, isolate.context).value
        realm = self._realms[int(index)]
        script = library.compile(realm, first, None)
        value: int | None = library.script_run(script, realm) if script else None
        return value

    def _make_realm(self, isolate: Isolate, _first: int, _count: int) -> int:
        library = isolate.library
        # As when the isolate was made: it comes from the heap if there is one, and V8
        # must not add again what that has.
        if not self._blank:
            isolate.optimizer.set()
        local = library.context_new(
            isolate.pointer, None, None, None, NO_CALLBACK, None, *(NO_CALLBACK,) * 2
        )
        isolate.optimizer.clear()
        token = library.lookup("_ZN2v87Context16GetSecurityTokenEv", "p", "p")
        share = library.lookup(
            "_ZN2v87Context16SetSecurityTokenENS_5LocalINS_5ValueEEE", "-", "pp"
        )
        share(local, token(isolate.context))
        realm = isolate.own(local)
        self._realms.append(realm.slot)
        self._kept.append(realm)
        handle: int = library.context_global(realm.slot)
        return handle


class Bare:
    """V8 without anything of a context's."""

    def __init__(self, checkout: Path) -> None:
        self._checkout = checkout
        self._folder = ""
        self._failure: Failure | None = None
        self._done = False
        self.isolate = isolate = Isolate({**OPERATIONS, "find": Operation(self._find)})
        self._shell = _Shell(isolate, install=True)
        self.printed = self._shell.printed
        self._describe = isolate.run_script(_DESCRIBE, "describe")
        hooks = isolate.call(
            isolate.run_script(_MODULES, "modules"),
            isolate.native_function(),
            list(isolate.operation_names),
            isolate.operation_names.index("find"),
        )
        isolate.modules.find_hook = lambda name: isolate.get(hooks, name)

    def visit(self, folder: str) -> None:
        self._folder = folder

    def _find(self, *values: str) -> str:
        """(referrer, specifier, type) to its URL; (URL, type) to [text, targets]."""
        if len(values) > 2:
            return json.dumps(self._target(*values))
        url, kind = values
        path = self._checkout / "test" / url.partition("#")[0].removeprefix(_FILES)
        if not path.is_file():
            message = f"there is no module {url}"
            raise ThrowError(message, "TypeError")
        text = path.read_bytes().decode(errors="replace")
        targets = {}
        for _, name in () if kind else _IMPORTS.findall(text):
            found = self._target(url, name, _kind(text, name))
            if (
                self._checkout / "test" / found[len(_FILES) :].partition("#")[0]
            ).is_file():
                targets[name] = found
        return json.dumps([text, targets])

    def _target(self, referrer: str, specifier: str, kind: str) -> str:
        if specifier.startswith(_FILES):
            return specifier
        known = referrer.startswith(_FILES)
        folder = posixpath.dirname(referrer[len(_FILES) :]) if known else self._folder
        url = url_of(posixpath.normpath(posixpath.join(folder, specifier)))
        return f"{url}#{kind}" if kind else url

    def script(self, text: str) -> Failure | None:
        isolate = self.isolate
        library = isolate.library
        with Entered(isolate):
            with TryCatch(library, isolate.pointer) as caught:
                handle = new_string(library, isolate.pointer, text)
                script = library.compile(isolate.context, handle, None)
                done = script and library.script_run(script, isolate.context)
                isolate.raise_failure()
                thrown = None if done else isolate.thrown(caught)
            isolate.run_microtasks()
            if thrown is None:
                return None
            return self._described(thrown.value)

    def _described(self, value: Value | None) -> Failure:
        if value is None:
            return Failure("", "terminated")
        try:
            found = self.isolate.call(self._describe, value)
        except ScriptError as error:
            return Failure("", str(error))
        return Failure(*(self.isolate.get(found, str(at)) for at in (0, 1)))

    def module(self, url: str) -> Failure | None:
        isolate = self.isolate
        start = isolate.run_script(f"import({json.dumps(url)})", "start")
        isolate.mark_handled(start)
        isolate.run_microtasks()
        state, result = isolate.promise(start)
        return self._described(result) if state == _REJECTED else None

    def wait(self, until: Callable[[], bool]) -> None:
        """Run microtasks: nothing else waits, as there are no timers."""
        if not until():
            self.isolate.run_microtasks()


def _kind(text: str, name: str) -> str:
    """Return the type that an import of a specifier names."""
    found = re.search(
        re.escape(name) + r"""['"]\s*with\s*\{\s*['"]?type['"]?\s*:\s*['"](\w+)""", text
    )
    return found[1] if found else ""


class _Files:
    """The checkout's files by URL."""

    def __init__(self, checkout: Path, ending: str) -> None:
        self._folder = checkout / "test"
        self._ending = ending

    def _path(self, url: str) -> Path:
        path = url.removeprefix(_FILES).partition("#")[0]
        return self._folder / path.removesuffix(self._ending)

    def __contains__(self, url: str) -> bool:
        return url.startswith(_FILES) and self._path(url).is_file()

    def __getitem__(self, url: str) -> str:
        return self._path(url).read_bytes().decode(errors="replace")


class Cells(ModulesContext):
    """A context, in which each script is a cell."""

    def __init__(
        self, checkout: Path, language: Language, snapshot: Snapshot | None = None
    ) -> None:
        self._ending = _TYPESCRIPT if language == "typescript" else ""
        self._checkout = checkout
        self._number = 0
        files: Any = _Files(checkout, self._ending)
        self._folder = ""
        super().__init__(
            files, settings=ContextSettings(language=language), snapshot=snapshot
        )
        self.context.turns.disable_watchdog()
        self._shell = _Shell(self.context.bridge.isolate, install=snapshot is None)
        self.printed = self._shell.printed

    def restored(self) -> Cells:
        """Save the context, and go on from that in another one."""
        return Cells(self._checkout, "javascript", self.context.heaps.save())

    def visit(self, folder: str) -> None:
        self._folder = folder

    def _url(self, specifier: str, referrer: str) -> str:
        if specifier.startswith(_FILES):
            url = specifier
        else:
            known = referrer in self.files
            folder = (
                posixpath.dirname(referrer[len(_FILES) :]) if known else self._folder
            )
            url = url_of(posixpath.normpath(posixpath.join(folder, specifier)))
            if url.endswith(".js"):
                url += self._ending
        if url not in self.files:
            message = f"there is no module {specifier!r}"
            raise LookupError(message, specifier)
        return url

    def _module(self, url: str) -> GraphModule:
        source = self.files[url]
        kind = "json" if url.endswith(".json") else "esm"
        kind = "text" if url.endswith("#text") else kind
        module = GraphModule(url, Analysis(kind, exports=[]), source.encode(), "")
        for _, name in _IMPORTS.findall(source) if kind == "esm" else ():
            with contextlib.suppress(LookupError):  # V8 says so, if it comes to that
                target = self._url(name, url)
                is_text = _kind(source, name) == "text"
                module.imports[name] = f"{target}#text" if is_text else target
        return module

    def wait(self, until: Callable[[], bool], seconds: float = DEADLINE) -> None:
        """Wait no longer than there is something that may still happen."""
        context = self.context
        super().wait(lambda: until() or (context.wait_time() is None), seconds)

    def script(self, text: str) -> Failure | None:
        self._number += 1
        self.events.clear()
        self.context.begin(text, execution_id=self._number)
        self.wait(lambda: not self.context.busy)
        for event in self.events:
            if isinstance(event, ExecutionError):
                return Failure(event.error.ename, event.error.evalue)
        return None

    def module(self, url: str) -> Failure | None:
        return self.script(f"await import({json.dumps(url + self._ending)})")


def make(way: str, checkout: Path, files: Sequence[str]) -> Host:
    """Make one of `WAYS`, in which files of the harness have run."""
    language: Language = "typescript" if way == "typescript" else "javascript"
    made = Bare(checkout) if way == "bare" else Cells(checkout, language)
    for name in files:
        thrown = made.script((checkout / "harness" / name).read_bytes().decode())
        assert thrown is None, (name, thrown)
    if way == "restored" and isinstance(made, Cells):
        return made.restored()
    return made


def run_saved(cells: Cells, case: Case, mode: str) -> str:
    """Run a case, save the heap, and run it once more in a context that goes on there.

    Returns:
        What is wrong only there, or why the heap can't be saved.
    """
    if run(cells, case, mode):
        return ""
    try:
        restored = cells.restored()
    except SnapshotFailedError as error:
        return f"not saved: {error}"
    cells.printed.clear()
    # What a case has left behind may be why it can't run again.
    return "" if run(cells, case, mode) else run(restored, case, mode)
