"""The ES modules of an isolate, by URL: compiled, linked, evaluated, saved.

A module isn't a JavaScript value, so JavaScript holds it by its URL: the operations at
the end of this file are what `runtime/modules.js` works with. What it decides, V8 asks
for by name (`HOOKS`): what `import()` gives, what `import.meta` has, what the exports
of a module are that is made of values instead of text.

V8 gives a callback the module that it is about and nothing else; its URL is found by
its hash. Modules are part of what is saved: the context owns them in the blob, in the
order of a list of URLs that lies on the extras object.
"""

from __future__ import annotations

import ctypes
import json
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, TypeAlias

from isokernel.v8 import callbacks
from isokernel.v8.callbacks import Operation
from isokernel.v8.code import (
    CONSUME_CODE,
    NO_OPTIONS,
    Source,
    compile_by,
    fit,
    new_cached_data,
    take_code,
)
from isokernel.v8.library import Span
from isokernel.v8.scopes import Entered, TryCatch
from isokernel.v8.values import UNDEFINED, new_string, read_string, to_local

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from isokernel.v8.isolate import Isolate, Thrown
    from isokernel.v8.values import Value

    Targets: TypeAlias = Mapping[str, str] | Sequence[str]
    """What the specifiers of a module stand for: by specifier, or in V8's order."""

__all__ = ["HOOKS", "OPERATIONS", "Code", "FindHook", "Modules"]

HOOKS: Final = ("importModule", "evaluateModule", "describeModule")
"""Functions (referrer, specifier, attributes) to a promise of the namespace;
(url), which sets the exports and returns a promise that is fulfilled; (url, meta)."""

_WORD = ctypes.c_size_t.from_address
_WORD_BYTES: Final = 8
_DONE: Final = 0x101  # Maybe<bool>: there is a value, and it is true
_INSTANTIATED, _EVALUATED = 2, 4  # v8::Module::Status
_IS_MODULE: Final = 8  # ScriptOriginOptions
_SHORT: Final = 512
"""Characters of names that are read without a buffer of their own."""
_ROOT: Final = "isokernelModules"
"""Where the list of URLs lies on V8's extras object, in a saved heap."""


class Code(NamedTuple):
    """What V8 has made of a module's text.

    Attributes:
        code: For V8 to compile the same text faster; bound to V8's version and flags.
        requests: The specifiers of its imports, in V8's order.
    """

    code: bytes
    requests: list[str]


class FindHook(Protocol):
    """Finds one of `HOOKS`."""

    def __call__(self, name: str, /) -> Value:
        """Return the function."""


