"""V8's code of scripts and modules, for compiling the same text again in less time."""

from __future__ import annotations

import ctypes
from collections import Counter
from typing import TYPE_CHECKING, Final

from isokernel.v8.values import new_string

if TYPE_CHECKING:
    from isokernel.v8.isolate import Isolate
    from isokernel.v8.library import Library

NO_OPTIONS: Final = 0
CONSUME_CODE: Final = 1  # CompileOptions::kConsumeCodeCache
_EAGERLY: Final = 2  # CompileOptions::kEagerCompile
_NOT_OWNED: Final = 0  # CachedData::BufferPolicy
_OFTEN: Final = 3


class Source(ctypes.Structure):
    """v8::ScriptCompiler::Source, in V8 14.4; 72 bytes are known, there is room."""

    _fields_ = (
        ("text", ctypes.c_void_p),
        ("name", ctypes.c_void_p),
        ("line", ctypes.c_int),
        ("column", ctypes.c_int),
        ("options", ctypes.c_int),
        ("padding", ctypes.c_int),
        ("map_url", ctypes.c_void_p),
        ("host_options", ctypes.c_void_p),
        ("cached", ctypes.c_void_p),
        ("rest", ctypes.c_ubyte * 104),
    )


class CachedData(ctypes.Structure):
    """v8::ScriptCompiler::CachedData; its constructor fills in what isn't named."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("length", ctypes.c_int),
        ("rejected", ctypes.c_bool),
        ("rest", ctypes.c_ubyte * 51),
    )

    @classmethod
    def empty(cls, library: Library) -> CachedData:
        """Return one without data, which is the caller's."""
        made = cls()
        library.cached_data_new(ctypes.byref(made), None, 0, _NOT_OWNED)
        return made


def take(library: Library, made: int) -> bytes:
    """Copy what V8 has made of a script, and free V8's own."""
    found = CachedData.from_address(made)
    code = ctypes.string_at(found.data, found.length)
    library.cached_data_delete(made)
    library.operator_delete(made)
    return code


class KeptCode:
    """The code of scripts that several isolates of this process run.

    An isolate compiles each function when it is first called, which takes longer than
    all else that makes a context. Whoever makes a third one may make a hundredth: all
    of a script is compiled then, and the others take that over. Any thread may ask.

    Attributes:
        taken: How often V8 has taken code that was kept.
    """

    def __init__(self) -> None:
        """Know no script yet."""
        self.taken = 0
        self._counts: Counter[str] = Counter()
        self._codes: dict[str, bytes] = {}

    def compile(self, isolate: Isolate, text: str) -> int:
        """Compile a script in an isolate that is entered.

        Returns:
            The script; 0 if V8 has thrown.
        """
        library = isolate.library
        source = Source(new_string(library, isolate.pointer, text))
        options, cached = NO_OPTIONS, None
        code = self._codes.get(text)
        if code is not None:
            cached = CachedData.empty(library)
            cached.data = ctypes.cast(ctypes.c_char_p(code), ctypes.c_void_p)
            cached.length = len(code)
            source.cached, options = ctypes.addressof(cached), CONSUME_CODE
        else:
            self._counts[text] += 1
            if self._counts[text] >= _OFTEN:
                options = _EAGERLY
        script: int = library.script_compile(
            isolate.context, ctypes.byref(source), options, 0
        )
        if cached is not None:
            self.taken += not cached.rejected
        elif script and options == _EAGERLY:
            unbound = library.script_unbound(script)
            self._codes[text] = take(library, library.script_code(unbound))
        return script
