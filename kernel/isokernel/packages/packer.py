"""A confined process that makes packs of tarballs.

Tarballs are unpacked and lexed there, not where contexts are held: what anybody has
published can't then reach more than its own pack, and holds up nobody. The process is
started by the first package that isn't in the cache.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Final, Literal, NoReturn

import msgspec

from isokernel.errors import (
    PackageDamagedError,
    PackageError,
    PackageLimitError,
    reason_of,
)
from isokernel.packages.packs import Analysis, Code, analyse_file, build_pack
from isokernel.packages.tarballs import read_tarball
from isokernel.sandbox import SandboxSettings, close_descriptors, confine, seccomp

if TYPE_CHECKING:
    from isokernel.packages.lexing import Lexer

__all__ = ["Packer", "main"]

_LENGTH: Final = struct.Struct("<Q")
_START: Final = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from isokernel.packages.packer import main; main(int(sys.argv[2]))"
)
_INHERITED: Final = ("LANG", "LD_LIBRARY_PATH")
_MEMORY_FACTOR: Final = 4
"""Memory that a package may take, by its unpacked size: as bytes, text and pack."""
_V8_HEAP_BYTES: Final = 1 << 30
_END_SECONDS: Final = 5.0
_HEAD: Final = b"(function (exports, require, module, __filename, __dirname) {"
"""As in `runtime/commonjs.js`; V8 refuses code of a text that has another length."""


class _Order(msgspec.Struct, array_like=True):
    """Make a pack of a tarball, analyse a text, or compile texts."""

    kind: Literal["pack", "lex", "compile"]
    data: bytes
    path: str = ""
    is_module: bool | None = None
    bytes_max: int = 0
    files_max: int = 0


class _Done(msgspec.Struct, array_like=True):
    """What came of it."""

    kind: Literal["pack", "analysis", "code", "damaged", "limit"]
    data: bytes = b""
    message: str = ""


class Packer:
    """The process, for those who have tarballs. Its methods block; any thread calls.

    One package after the other: most take a few milliseconds.
    """

    def __init__(
        self,
        *,
        sandbox: SandboxSettings | None,
        seconds_max: float,
        unpacked_bytes_max: int,
        files_max: int,
    ) -> None:
        """Start nothing yet.

        Args:
            sandbox: How the process is confined; None for not at all.
            seconds_max: How long one package may take.
            unpacked_bytes_max: How large it may be.
            files_max: How many files it may have.
        """
        self._sandbox = sandbox
        self._seconds_max = seconds_max
        self._bytes_max = unpacked_bytes_max
        self._files_max = files_max
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None

    def start(self) -> None:
        """Start the process now, while what it is needed for is on its way."""
        with self._lock, contextlib.suppress(OSError):  # then an order tells why
            self._started()

    def pack(self, tarball: bytes) -> bytes:
        """Return the pack of a tarball.

        Raises:
            PackageError: It is damaged, too large, or takes too long.
        """
        order = _Order(
            "pack", tarball, bytes_max=self._bytes_max, files_max=self._files_max
        )
        return self._ask(order)

    def analyse(self, path: str, data: bytes, is_module: bool | None) -> Analysis:  # noqa: FBT001 - as in format_of
        """Return what is found in one file.

        Raises:
            PackageError: It takes too long, or too much memory.
        """
        found = self._ask(_Order("lex", data, path, is_module))
        return msgspec.msgpack.decode(found, type=Analysis)

    def compile(self, texts: list[tuple[bytes, bool]]) -> list[Code]:
        """Return the code of modules; nothing of them is run.

        V8 checks little of code, so it is made here alone: what a context has
        compiled, code of anybody's could have changed.

        Args:
            texts: In UTF-8, and whether they are CommonJS.

        Raises:
            PackageError: It takes too long, or too much memory.
        """
        found = self._ask(_Order("compile", msgspec.msgpack.encode(texts)))
        return msgspec.msgpack.decode(found, type=list[Code])

    def close(self) -> None:
        """End the process; the next order starts it again."""
        with self._lock:
            self._end()

    def _ask(self, order: _Order) -> bytes:
        with self._lock:
            try:
                sock = self._started()
                _send(sock, msgspec.msgpack.encode(order))
                done = msgspec.msgpack.decode(_receive(sock), type=_Done)
            except (OSError, EOFError, msgspec.MsgspecError) as error:
                self._end()
                if isinstance(error, TimeoutError):
                    message = (
                        f"it took more than {self._seconds_max:g} s to unpack and "
                        "analyse the package (package_pack_timeout_seconds)"
                    )
                    raise PackageLimitError(message) from error
                message = (
                    "the process that unpacks and analyses packages has ended: the "
                    "package needs too much memory, or was made to break it"
                )
                raise PackageDamagedError(message) from error
        if done.kind == "damaged":
            raise PackageDamagedError(done.message)
        if done.kind == "limit":
            raise PackageLimitError(done.message)
        return done.data

    def _started(self) -> socket.socket:
        if self._process is not None and self._process.poll() is not None:
            # Something ended it while it had nothing to do: that is no package's fault.
            self._end()
        if self._socket is None:
            ours, theirs = socket.socketpair()
            with theirs:
                path = json.dumps([entry for entry in sys.path if entry])
                environment = {
                    name: os.environ[name] for name in _INHERITED if name in os.environ
                }
                number = str(theirs.fileno())
                self._process = subprocess.Popen(  # noqa: S603 - our own module
                    [sys.executable, "-I", "-c", _START, path, number],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    cwd="/",
                    env=environment,
                    pass_fds=(theirs.fileno(),),
                    start_new_session=True,
                )
            ours.settimeout(self._seconds_max)
            self._socket = ours
            first = _Order("lex", msgspec.msgpack.encode(self._sandbox))
            first.bytes_max = self._bytes_max
            _send(ours, msgspec.msgpack.encode(first))
        return self._socket

    def _end(self) -> None:
        """End the process, if there is one; the lock is held."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        process, self._process = self._process, None
        if process is not None:
            process.kill()  # it holds nothing that anyone needs
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_END_SECONDS)