class Modules:
    """The modules of one isolate. Of its thread, and entered wherever V8 is called.

    Attributes:
        find_hook: Finds what V8 asks for; None where nothing can be imported.
        code_taken: How many modules V8 has made of their code.
        code_refused: How many V8 has compiled although they had code.
    """

    def __init__(self, isolate: Isolate, *, saved: bool) -> None:
        """Know no module yet.

        Args:
            isolate: Whose modules.
            saved: It goes on from a heap, which may have some; they are looked for
                when the first one is wanted.
        """
        self.find_hook: FindHook | None = None
        self.code_taken = self.code_refused = 0
        self._isolate = isolate
        self._library = isolate.library
        self._saved = saved
        self._slots: dict[str, int] = {}
        self._urls: dict[int, list[tuple[int, str]]] = {}
        # What the specifiers of a module that isn't linked stand for, if it has any.
        self._targets: dict[str, Targets] = {}
        # Code of what is to be run as a script, by URL.
        self._script_code: dict[str, bytes] = {}
        # The modules that V8 asks for next: those of one module, in its order, and
        # without another between; and those for which it has asked.
        self._asked: Iterator[int | None] = iter(())
        self._linking: list[str] = []
        # Graphs have thousands of short names: a buffer for each is half of the time.
        self._buffer = ctypes.create_string_buffer(_SHORT)

    @property
    def used(self) -> bool:
        """Whether there may be any module."""
        return self._saved or bool(self._slots)

    def text(self, handle: int) -> str:
        """Copy a name or a URL out of V8."""
        library, pointer = self._library, self._isolate.pointer
        length = library.string_length(handle)
        if length > _SHORT or not library.string_is_latin1(handle):
            return read_string(library, pointer, handle)
        library.string_write_latin1(handle, pointer, 0, length, self._buffer, 0)
        return self._buffer.raw[:length].decode("latin-1")

    # -- by URL --------------------------------------------------------------------

    def slot(self, url: str) -> int | None:
        """Return the handle of a module."""
        if self._saved:
            self._take_saved()
        return self._slots.get(url)

    def urls(self) -> list[str]:
        """Return the URLs of all modules."""
        if self._saved:
            self._take_saved()
        return list(self._slots)

    def namespaces(self) -> list[str | Value]:
        """Return the URL and the namespace of each module that has been evaluated."""
        isolate, library = self._isolate, self._library
        found: list[str | Value] = []
        with Entered(isolate):
            for url in self.urls():
                slot = self._slots[url]
                if library.module_status(slot) == _EVALUATED:
                    found += (url, isolate.own(library.module_namespace(slot)))
        return found

    def url(self, module: int) -> str:
        """Return the URL of a module that V8 hands out."""
        if self._saved:
            self._take_saved()
        word = _WORD(module).value
        for slot, url in self._urls.get(self._library.module_hash(module), ()):
            if _WORD(slot).value == word:
                return url
        return ""

    def drop(self, url: str) -> None:
        """Forget a module; what has imported it goes on with it."""
        self._script_code.pop(url, None)
        slot = self.slot(url)
        if slot is None:
            return
        del self._slots[url]
        self._targets.pop(url, None)
        digest = self._library.module_hash(slot)
        kept = [known for known in self._urls[digest] if known[0] != slot]
        if kept:
            self._urls[digest] = kept
        else:
            del self._urls[digest]
        self._isolate.release(slot)

    def _keep(self, url: str, module: int) -> int:
        slot: int = self._library.globalize(self._isolate.pointer, _WORD(module).value)
        self._isolate.handles.add(slot)
        self._slots[url] = slot
        self._urls.setdefault(self._library.module_hash(slot), []).append((slot, url))
        return slot

    # -- from text to a namespace ----------------------------------------------------

    def compile(self, url: str, text: int, targets: Targets) -> list[Any]:
        """Compile a module, unless it is known.

        Args:
            url: What it is called.
            text: Handle of its text.
            targets: The URL of each specifier in it.

        Returns:
            Nothing; or what V8 has to say against it, as `problem` has it.
        """
        if self.slot(url) is not None:
            return []
        isolate, library = self._isolate, self._library
        source = Source(text, new_string(library, isolate.pointer, url))
        source.options = _IS_MODULE
        with TryCatch(library, isolate.pointer) as caught:
            module = library.module_compile(
                isolate.pointer, ctypes.byref(source), NO_OPTIONS, 0
            )
            if not module:
                return self.problem(caught)
            self._keep(url, module)
        if targets:
            self._targets[url] = targets
        return []

    def compile_all(
        self,
        urls: Sequence[str],
        rows: Iterable[Sequence[Any]],
        scripts: Iterable[Sequence[int]],
        data: Span,
    ) -> list[Any]:
        """Compile many modules, as far as they aren't known.

        Args:
            urls: All that are named below by their place here.
            rows: Of each module its URL, where its text begins and its bytes (UTF-8),
                where its code begins and its bytes (0: it has none), and its targets.
            scripts: Of others, which are run as scripts: URL, where their code begins
                and its bytes. It is kept here until then, where no JavaScript can
                change it.
            data: Texts and code, which are changed as V8 wants them.

        Returns:
            What `compile` does, of the first one that can't be compiled.
        """
        isolate, library = self._isolate, self._library
        pointer, start = isolate.pointer, data.data or 0
        source, cached = Source(options=_IS_MODULE), new_cached_data(library)
        checksum = isolate.code_checksum
        source_at, cached_at = ctypes.addressof(source), ctypes.addressof(cached)
        make_text, compile_ = library.string_new_utf8, library.module_compile
        known = dict.fromkeys(self.urls())
        for number, code, code_size in scripts:
            if code + code_size > data.size:
                raise _beyond(urls[number])
            found = ctypes.string_at(start + code, code_size)
            self._script_code[urls[number]] = found
        with TryCatch(library, pointer) as caught:
            for number, text, size, code, code_size, targets in rows:
                url = urls[number]
                if max(text + size, code + code_size) > data.size:
                    raise _beyond(url)
                if url in known:
                    continue
                source.text = make_text(pointer, start + text, 0, size)
                source.name = new_string(library, pointer, url)
                source.cached, options = None, NO_OPTIONS
                if code_size:
                    fit(start + code, code_size, checksum)
                    cached.data, cached.length = start + code, code_size
                    cached.rejected = False
                    source.cached, options = cached_at, CONSUME_CODE
                module = compile_(pointer, source_at, options, 0)
                if not module:
                    return self.problem(caught)
                self._keep(url, module)
                if code_size:
                    self.code_taken += not cached.rejected
                    self.code_refused += cached.rejected
                if targets:
                    self._targets[url] = (
                        [urls[target] for target in targets]
                        if isinstance(targets, list)
                        else {name: urls[target] for name, target in targets.items()}
                    )
        return []

    def run_script(self, name: int, text: int, column: int) -> list[Any]:
        """Run a script, by its code if `compile_all` was given any.

        Args:
            name: Handle of its URL.
            text: Handle of its text.
            column: Where its first line begins.

        Returns:
            [its value], or what `compile` does.
        """
        isolate, library = self._isolate, self._library
        source = Source(text, name, column=column)
        code = self._script_code.pop(self.text(name), None)
        with TryCatch(library, isolate.pointer) as caught:
            if code is None:
                script = library.script_compile(
                    isolate.context, ctypes.byref(source), NO_OPTIONS, 0
                )
            else:
                script, taken = compile_by(isolate, source, code)
                self.code_taken += taken
                self.code_refused += not taken
            value = library.script_run(script, isolate.context) if script else None
            if value:
                return [isolate.own(value)]
            return self.problem(caught)

    def script_code(self, text: bytes) -> Code | None:
        """Compile a script without keeping it, nor running it; as `code`."""
        isolate, library = self._isolate, self._library
        pointer = isolate.pointer
        with Entered(isolate), TryCatch(library, pointer):
            source = Source(library.string_new_utf8(pointer, text, 0, len(text)))
            script = library.script_compile(
                isolate.context, ctypes.byref(source), NO_OPTIONS, 0
            )
            if not script:
                return None
            unbound = library.script_unbound(script)
            return Code(take_code(library, library.script_code(unbound)), [])

    def code(self, text: bytes) -> Code | None:
        """Compile a module without keeping it; None if V8 refuses it.

        Args:
            text: In UTF-8.
        """
        isolate, library = self._isolate, self._library
        pointer = isolate.pointer
        with Entered(isolate), TryCatch(library, pointer):
            source = Source(options=_IS_MODULE)
            source.text = library.string_new_utf8(pointer, text, 0, len(text))
            source.name = new_string(library, pointer, "")
            module = library.module_compile(
                pointer, ctypes.byref(source), NO_OPTIONS, 0
            )
            if not module:
                return None
            made = library.module_code(library.module_unbound(module))
            code = take_code(library, made)
            requests = library.module_requests(module)
            return Code(
                code,
                [
                    self.text(
                        library.request_specifier(
                            library.fixed_array_get(requests, index)
                        )
                    )
                    for index in range(library.fixed_array_length(requests))
                ],
            )

    def refused(self, text: str) -> Thrown | None:
        """Compile a module without keeping it; return V8's error, if any."""
        isolate, library = self._isolate, self._library
        with Entered(isolate), TryCatch(library, isolate.pointer) as caught:
            name = new_string(library, isolate.pointer, "")
            source = Source(new_string(library, isolate.pointer, text), name)
            source.options = _IS_MODULE
            if library.module_compile(
                isolate.pointer, ctypes.byref(source), NO_OPTIONS, 0
            ):
                return None
            return isolate.thrown(caught)

    def make(self, url: str, names: list[str]) -> None:
        """Make a module of values, unless it is known; `evaluateModule` gives them."""
        if self.slot(url) is not None:
            return
        isolate, library = self._isolate, self._library
        handles = (ctypes.c_void_p * len(names))(
            *(new_string(library, isolate.pointer, name) for name in names)
        )
        span = Span(ctypes.addressof(handles), len(names))
        module = library.module_synthetic(
            isolate.pointer,
            new_string(library, isolate.pointer, url),
            ctypes.byref(span),
            callbacks.evaluate_values,
        )
        self._keep(url, module)

    def link(self, url: str) -> list[Any]:
        """Link a module with all that it imports; returns what `compile` does."""
        isolate, library = self._isolate, self._library
        slot = self.slot(url)
        if slot is None or library.module_status(slot) >= _INSTANTIATED:
            return []
        self._linking.clear()
        callbacks.LINKING.append(self.requested)
        try:
            with TryCatch(library, isolate.pointer) as caught:
                done = library.module_instantiate(
                    slot, isolate.context, callbacks.resolve_module, None
                )
                if done != _DONE:
                    return self.problem(caught)
        finally:
            callbacks.LINKING.pop()
        for linked in self._linking:
            self._targets.pop(linked, None)
        return []

    def problem(self, caught: TryCatch) -> list[Any]:
        """Return [error, script, line, column, end column]; lines from 1, else from 0.

        Nothing but None if it was a termination.
        """
        isolate, library = self._isolate, self._library
        thrown = isolate.thrown(caught)
        message = caught.message
        if thrown.value is None or not message:
            return [thrown.value]
        name = library.message_script(message)
        script = self.text(name) if name else ""
        place = [thrown.line, thrown.column, thrown.end_column]
        return [thrown.value, script, *place]

    # -- what V8 asks for --------------------------------------------------------------

    def requested(self, index: int, referrer: int) -> int | None:
        """Return the module that a request is for; throws where there is none.

        V8 asks for the requests of a module from the first to the last. Graphs have
        thousands, so what needn't be looked up each time isn't.
        """
        if not index:
            url = self.url(referrer)
            self._linking.append(url)
            targets = self._targets.get(url, ())
            found = () if isinstance(targets, dict) else targets
            self._asked = map(self._slots.get, found)
        return next(self._asked, None) or self._requested(index, referrer)

    def _requested(self, index: int, referrer: int) -> int | None:
        """Find by specifier what a request is for."""
        isolate, library = self._isolate, self._library
        url = self.url(referrer)
        targets = self._targets.get(url)
        request = library.fixed_array_get(library.module_requests(referrer), index)
        specifier = self.text(library.request_specifier(request))
        target = targets.get(specifier) if isinstance(targets, dict) else None
        slot = None if target is None else self._slots.get(target)
        if slot is None:
            isolate.throw(f"{url} imports {specifier!r}, which was not loaded")
        return slot

    def import_dynamically(
        self, referrer: int, specifier: int, attributes: int
    ) -> int | None:
        """Return a promise of a namespace; nothing where something was thrown."""
        isolate, library = self._isolate, self._library
        count = library.fixed_array_length(attributes)
        pairs = (ctypes.c_void_p * count)(
            *(library.fixed_array_get(attributes, index) for index in range(count))
        )
        array = library.array_new(isolate.pointer, ctypes.addressof(pairs), count)
        return self._ask("importModule", referrer, specifier, array)

    def evaluate_values(self, module: int) -> int | None:
        """Set the exports of a module that is made of values."""
        text = new_string(self._library, self._isolate.pointer, self.url(module))
        return self._ask("evaluateModule", text)

    def describe(self, module: int, meta: int) -> None:
        """Define what the `import.meta` of a module has."""
        text = new_string(self._library, self._isolate.pointer, self.url(module))
        self._ask("describeModule", text, meta)

    def _ask(self, name: str, *arguments: int) -> int | None:
        isolate = self._isolate
        if self.find_hook is None:
            isolate.throw("nothing can be imported here", "TypeError")
            return None
        handles = (ctypes.c_void_p * len(arguments))(*arguments)
        result: int | None = self._library.call(
            self.find_hook(name).slot,
            isolate.context,
            isolate.constant(UNDEFINED),
            len(arguments),
            ctypes.addressof(handles),
        )
        return result

    # -- saved heaps -------------------------------------------------------------------

    def suspend(self, creator: object) -> None:
        """Give the modules to the context, in the process that writes it."""
        isolate, library = self._isolate, self._library
        urls = self.urls()
        if not urls:
            return
        state = [[url, self._targets.get(url)] for url in urls]
        with Entered(isolate):
            isolate.set(isolate.extras(), _ROOT, json.dumps(state))
            for url in urls:
                word = _WORD(self._slots[url]).value
                library.creator_add_data(creator, isolate.context, word)

    def _take_saved(self) -> None:
        """Find the modules of a heap that the isolate goes on from."""
        self._saved = False
        isolate, library = self._isolate, self._library
        with Entered(isolate):
            text = isolate.get(isolate.extras(), _ROOT)
            if not isinstance(text, str):
                return
            isolate.set(isolate.extras(), _ROOT, None)
            for index, (url, targets) in enumerate(json.loads(text)):
                self._keep(url, library.context_take_data(isolate.context, index))
                if targets is not None:
                    self._targets[url] = targets


