"""Promises that were rejected and have no handler."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Final

from isokernel.v8 import linkage
from isokernel.v8.linkage import address_of, word
from isokernel.v8.scopes import Entered
from isokernel.v8.values import Value, to_python

if TYPE_CHECKING:
    from isokernel.v8.isolate import Isolate

_MAX: Final = 1000
"""More unhandled rejections than this in one turn are dropped, and counted."""

_LOGGED_MAX: Final = 64
"""Rejections in the log, before Python looks at it."""

_ENTRY_WORDS: Final = 2
_HEAD_WORDS: Final = 2


class Rejections:
    """Rejected promises without handlers, with their reasons and owners.

    V8 reports each rejection of a promise that has no handler yet, and each handler
    that comes later: both, wherever an async function throws and its caller catches
    that. Python would take longer for it than all the rest does. So machine code writes
    a log of the promises with their owners, and takes the last one out when its handler
    comes; whether the others have got one is asked of V8, once they are to be reported.
    On other processors V8 calls Python for each.
    """

    def __init__(self, isolate: Isolate) -> None:
        self._isolate = isolate
        self._unhandled: list[tuple[Value, Value]] = []
        self.dropped = 0
        # How many entries there are, how many there may be; of each the slots of
        # persistent handles of the promise and of its owner.
        words = _HEAD_WORDS + _LOGGED_MAX * _ENTRY_WORDS
        self._log = (ctypes.c_size_t * words)(0, _LOGGED_MAX)
        self._code: linkage.Code | None = None

    def watch(self, callback: int) -> None:
        """Have V8 report rejections.

        Args:
            callback: What calls `add`; for what is beyond the log, or if there is none.
        """
        self._code = self._make_code(callback)
        reporter = self._code.address if self._code is not None else callback
        self._isolate.library.rejection_handler(self._isolate.pointer, reporter)

    @property
    def pending(self) -> bool:
        """Whether there are any."""
        if self._log[0] or self._unhandled:
            self._look_again()
        return bool(self._unhandled)

    def add(self, promise: int) -> None:
        """Add a rejection; called by V8 with a local handle."""
        self._read_log()
        isolate = self._isolate
        owner = isolate.own(isolate.library.embedder_data(isolate.pointer))
        self._unhandled.append((isolate.own(promise), owner))
        if len(self._unhandled) > _MAX + _LOGGED_MAX:
            self._look_again()

    def take(self) -> list[tuple[Value, int]]:
        """Remove all that are still unhandled, and return (reason, owner) of each."""
        self._look_again()
        isolate, taken = self._isolate, []
        with Entered(isolate):
            for promise, owner in self._unhandled:
                reason = isolate.own(isolate.library.promise_result(promise.slot))
                taken.append((reason, isolate.owner_of(to_python(isolate, owner.slot))))
        self.clear()
        return taken

    def clear(self) -> None:
        """Remove all."""
        self._read_log()
        for pair in self._unhandled:
            _close(pair)
        self._unhandled.clear()

    def _look_again(self) -> None:
        """Remove what has got a handler, and what is too much."""
        self._read_log()
        has_handler = self._isolate.library.promise_has_handler
        unhandled: list[tuple[Value, Value]] = []
        with Entered(self._isolate):
            for pair in self._unhandled:
                if has_handler(pair[0].slot):
                    _close(pair)
                elif len(unhandled) == _MAX:
                    self.dropped += 1
                    _close(pair)
                else:
                    unhandled.append(pair)
        self._unhandled = unhandled

    def _read_log(self) -> None:
        """Take over what the log has."""
        count, self._log[0] = self._log[0], 0
        slots = self._log[_HEAD_WORDS : _HEAD_WORDS + count * _ENTRY_WORDS]
        values = [Value(self._isolate, slot) for slot in slots]
        self._unhandled += zip(values[::2], values[1::2], strict=True)

    def _make_code(self, callback: int) -> linkage.Code | None:
        """Make what V8 calls with a `v8::PromiseRejectMessage`, which is on the stack.

        Its words are at rsp + 8: a handle of the promise, the event, one of the value.
        """
        library = self._isolate.library

        load_log = b"\x49\xba" + word(ctypes.addressof(self._log))  # mov r10, log
        load_isolate = b"\x48\xbf" + word(self._isolate.pointer)  # mov rdi, isolate
        load_globalize = b"\x48\xb8" + word(
            address_of(library.globalize)
        )  # mov rax, ...
        load_dispose = b"\x48\xb8" + word(address_of(library.dispose_global))
        load_data = b"\x48\xb8" + word(address_of(library.embedder_data))
        call = b"\xff\xd0"  # call rax
        python = b"\x48\xb8" + word(callback) + b"\xff\xe0"  # mov rax, ...; jmp rax
        keep = b"".join(
            (
                b"\x53",  # push rbx
                b"\x48\x89\xc3",  # mov rbx, rax
                b"\x48\xc1\xe3\x04",  # shl rbx, 4
                b"\x4a\x8d\x5c\x13\x10",  # lea rbx, [rbx + r10 + 16]: the new entry
                load_isolate,
                b"\x48\x8b\x74\x24\x10",  # mov rsi, [rsp + 16]: the promise's handle
                b"\x48\x8b\x36",  # mov rsi, [rsi]
                load_globalize + call,
                b"\x48\x89\x03",  # mov [rbx], rax
                load_isolate + load_data + call,
                b"\x48\x8b\x30",  # mov rsi, [rax]
                load_isolate + load_globalize + call,
                b"\x48\x89\x43\x08",  # mov [rbx + 8], rax
                load_log + b"\x49\xff\x02",  # inc qword [r10]
                b"\x5b\xc3",  # pop rbx; ret
            )
        )
        rejected = b"".join(
            (
                b"\x49\x8b\x02",  # mov rax, [r10]
                b"\x49\x3b\x42\x08",  # cmp rax, [r10 + 8]
                b"\x72" + _short(python),  # jb over the next
                python,
                keep,
            )
        )
        drop = b"".join(
            (
                b"\x53",  # push rbx
                b"\x48\x89\xc3",  # mov rbx, rax
                b"\x49\xff\x0a",  # dec qword [r10]
                b"\x48\x8b\x3b",  # mov rdi, [rbx]
                load_dispose + call,
                b"\x48\x8b\x7b\x08",  # mov rdi, [rbx + 8]
                load_dispose + call,
                b"\x5b\xc3",  # pop rbx; ret
            )
        )
        compared = b"".join(
            (
                b"\x48\xff\xc8",  # dec rax
                b"\x48\xc1\xe0\x04",  # shl rax, 4
                b"\x4a\x8d\x44\x10\x10",  # lea rax, [rax + r10 + 16]: the last entry
                b"\x48\x8b\x10\x48\x8b\x12",  # mov rdx, [rax]; mov rdx, [rdx]
                b"\x48\x8b\x4c\x24\x08",  # mov rcx, [rsp + 8]: the promise's handle
                b"\x48\x3b\x11",  # cmp rdx, [rcx]
                b"\x74\x01\xc3",  # je over the next; ret
                drop,
            )
        )
        return linkage.machine_code(
            load_log,
            b"\x83\x7c\x24\x10\x00",  # cmp dword [rsp + 16], 0: rejected
            b"\x0f\x85" + len(rejected).to_bytes(4, "little"),  # jne over the next
            rejected,
            b"\x83\x7c\x24\x10\x01",  # cmp dword [rsp + 16], 1: it has a handler
            b"\x74\x01\xc3",  # je over the next; ret
            b"\x49\x8b\x02",  # mov rax, [r10]
            b"\x48\x85\xc0\x75\x01\xc3",  # test rax, rax; jnz over the next; ret
            compared,
        )


def _close(pair: tuple[Value, Value]) -> None:
    for value in pair:
        value.close()


def _short(instructions: bytes) -> bytes:
    """Return the distance of a short jump over some instructions."""
    return len(instructions).to_bytes(1, "little")