def main(number: int) -> NoReturn:
    """Be the process, on a socket, until its other end is closed."""
    from isokernel.packages.lexing import Lexer  # noqa: PLC0415 - V8

    seccomp.prepare()
    for codec in ("utf-8", "ascii", "latin-1"):
        "".encode(codec).decode(codec, "replace")
    lexer = Lexer()
    lexer.analyse("export {}", "")
    with contextlib.suppress(OSError, EOFError), socket.socket(fileno=number) as sock:
        first = msgspec.msgpack.decode(_receive(sock), type=_Order)
        sandbox = msgspec.msgpack.decode(first.data, type=SandboxSettings | None)
        close_descriptors(keep=[number])
        if sandbox is not None:
            memory = _V8_HEAP_BYTES + first.bytes_max * _MEMORY_FACTOR
            confine(sandbox, memory)
        while True:
            order = msgspec.msgpack.decode(_receive(sock), type=_Order)
            _send(sock, msgspec.msgpack.encode(_carry_out(order, lexer)))
    os._exit(0)


def _carry_out(order: _Order, lexer: Lexer) -> _Done:
    try:
        if order.kind == "lex":
            analysis = analyse_file(
                order.path, order.data, order.is_module, lexer.analyse
            )
            return _Done("analysis", msgspec.msgpack.encode(analysis))
        if order.kind == "compile":
            return _Done("code", _compile(order.data))
        files = read_tarball(
            order.data, bytes_max=order.bytes_max, files_max=order.files_max
        )
        return _Done("pack", build_pack(files, lexer.analyse))
    except PackageLimitError as error:
        return _Done("limit", message=str(error))
    except (PackageError, MemoryError, RecursionError) as error:
        return _Done("damaged", message=reason_of(error))


def _compile(data: bytes) -> bytes:
    """Compile modules in an isolate where nothing has run, nor will."""
    from isokernel.v8.isolate import Isolate  # noqa: PLC0415 - V8

    isolate = Isolate()
    try:
        made = [
            isolate.modules.script_code(_as_function(text))
            if is_commonjs
            else isolate.modules.code(text)
            for text, is_commonjs in msgspec.msgpack.decode(
                data, type=list[tuple[bytes, bool]]
            )
        ]
    finally:
        isolate.close()
    return msgspec.msgpack.encode([one or Code() for one in made])


def _as_function(text: bytes) -> bytes:
    """Return what `runtime/commonjs.js` makes of a module's text."""
    if text.startswith(b"#!"):
        text = b"//" + text[2:]
    return b"%b%b\n})" % (_HEAD, text)


def _send(sock: socket.socket, data: bytes) -> None:
    sock.sendall(_LENGTH.pack(len(data)))
    sock.sendall(data)


def _receive(sock: socket.socket) -> bytearray:
    (length,) = _LENGTH.unpack(_receive_exactly(sock, _LENGTH.size))
    return _receive_exactly(sock, length)


def _receive_exactly(sock: socket.socket, length: int) -> bytearray:
    data = bytearray(length)
    view = memoryview(data)
    while view:
        count = sock.recv_into(view)
        if not count:
            raise EOFError
        view = view[count:]
    return data