def _beyond(url: str) -> ValueError:
    return ValueError(f"{url} is said to end behind the end of its data")


# -- operations ------------------------------------------------------------------------
# Raw ones (isolate, first argument's address, count): no text is copied to Python and
# back that V8 has already.


def _text(isolate: Isolate, handle: int) -> str:
    return isolate.modules.text(handle)


def _compile(isolate: Isolate, first: int, _count: int) -> int | None:
    """(url, text, targets as JSON) to undefined, or `Modules.problem`."""
    url, targets = (
        _text(isolate, first),
        json.loads(_text(isolate, first + 2 * _WORD_BYTES)),
    )
    problem = isolate.modules.compile(url, first + _WORD_BYTES, targets)
    return to_local(isolate, problem) if problem else None


def _compile_all(isolate: Isolate, first: int, _count: int) -> int | None:
    """([urls, rows, scripts] as JSON, data) to undefined, or `Modules.problem`."""
    library = isolate.library
    urls, rows, scripts = json.loads(_text(isolate, first))
    buffer = first + _WORD_BYTES
    data = Span(library.buffer_data(buffer), library.buffer_length(buffer))
    problem = isolate.modules.compile_all(urls, rows, scripts, data)
    return to_local(isolate, problem) if problem else None


def _decode(isolate: Isolate, first: int, _count: int) -> int | None:
    """(data, where a text begins, its bytes) to the text, which is UTF-8."""
    library = isolate.library
    start, size = (
        int(library.number_value(first + place * _WORD_BYTES, isolate.context).value)
        for place in (1, 2)
    )
    if start + size > library.buffer_length(first):
        message = "the text is said to end behind the end of its data"
        raise ValueError(message)
    data = library.buffer_data(first) or 0
    handle: int | None = library.string_new_utf8(isolate.pointer, data + start, 0, size)
    return handle


