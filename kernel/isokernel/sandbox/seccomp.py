"""The seccomp filters: which system calls a process may make.

A V8 context has an allowlist. It computes, waits, reads and writes descriptors that it
has, makes threads, and forks for clones and saved heaps. It opens nothing, connects to
nothing and executes nothing, whatever V8 may be brought to do. A call that isn't on the
list fails with EPERM.

A container runs Python or any other kernel, which need most of the system, so it has a
denylist: the calls that change the system, look into other processes, make namespaces,
go around limits, use up what all on the machine share, or have little use and a history
of holes; kinds of sockets that no network namespace holds back; and every call that is
newer than this list.

`newfstatat` is how C libraries do `fstat`, with an empty path and a flag that allows
that. The allowlist asks for the flag, so that `stat` and its kin fail; but a filter
can't read the path. Who can make the call with any arguments can still learn that a
file is there, its size and its times, as Landlock hides no metadata.
"""

from __future__ import annotations

import functools
import os
import struct
from typing import Final

from isokernel.sandbox.syscalls import address, prctl

__all__ = [
    "container_filter",
    "install_allowlist",
    "prepare",
    "supported",
]

_PR_SET_SECCOMP: Final = 22
_PR_GET_SECCOMP: Final = 21
_MODE_FILTER: Final = 2

_ALLOW: Final = 0x7FFF0000
_FAIL: Final = 0x00050000  # and the error number
_KILL: Final = 0x80000000
_EPERM: Final = 1
_ENOSYS: Final = 38

_LOAD: Final = 0x20  # BPF_LD | BPF_W | BPF_ABS
_EQUAL: Final = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_GREATER: Final = 0x25  # BPF_JMP | BPF_JGT | BPF_K
_ANY_BIT: Final = 0x45  # BPF_JMP | BPF_JSET | BPF_K
_RETURN: Final = 0x06  # BPF_RET | BPF_K

_NUMBER: Final = 0
_ARCHITECTURE: Final = 4
_ARGUMENTS: Final = 16  # eight bytes each; both architectures are little-endian

_COLUMNS: Final = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
"""Column of the tables below, and AUDIT_ARCH."""

_FAMILIES: Final = (1, 2, 10)  # AF_UNIX, AF_INET, AF_INET6
_NETLINK: Final = 16
# As on a system that has no such network: libraries know that, and go on without (zmq
# would end the process at EPERM).
_EAFNOSUPPORT, _EOPNOTSUPP = 97, 95
_TYPES_INTO_TERMINALS: Final = (0x5412, 0x541C)  # TIOCSTI, TIOCLINUX
_SOL_SOCKET: Final = 1
_SIZES_OF_BUFFERS: Final = (7, 8)  # SO_SNDBUF, SO_RCVBUF
# CLONE_NEW*; processes with the parent's memory (vfork) are how children are started.
_NAMESPACES: Final = 0x7E020000

# CLONE_NEW* and what changes who the parent or the tracer is.
_CLONE_DENIED: Final = 0x7E82A000
_CLONE_SIBLING: Final = 0x00108000
"""All flags of what clones a context (`v8.children.fork_siblings`). The parent gets a
child that it would get as well, as an orphan, if its parent ended."""
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
    # those of the allowlist whose arguments decide
    "clone": (56, 220),
    "clone3": (435, 435),
    "ioctl": (16, 29),
    "newfstatat": (262, 79),
    "prlimit64": (302, 261),
    "kill": (62, 129),
    "tgkill": (234, 131),
    "prctl": (157, 167),
}

