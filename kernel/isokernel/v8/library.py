"""Loading V8: find py_mini_racer's library, start V8 once, resolve every symbol.

py_mini_racer's own package isn't imported: it pulls in asyncio and its own context
machinery (45 ms of the 70 ms that the engine's start would take); what we need of it
is its library, its ICU data and one C function, `mr_init_v8`.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib.util
import os
import sys
import threading
from typing import Any, Final

from isokernel.errors import EngineCheckError, EngineError, EngineNotFoundError
from isokernel.v8 import pages, symbols

MINI_RACER_VERSION: Final = "0.14.1"
"""The release of mini-racer whose library the binding knows; pinned exactly."""

V8_VERSION: Final = "14.4.258.23"
"""The V8 inside it. Blobs of another version are never read."""

FLAGS: Final = (
    # No worker threads in V8: this is what makes fork() safe.
    "--single-threaded",
    # Without it each blob brings a read-only heap of its own while all isolates of a
    # process share the first one's, and an isolate from another blob loses names.
    "--no-extensible-ro-snapshot",
)
"""What a heap depends on, too."""

_OTHER_FLAGS: Final = (
    # Collecting all garbage of one isolate, as for writing it, throws away the code of
    # the process's WebAssembly: the TypeScript compiler would need 10 ms to have it
    # again.
    "--no-flush-liftoff-code",
)

_LOCK: Final = threading.Lock()
_LIBRARY_NAMES: Final = {
    "linux": "libmini_racer.so",
    "darwin": "libmini_racer.dylib",
}


class Callback(ctypes.Structure):
    """V8's (de)serialization callbacks: {function, data}, passed by value."""

    _fields_ = (("function", ctypes.c_void_p), ("data", ctypes.c_void_p))


class StartupData(ctypes.Structure):
    """v8::StartupData; returned by value in two registers."""

    _fields_ = (("data", ctypes.c_void_p), ("size", ctypes.c_int))


class Span(ctypes.Structure):
    """v8::MemorySpan and std::pair<uint8_t*, size_t>."""

    _fields_ = (("data", ctypes.c_void_p), ("size", ctypes.c_size_t))


class Vector(ctypes.Structure):
    """A std::vector of libc++, with 8-byte elements; the caller's storage."""

    _fields_ = (
        ("begin", ctypes.c_void_p),
        ("end", ctypes.c_void_p),
        ("capacity", ctypes.c_void_p),
    )

    def take(self, library: Library) -> list[int]:
        """Return its elements, and free what V8 has allocated for them."""
        if not self.begin:
            return []
        count = (self.end - self.begin) // ctypes.sizeof(ctypes.c_size_t)
        elements = list((ctypes.c_size_t * count).from_address(self.begin))
        library.operator_delete(self.begin)
        return elements


class MaybeDouble(ctypes.Structure):
    """v8::Maybe<double>."""

    _fields_ = (("present", ctypes.c_bool), ("value", ctypes.c_double))


class RejectMessage(ctypes.Structure):
    """v8::PromiseRejectMessage; 24 bytes, passed by value."""

    _fields_ = (
        ("promise", ctypes.c_void_p),
        ("event", ctypes.c_int),
        ("value", ctypes.c_void_p),
    )


NO_CALLBACK: Final = Callback(None, None)


def _entropy(target: int, size: int) -> bool:
    """Seeds V8's random numbers; it would open /dev/urandom, which not all may."""
    ctypes.memmove(target, os.urandom(size), size)
    return True


_ENTROPY: Final = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_void_p, ctypes.c_size_t)(
    _entropy
)


_TYPES: Final[dict[str, Any]] = {
    "-": None,
    "p": ctypes.c_void_p,
    "i": ctypes.c_int,
    "I": ctypes.c_uint32,
    "b": ctypes.c_bool,
    "z": ctypes.c_size_t,
    "s": ctypes.c_char_p,
    "d": ctypes.c_double,
    "m": ctypes.c_uint16,  # Maybe<bool>: {has_value, value}
    "M": MaybeDouble,
    "S": Span,
    "C": Callback,
    "D": StartupData,
}