def _make(isolate: Isolate, first: int, _count: int) -> None:
    """(url, names as JSON)."""
    names = json.loads(_text(isolate, first + _WORD_BYTES))
    isolate.modules.make(_text(isolate, first), names)


def _set_export(isolate: Isolate, first: int, _count: int) -> None:
    """(url, name, value): one export of a module that is made of values."""
    slot = isolate.modules.slot(_text(isolate, first))
    if slot is not None:
        isolate.library.module_set_export(
            slot, isolate.pointer, first + _WORD_BYTES, first + 2 * _WORD_BYTES
        )


def _link(isolate: Isolate, first: int, _count: int) -> int | None:
    """(url) to undefined, or `Modules.problem`."""
    problem = isolate.modules.link(_text(isolate, first))
    return to_local(isolate, problem) if problem else None


def _evaluate(isolate: Isolate, first: int, _count: int) -> int | None:
    """(url) to the promise of its evaluation."""
    slot = isolate.modules.slot(_text(isolate, first))
    if slot is None:
        return None
    handle: int | None = isolate.library.module_evaluate(slot, isolate.context)
    return handle


def _namespace(isolate: Isolate, first: int, _count: int) -> int | None:
    """(url) to its namespace."""
    slot = isolate.modules.slot(_text(isolate, first))
    if slot is None:
        return None
    handle: int = isolate.library.module_namespace(slot)
    return handle