_DENIED: Final[dict[str, tuple[int | None, int | None]]] = {
    # in containers; by name, for x86_64 and for aarch64
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "process_mrelease": (448, 448),
    "kcmp": (312, 272),
    "pidfd_getfd": (438, 438),
    "move_pages": (279, 239),
    "migrate_pages": (256, 238),
    "set_mempolicy_home_node": (450, 450),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "mount_setattr": (442, 442),
    "statmount": (457, 457),
    "listmount": (458, 458),
    "unshare": (272, 97),
    "setns": (308, 268),
    "open_by_handle_at": (304, 265),
    "name_to_handle_at": (303, 264),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "create_module": (174, None),
    "delete_module": (176, 106),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "acct": (163, 89),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "clock_adjtime": (305, 266),
    "adjtimex": (159, 171),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "syslog": (103, 116),
    "fanotify_init": (300, 262),
    "fanotify_mark": (301, 263),
    "lookup_dcookie": (212, 18),
    "personality": (135, 92),
    "vhangup": (153, 58),
    "iopl": (172, None),
    "ioperm": (173, None),
    "modify_ldt": (154, None),
    "uselib": (134, None),
    "ustat": (136, None),
    "sysfs": (139, None),
    "_sysctl": (156, None),
    "nfsservctl": (180, 42),
    "vserver": (236, None),
    "memfd_secret": (447, 447),  # isn't counted as the process's memory
}
_ABSENT: Final[dict[str, tuple[int | None, int | None]]] = {
    # as on a system without them: a few take all that others on the machine could
    "inotify_init": (253, None),  # of a user's, and of who has made a user namespace
    "inotify_init1": (294, 26),
    "io_setup": (206, 0),  # of the machine's
}
_DENIED_LOOKED_AT: Final[dict[str, tuple[int, int]]] = {
    "clone": (56, 220),
    "clone3": (435, 435),
    "socket": (41, 198),
    "socketpair": (53, 199),
    "ioctl": (16, 29),
}
_UNCOUNTED: Final[dict[str, tuple[int | None, int | None]]] = {
    # memory that stays when nobody has mapped it, past every limit of a process
    "memfd_create": (319, 279),
    "shmget": (29, 194),
    # Semaphores and messages are the system's own memory.
    "semget": (64, 190),
    "msgget": (68, 186),
}
_SET_SOCKET_OPTION: Final = (54, 208)
_NEWEST: Final = 462
"""mseal (Linux 6.10); libraries know how to do without what came later."""

_MACHINE: Final = os.uname().machine
_INSTRUCTION: Final = struct.Struct("=HBBI")
_PROGRAM: Final = struct.Struct("@HP")


@functools.cache  # each process that is forked finds it known
def supported() -> bool:
    """Return whether filters can be installed on this system and processor."""
    if _MACHINE not in _COLUMNS:
        return False
    try:
        return prctl(_PR_GET_SECCOMP) >= 0
    except OSError:
        return False


def prepare() -> None:
    """Make the allowlist, so that a forked process finds it made."""
    if supported():
        _allowlist(None)


def install_allowlist(*, signals: bool) -> None:
    """Filter a context's calls, for good and for all that is forked.

    Wants no_new_privs.

    Args:
        signals: Allow `kill`, because something else keeps signals from others.

    Raises:
        OSError: The system refused.
    """
    _install(_allowlist(None if signals else os.getpid()))


@functools.cache
def container_filter(*, memory_counted: bool) -> bytes:
    """Return the filter of a container, for `bwrap --seccomp`; `supported` first.

    Args:
        memory_counted: Whether a cgroup bounds all memory of the container together.
            Else it can't make memory that only a cgroup would count, and the buffers
            of its sockets stay as large as the system makes them (setting their size
            changes nothing, as far as a program sees).
    """
    column, architecture = _COLUMNS[_MACHINE]
    number = {name: numbers[column] for name, numbers in _DENIED_LOOKED_AT.items()}
    deny, unknown = _step(_RETURN, _FAIL | _EPERM), _step(_RETURN, _FAIL | _ENOSYS)
    allow = _step(_RETURN, _ALLOW)
    code = [
        _step(_LOAD, _ARCHITECTURE),
        _step(_EQUAL, architecture, 1, 0),
        _step(_RETURN, _KILL),
        _step(_LOAD, _NUMBER),
        # Those of x32 too, whose numbers have a high bit.
        _step(_GREATER, _NEWEST, 0, 1),
        unknown,
    ]
    for numbers in _DENIED.values():
        if numbers[column] is not None:
            code += _when(numbers[column], [deny])
    absent = _ABSENT if memory_counted else {**_ABSENT, **_UNCOUNTED}
    for numbers in absent.values():
        if numbers[column] is not None:
            code += _when(numbers[column], [unknown])
    if not memory_counted:
        code += _when(_SET_SOCKET_OPTION[column], _keep_buffers())
    looks = [_step(_LOAD, _ARGUMENTS), _step(_ANY_BIT, _NAMESPACES, 0, 1), deny]
    code += _when(number["clone"], [*looks, allow])
    code += _when(number["clone3"], [unknown])
    looks = [_step(_LOAD, _ARGUMENTS)]
    for family in _FAMILIES:
        looks += _when(family, [allow])
    looks += _when(_NETLINK, [_step(_RETURN, _FAIL | _EOPNOTSUPP)])
    looks.append(_step(_RETURN, _FAIL | _EAFNOSUPPORT))
    for name in ("socket", "socketpair"):
        code += _when(number[name], looks)
    looks = [_step(_LOAD, _ARGUMENTS + 8)]
    for request in _TYPES_INTO_TERMINALS:
        looks += _when(request, [deny])
    code += _when(number["ioctl"], [*looks, allow])
    return b"".join([*code, allow])


