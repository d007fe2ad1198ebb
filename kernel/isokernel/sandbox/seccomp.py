"""The seccomp filter: system calls that a context needs are allowed, no others.

A context computes, waits, reads and writes descriptors that it has, makes threads, and
forks for clones and saved heaps. It opens nothing, connects to nothing and executes
nothing, whatever V8 may be brought to do. A call that isn't on the list fails with
EPERM.

`newfstatat` is how C libraries do `fstat`, with an empty path and a flag that allows
that. The flag is asked for here, so that `stat` and its kin fail; but a filter can't
read the path. Who can make the call with any arguments can still learn that a file is
there, its size and its times, as Landlock hides no metadata.
"""

from __future__ import annotations

import functools
import os
import platform
import struct
from typing import Final

from isokernel.sandbox.syscalls import address, prctl

__all__ = [
    "install",
    "prepare",
    "put_up",
    "step",
    "supported",
    "when",
]

_PR_SET_SECCOMP: Final = 22
_PR_GET_SECCOMP: Final = 21
_MODE_FILTER: Final = 2

ALLOW: Final = 0x7FFF0000
FAIL: Final = 0x00050000  # and the error number
KILL: Final = 0x80000000
EPERM: Final = 1
ENOSYS: Final = 38

LOAD: Final = 0x20  # BPF_LD | BPF_W | BPF_ABS
EQUAL: Final = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
ANY_BIT: Final = 0x45  # BPF_JMP | BPF_JSET | BPF_K
RETURN: Final = 0x06  # BPF_RET | BPF_K

NUMBER: Final = 0
ARCHITECTURE: Final = 4
ARGUMENTS: Final = 16  # eight bytes each; both architectures are little-endian

COLUMNS: Final = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
"""Column of the table below, and AUDIT_ARCH."""

# CLONE_NEW* and what changes who the parent or the tracer is.
_CLONE_DENIED: Final = 0x7E82A000
_AT_EMPTY_PATH: Final = 0x1000
_PR_SET_PDEATHSIG: Final = 1  # what is forked may wish to end with who forked it
_IOCTLS: Final = (0x5421, 0x5450, 0x5451, 0x5401)  # FIONBIO, FION-, FIOCLEX, TCGETS

_ALLOWED: Final[dict[str, tuple[int | None, int | None]]] = {
    # by name, for x86_64 and for aarch64
    "read": (0, 63),
    "write": (1, 64),
    "readv": (19, 65),
    "writev": (20, 66),
    "pread64": (17, 67),
    "pwrite64": (18, 68),
    "lseek": (8, 62),
    "close": (3, 57),
    "close_range": (436, 436),
    "fstat": (5, 80),
    "ftruncate": (77, 46),
    "dup": (32, 23),
    "dup2": (33, None),
    "dup3": (292, 24),
    "fcntl": (72, 25),
    "pipe": (22, None),
    "pipe2": (293, 59),
    "poll": (7, None),
    "ppoll": (271, 73),
    "select": (23, None),
    "pselect6": (270, 72),
    "epoll_create1": (291, 20),
    "epoll_ctl": (233, 21),
    "epoll_wait": (232, None),
    "epoll_pwait": (281, 22),
    "eventfd2": (290, 19),
    "memfd_create": (319, 279),
    "sendto": (44, 206),
    "recvfrom": (45, 207),
    "sendmsg": (46, 211),
    "recvmsg": (47, 212),
    "shutdown": (48, 210),
    "getsockname": (51, 204),
    "getpeername": (52, 205),
    "getsockopt": (55, 209),
    "mmap": (9, 222),
    "mprotect": (10, 226),
    "munmap": (11, 215),
    "mremap": (25, 216),
    "madvise": (28, 233),
    "brk": (12, 214),
    "membarrier": (324, 283),
    "pkey_alloc": (330, 289),
    "pkey_free": (331, 290),
    "pkey_mprotect": (329, 288),
    "futex": (202, 98),
    "get_robust_list": (274, 100),
    "set_robust_list": (273, 99),
    "set_tid_address": (218, 96),
    "rseq": (334, 293),
    "sched_yield": (24, 124),
    "sched_getaffinity": (204, 123),
    "sched_getparam": (143, 121),
    "sched_getscheduler": (145, 120),
    "getcpu": (309, 168),
    "nanosleep": (35, 101),
    "clock_nanosleep": (230, 115),
    "clock_gettime": (228, 113),
    "clock_getres": (229, 114),
    "gettimeofday": (96, 169),
    "time": (201, None),
    "times": (100, 153),
    "getrusage": (98, 165),
    "sysinfo": (99, 179),
    "uname": (63, 160),
    "getrandom": (318, 278),
    "getpid": (39, 172),
    "gettid": (186, 178),
    "getppid": (110, 173),
    "getuid": (102, 174),
    "geteuid": (107, 175),
    "getgid": (104, 176),
    "getegid": (108, 177),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "rt_sigtimedwait": (128, 137),
    "sigaltstack": (131, 132),
    "restart_syscall": (219, 128),
    "fork": (57, None),
    "wait4": (61, 260),
    "waitid": (247, 95),
    "exit": (60, 93),
    "exit_group": (231, 94),
}

