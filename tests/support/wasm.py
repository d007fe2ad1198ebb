"""WebAssembly modules, put together by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["I32", "body", "module", "name", "signature", "signed", "unsigned", "vector"]

I32 = b"\x7f"
FUNCREF = b"\x70"
END = b"\x0b"


def unsigned(number: int) -> bytes:
    parts = b""
    while number > 0x7F:
        parts += bytes((number & 0x7F | 0x80,))
        number >>= 7
    return parts + bytes((number,))


def signed(number: int) -> bytes:
    parts = b""
    while not -0x40 <= number < 0x40:
        parts += bytes((number & 0x7F | 0x80,))
        number >>= 7
    return parts + bytes((number & 0x7F,))


def vector(items: Iterable[bytes]) -> bytes:
    listed = list(items)
    return unsigned(len(listed)) + b"".join(listed)


def name(text: str) -> bytes:
    raw = text.encode()
    return unsigned(len(raw)) + raw


def signature(parameters: int, results: int, type_: bytes = I32) -> bytes:
    return b"\x60" + vector([type_] * parameters) + vector([type_] * results)


def body(code: bytes, variables: bytes = b"\0") -> bytes:
    """A function's, which ends."""
    whole = variables + code + END
    return unsigned(len(whole)) + whole


def constant(number: int) -> bytes:
    """An expression of a 32-bit integer, with its end."""
    return b"\x41" + signed(number) + END


def module(sections: dict[int, Sequence[bytes] | bytes]) -> bytes:
    """A module of sections by their numbers, in their order; a list is a vector."""
    parts = [b"\0asm\1\0\0\0"]
    for number, items in sections.items():
        whole = items if isinstance(items, bytes) else vector(items)
        parts.append(bytes((number,)) + unsigned(len(whole)) + whole)
    return b"".join(parts)