class Library:
    """V8's functions, ready to be called through ctypes; one per process.

    Attributes are `path` and `size`, the file's and its bytes, and the names of
    `symbols.PROTOTYPES`. Calls release the GIL. A function
    that takes an isolate may be called only by the thread that has entered it, except
    `terminate` and `request_interrupt`, which V8 documents as thread-safe.
    """

    def __init__(self, path: str) -> None:
        """Open the library at `path` and resolve every function of the table.

        Raises:
            EngineCheckError: A function is missing.
        """
        self.path = path
        self._rare: set[str] = set()
        # A confined process, which may save heaps, can't look at files any more.
        self.size = os.path.getsize(path)  # noqa: PTH202 -- importing pathlib: 4 ms
        self.handle = _open(path)
        missing = [
            name
            for name, prototype in symbols.PROTOTYPES.items()
            if not self._resolve(name, *prototype)
        ]
        missing += [
            name
            for name in {*dict(symbols.BRANDS).values(), *symbols.KINDS}
            if not self._resolve(name, symbols.predicate(name), "b", "p")
        ]
        missing += [
            name
            for name in symbols.UNSAVABLE.values()
            if not self._resolve(name, symbols.heap_predicate(name), "b", "z")
        ]
        missing += [
            symbol
            for symbol in (symbols.LATIN1_TEXT, symbols.WIDE_TEXT)
            if not hasattr(self.handle, symbol)
        ]
        if missing:
            what = "symbols"
            raise EngineCheckError(what, f"missing {', '.join(sorted(missing))}")
        self.kinds = tuple(
            (brand, getattr(self, name)) for brand, name in symbols.BRANDS
        )
        self.unsavable = tuple(
            (kind, getattr(self, name)) for kind, name in symbols.UNSAVABLE.items()
        )

    def _resolve(self, name: str, symbol: str, result: str, arguments: str) -> bool:
        try:
            function = self.handle[symbol]
        except AttributeError:
            return False
        function.restype = _TYPES[result]
        function.argtypes = [_TYPES[letter] for letter in arguments]
        setattr(self, name, function)
        return True

    def __getattr__(self, name: str) -> Any:
        """Fail for a function that isn't in the table; the others are attributes."""
        raise AttributeError(name)

    def lookup(self, symbol: str, result: str, arguments: str) -> Any:
        """Return a function that isn't in the table, as it is hardly ever needed.

        Raises:
            EngineCheckError: The library has no such symbol.
        """
        if symbol not in self._rare:
            if not self._resolve(symbol, symbol, result, arguments):
                what = "symbols"
                raise EngineCheckError(what, f"missing {symbol}")
            self._rare.add(symbol)
        return getattr(self, symbol)

    def address(self, symbol: str) -> int:
        """Return the address of an exported function, for external references.

        Raises:
            AttributeError: The library has no such symbol.
        """
        return ctypes.cast(self.handle[symbol], ctypes.c_void_p).value or 0

    def identity(self) -> str:
        """Return what a snapshot depends on: V8's version, its flags, this file."""
        return f"{V8_VERSION}:{self.size}:{' '.join(FLAGS)}"


def engine_identity() -> str:
    """Return what V8's code depends on: its version and flags; nothing is loaded."""
    return f"{V8_VERSION}:{' '.join(FLAGS + _OTHER_FLAGS)}"


def _open(path: str) -> ctypes.CDLL:
    """Open a library without holding the GIL.

    The dynamic linker binds 49,000 functions for 17 ms; ctypes keeps the GIL for it,
    so the linker is called as any other C function instead.
    """
    linker = ctypes.CDLL(None).dlopen
    linker.restype, linker.argtypes = ctypes.c_void_p, [ctypes.c_char_p, ctypes.c_int]
    handle = linker(os.fsencode(path), os.RTLD_NOW)
    # For an error, ctypes's own way has the linker's words.
    return ctypes.CDLL(path, handle=handle) if handle else ctypes.CDLL(path)


def find() -> str:
    """Return the path of py_mini_racer's library.

    Raises:
        EngineNotFoundError: mini-racer isn't installed, or not for this platform.
    """
    spec = importlib.util.find_spec("py_mini_racer")
    if spec is None or not spec.submodule_search_locations:
        message = f"the package mini-racer=={MINI_RACER_VERSION} is not installed"
        raise EngineNotFoundError(message)
    path = f"{spec.submodule_search_locations[0]}/{_LIBRARY_NAMES.get(sys.platform)}"
    if not os.access(path, os.R_OK):
        message = f"mini-racer has no library for this platform ({sys.platform})"
        raise EngineNotFoundError(message)
    return path


def load() -> Library:
    """Return the process's one library; any thread may ask, the first one loads it.

    Raises:
        EngineNotFoundError: mini-racer isn't installed, or not for this platform.
        EngineCheckError: It is another release than the one that the binding knows.
    """
    with _LOCK:
        return _load()


def preload() -> None:
    """Begin to load in a thread, beside whatever else has to be done at the start.

    An error is raised again by the `load` that needs the library.
    """

    def attempt() -> None:
        with contextlib.suppress(EngineError):
            load()

    threading.Thread(target=attempt, name="isokernel-preload").start()


@functools.cache
def _load() -> Library:
    """Load the library and start V8, once per process; fork() afterwards is fine.

    Raises:
        EngineNotFoundError: mini-racer isn't installed, or not for this platform.
        EngineCheckError: It is another release than the one that the binding knows.
    """
    path = find()
    data = f"{path.rpartition('/')[0]}/icudtl.dat"
    if not os.access(data, os.R_OK):
        message = f"V8's ICU data is missing beside {path}"
        raise EngineNotFoundError(message)
    library = Library(path)
    library.entropy_source(ctypes.cast(_ENTROPY, ctypes.c_void_p))
    library.initialize(" ".join(FLAGS + _OTHER_FLAGS).encode(), os.fsencode(data))
    pages.drop_symbols(path)
    pages.share_data(data)
    version = library.version().decode()
    if version != V8_VERSION:
        what = "version"
        raise EngineCheckError(what, f"V8 is {version}, expected {V8_VERSION}")
    return library