_LOOKED_AT: Final[dict[str, tuple[int, int]]] = {
    # those whose arguments decide
    "clone": (56, 220),
    "clone3": (435, 435),
    "ioctl": (16, 29),
    "newfstatat": (262, 79),
    "prlimit64": (302, 261),
    "kill": (62, 129),
    "tgkill": (234, 131),
    "prctl": (157, 167),
}

_INSTRUCTION: Final = struct.Struct("=HBBI")
_PROGRAM: Final = struct.Struct("@HP")


def supported() -> bool:
    """Whether this system and processor are ones that the filter knows."""
    if platform.machine() not in COLUMNS:
        return False
    try:
        return prctl(_PR_GET_SECCOMP) >= 0
    except OSError:
        return False


def prepare() -> None:
    """Make the filter, so that `install` in a forked process finds it made."""
    if supported():
        _program(platform.machine(), None)


def install(*, signals: bool) -> None:
    """Put the filter up, for good and for all that is forked; wants no_new_privs.

    Args:
        signals: Allow `kill`, because something else keeps signals from others.

    Raises:
        OSError: The system refused.
    """
    put_up(_program(platform.machine(), None if signals else os.getpid()))


def put_up(program: bytes) -> None:
    """Have the system calls of this process looked at by a program of BPF.

    Raises:
        OSError: The system refused.
    """
    count = len(program) // _INSTRUCTION.size
    pointer = _PROGRAM.pack(count, address(program))
    prctl(_PR_SET_SECCOMP, _MODE_FILTER, address(pointer))


@functools.cache
def _program(machine: str, own: int | None) -> bytes:
    """The filter as the kernel wants it.

    Args:
        machine: The processor.
        own: The one process that may be sent signals; None allows all.
    """
    column, architecture = COLUMNS[machine]
    number = {name: numbers[column] for name, numbers in _LOOKED_AT.items()}
    code = [
        step(LOAD, ARCHITECTURE),
        step(EQUAL, architecture, 1, 0),
        step(RETURN, KILL),
        step(LOAD, NUMBER),
    ]
    for numbers in _ALLOWED.values():
        if numbers[column] is not None:
            code += when(numbers[column], [step(RETURN, ALLOW)])
    code += when(number["clone"], _clone())
    # The C library falls back to clone, whose flags can be looked at.
    code += when(number["clone3"], [step(RETURN, FAIL | ENOSYS)])
    code += when(number["ioctl"], _one_of(1, _IOCTLS))
    code += when(number["newfstatat"], _one_of(3, (_AT_EMPTY_PATH,)))
    code += when(number["prlimit64"], _zero(0, 2))
    code += when(number["prctl"], _one_of(0, (_PR_SET_PDEATHSIG,)))
    for name in ("kill", "tgkill"):
        rule = [step(RETURN, ALLOW)] if own is None else _one_of(0, (own,))
        code += when(number[name], rule)
    code.append(step(RETURN, FAIL | EPERM))
    return b"".join(code)


def step(code: int, value: int, true: int = 0, false: int = 0) -> bytes:
    """One instruction: what it does, with what, and how many to leave out then."""
    return _INSTRUCTION.pack(code, true, false, value)


def when(number: int | None, then: list[bytes]) -> list[bytes]:
    """Do this, which ends with a decision, for one system call."""
    return [step(EQUAL, number or 0, 0, len(then)), *then]


def _clone() -> list[bytes]:
    return [
        step(LOAD, ARGUMENTS),
        step(ANY_BIT, _CLONE_DENIED, 0, 1),
        step(RETURN, FAIL | EPERM),
        step(RETURN, ALLOW),
    ]


def _one_of(argument: int, values: tuple[int, ...]) -> list[bytes]:
    """Allow it if the low half of an argument is one of these."""
    code = [step(LOAD, ARGUMENTS + 8 * argument)]
    for value in values:
        code += when(value, [step(RETURN, ALLOW)])
    return [*code, step(RETURN, FAIL | EPERM)]


def _zero(*arguments: int) -> list[bytes]:
    """Allow it if these arguments are all zero."""
    code = []
    for argument in arguments:
        for half in (0, 4):
            code.append(step(LOAD, ARGUMENTS + 8 * argument + half))
            code += [step(EQUAL, 0, 1, 0), step(RETURN, FAIL | EPERM)]
    return [*code, step(RETURN, ALLOW)]