def _status(isolate: Isolate, first: int, _count: int) -> int:
    """(url) to a v8::Module::Status, -1 for a module that isn't known."""
    slot = isolate.modules.slot(_text(isolate, first))
    return to_local(
        isolate, -1 if slot is None else isolate.library.module_status(slot)
    )


def _drop(isolate: Isolate, first: int, _count: int) -> None:
    """(url)."""
    isolate.modules.drop(_text(isolate, first))


def _urls(isolate: Isolate, _first: int, _count: int) -> int:
    """() to the URLs of all modules, as JSON."""
    return to_local(isolate, json.dumps(isolate.modules.urls()))


def _script(isolate: Isolate, first: int, _count: int) -> int | None:
    """(URL, text, head) to [value], or `Modules.problem`.

    The head is how many characters of the first line aren't counted in places.
    """
    head = first + 2 * _WORD_BYTES
    column = -int(isolate.library.number_value(head, isolate.context).value)
    done = isolate.modules.run_script(first, first + _WORD_BYTES, column)
    return to_local(isolate, done)


OPERATIONS: Final = {
    "compileModule": Operation(_compile, raw=True),
    "makeModule": Operation(_make, raw=True),
    "setExport": Operation(_set_export, raw=True),
    "linkModule": Operation(_link, raw=True),
    "evaluateModule": Operation(_evaluate, raw=True),
    "namespaceOf": Operation(_namespace, raw=True),
    "statusOf": Operation(_status, raw=True),
    "dropModule": Operation(_drop, raw=True),
    "moduleUrls": Operation(_urls, raw=True),
    "runScript": Operation(_script, raw=True),
    "compileModules": Operation(_compile_all, raw=True),
    "decodeText": Operation(_decode, raw=True),
}
"""For `Isolate`'s table of operations."""