def _install(program: bytes) -> None:
    count = len(program) // _INSTRUCTION.size
    pointer = _PROGRAM.pack(count, address(program))
    prctl(_PR_SET_SECCOMP, _MODE_FILTER, address(pointer))


@functools.cache
def _allowlist(own: int | None) -> bytes:
    """Assemble the filter of a context.

    Args:
        own: The one process that may be sent signals; None allows all.
    """
    column, architecture = _COLUMNS[_MACHINE]
    number = {name: numbers[column] for name, numbers in _LOOKED_AT.items()}
    code = [
        _step(_LOAD, _ARCHITECTURE),
        _step(_EQUAL, architecture, 1, 0),
        _step(_RETURN, _KILL),
        _step(_LOAD, _NUMBER),
    ]
    for numbers in _ALLOWED.values():
        if numbers[column] is not None:
            code += _when(numbers[column], [_step(_RETURN, _ALLOW)])
    code += _when(number["clone"], _clone())
    # The C library falls back to clone, whose flags can be looked at.
    code += _when(number["clone3"], [_step(_RETURN, _FAIL | _ENOSYS)])
    code += _when(number["ioctl"], _one_of(1, _IOCTLS))
    code += _when(number["newfstatat"], _one_of(3, (_AT_EMPTY_PATH,)))
    code += _when(number["prlimit64"], _zero(0, 2))
    code += _when(number["prctl"], _one_of(0, (_PR_SET_PDEATHSIG,)))
    for name in ("kill", "tgkill"):
        rule = [_step(_RETURN, _ALLOW)] if own is None else _one_of(0, (own,))
        code += _when(number[name], rule)
    code.append(_step(_RETURN, _FAIL | _EPERM))
    return b"".join(code)


def _step(code: int, value: int, true: int = 0, false: int = 0) -> bytes:
    """One instruction: what it does, with what, and how many to leave out then."""
    return _INSTRUCTION.pack(code, true, false, value)


def _when(number: int | None, then: list[bytes]) -> list[bytes]:
    """For one system call, do this, which ends with a decision."""
    return [_step(_EQUAL, number or 0, 0, len(then)), *then]


def _keep_buffers() -> list[bytes]:
    done = [_step(_RETURN, _FAIL)]  # with error 0: the call has succeeded
    code = [
        _step(_LOAD, _ARGUMENTS + 8),
        _step(_EQUAL, _SOL_SOCKET, 1, 0),
        _step(_RETURN, _ALLOW),
        _step(_LOAD, _ARGUMENTS + 16),
    ]
    for option in _SIZES_OF_BUFFERS:
        code += _when(option, done)
    return [*code, _step(_RETURN, _ALLOW)]


def _clone() -> list[bytes]:
    return [
        _step(_LOAD, _ARGUMENTS),
        *_when(_CLONE_SIBLING, [_step(_RETURN, _ALLOW)]),
        _step(_ANY_BIT, _CLONE_DENIED, 0, 1),
        _step(_RETURN, _FAIL | _EPERM),
        _step(_RETURN, _ALLOW),
    ]


def _one_of(argument: int, values: tuple[int, ...]) -> list[bytes]:
    """Allow a call if the low half of an argument is one of these."""
    code = [_step(_LOAD, _ARGUMENTS + 8 * argument)]
    for value in values:
        code += _when(value, [_step(_RETURN, _ALLOW)])
    return [*code, _step(_RETURN, _FAIL | _EPERM)]


def _zero(*arguments: int) -> list[bytes]:
    """Allow a call if these arguments are all zero."""
    code = []
    for argument in arguments:
        for half in (0, 4):
            code.append(_step(_LOAD, _ARGUMENTS + 8 * argument + half))
            code += [_step(_EQUAL, 0, 1, 0), _step(_RETURN, _FAIL | _EPERM)]
    return [*code, _step(_RETURN, _ALLOW)]
