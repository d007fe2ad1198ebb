"""Networks of several machines on this one, whose cables can be cut.

Each machine is a network namespace, which has one device. What goes from one to another
passes through a program of ours (`programs/switch`), so that packets can be lost one
way or both, or late, at once and without a module of the kernel's for that. Nothing has
a name that others see, and all of it is gone when the tests are.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import socket
import struct
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from tests.support.programs import SWITCH

from isokernel.sandbox.syscalls import syscall

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["Network", "enter", "why_no_networks"]

_UNSHARE: Final = 272
_SETNS: Final = 308
_NEW_NETWORK: Final = 0x40000000
_OWN: Final = "/proc/thread-self/ns/net"
_TUN: Final = "/dev/net/tun"
_SET_DEVICE: Final = 0x400454CA
_TUN_WITHOUT_HEADERS: Final = 0x1001
_SET_FLAGS, _SET_ADDRESS, _SET_MASK, _SET_LENGTH = 0x8914, 0x8916, 0x891C, 0x8922
_UP: Final = 0x41
_PACKET_BYTES: Final = 65_000
"""Fewer and larger ones than on cables, as each costs the program the same."""
_DEVICE: Final = b"cable"
_FIELDS: Final = 2
_NUMBER: Final = struct.calcsize("d")


def why_no_networks() -> str:
    """Why there can be none here; empty if there can."""
    if os.geteuid() != 0:
        return "namespaces of the network need root"
    if not os.access(_TUN, os.R_OK | os.W_OK):
        return f"there is no {_TUN}"
    try:
        with _kept():
            syscall(_UNSHARE, _NEW_NETWORK)
            os.close(_device())
    except OSError as error:
        return f"the network can't have namespaces: {error.strerror}"
    return ""


def enter(namespace: int) -> None:
    """Have this thread, and what it starts, be in a namespace of the network."""
    syscall(_SETNS, namespace, _NEW_NETWORK)


class Network:
    """Some machines, each of which reaches every other one.

    Attributes:
        names: Theirs.
    """

    def __init__(self, *names: str) -> None:
        """Make them."""
        self.names = names
        self._namespaces: dict[str, int] = {}
        devices = []
        with _kept():
            for name in names:
                syscall(_UNSHARE, _NEW_NETWORK)
                self._namespaces[name] = os.open(_OWN, os.O_RDONLY)
                _raise(b"lo")
                devices.append(_device())
                _configure(self.address(name))
        size = len(names) ** 2 * _FIELDS * _NUMBER
        shared = os.memfd_create("cables")
        os.truncate(shared, size)
        self._memory = mmap.mmap(shared, size)
        self._table = memoryview(self._memory).cast("d")
        given = [shared, *devices]
        self._switch = subprocess.Popen(
            [sys.executable, "-S", "-I", str(SWITCH), *map(str, given)],
            stdin=subprocess.PIPE,
            pass_fds=given,
        )
        for each in given:
            os.close(each)

    def address(self, name: str) -> str:
        """Where the others reach one."""
        return f"10.0.0.{1 + self.names.index(name)}"

    def namespace(self, name: str) -> int:
        """The descriptor of one's namespace."""
        return self._namespaces[name]

    @contextmanager
    def inside(self, name: str) -> Iterator[None]:
        """Have this thread be at one, and what it starts meanwhile stay there."""
        with _kept():
            enter(self._namespaces[name])
            yield

    def set_way(self, source: str, target: str, *, lost: float, late: float) -> None:
        """Have packets be lost or late one way.

        Args:
            source: Who sends them.
            target: Who is to get them.
            lost: Which part of them is lost; 1 for all.
            late: By how many seconds the others are late.
        """
        ends = self.names.index(source), self.names.index(target)
        place = _FIELDS * (ends[0] * len(self.names) + ends[1])
        self._table[place], self._table[place + 1] = lost, late

    def plug(self, name: str, *, up: bool) -> None:
        """Unplug one, which sees that it has no cable, or plug it in again."""
        with self.inside(name):
            _raise(_DEVICE, up=up)

    def close(self) -> None:
        """Have nothing of it any more, once what was started there has ended."""
        self._switch.communicate()
        self._table.release()
        self._memory.close()
        for each in self._namespaces.values():
            os.close(each)


@contextmanager
def _kept() -> Iterator[None]:
    """Be back where this thread was, afterwards."""
    before = os.open(_OWN, os.O_RDONLY)
    try:
        yield
    finally:
        enter(before)
        os.close(before)


def _device() -> int:
    """Make a device in this namespace; the descriptor of what it sends and gets."""
    made = os.open(_TUN, os.O_RDWR | os.O_NONBLOCK)
    try:
        request = struct.pack("16sH22x", _DEVICE, _TUN_WITHOUT_HEADERS)
        fcntl.ioctl(made, _SET_DEVICE, request)
    except OSError:
        os.close(made)
        raise
    return made


def _configure(address: str) -> None:
    _control(
        [
            (_SET_ADDRESS, _socket_address(address)),
            (_SET_MASK, _socket_address("255.255.255.0")),
            (_SET_LENGTH, struct.pack("i20x", _PACKET_BYTES)),
        ]
    )
    _raise(_DEVICE)


def _socket_address(address: str) -> bytes:
    return struct.pack("HH4s16x", socket.AF_INET, 0, socket.inet_aton(address))


def _raise(device: bytes, *, up: bool = True) -> None:
    flags = struct.pack("H22x", _UP if up else 0)
    _control([(_SET_FLAGS, flags)], device)


def _control(requests: Iterable[tuple[int, bytes]], device: bytes = _DEVICE) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        for number, value in requests:
            fcntl.ioctl(control, number, struct.pack("16s24s", device, value))
