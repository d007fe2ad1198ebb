"""A seccomp filter for programs that need most of the system; the rest is denied.

The network, but for Unix sockets, and the calls that change the system, look into other
processes, make namespaces, or go around filters.
"""

from __future__ import annotations

import functools
import platform
from typing import Final

from isokernel.sandbox import seccomp
from isokernel.sandbox.seccomp import (
    ALLOW,
    ANY_BIT,
    ARCHITECTURE,
    ARGUMENTS,
    COLUMNS,
    ENOSYS,
    EPERM,
    EQUAL,
    FAIL,
    KILL,
    LOAD,
    NUMBER,
    RETURN,
    step,
    when,
)

__all__ = ["install"]

_X32: Final = 0x40000000
"""Marks x86_64's second table of calls, which isn't looked through here."""
_UNIX, _NETLINK = 1, 16
# As on a system that has no such network: libraries know that, and go on without (zmq
# would end the process at EPERM).
_EAFNOSUPPORT, _EOPNOTSUPP = 97, 95
# CLONE_NEW*; processes with the parent's memory (vfork) are how children are started.
_NAMESPACES: Final = 0x7E020000

_DENIED: Final[dict[str, tuple[int, int]]] = {
    # by name, for x86_64 and for aarch64
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "kcmp": (312, 272),
    "pidfd_getfd": (438, 438),
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
    "delete_module": (176, 106),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "acct": (163, 89),
    "quotactl": (179, 60),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "clock_adjtime": (305, 266),
    "adjtimex": (159, 171),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "syslog": (103, 116),
    "fanotify_init": (300, 262),
    "lookup_dcookie": (212, 18),
    "personality": (135, 92),
    "vhangup": (153, 58),
}
_CLONE: Final = (56, 220)
_CLONE3: Final = (435, 435)
_SOCKET: Final = (41, 198)


def install(*, network: bool) -> None:
    """Put the filter up, for good and for all that is started; wants no_new_privs.

    Args:
        network: Allow sockets of all families.

    Raises:
        OSError: The system refused.
    """
    seccomp.put_up(_program(platform.machine(), network))


@functools.cache
def _program(machine: str, network: bool) -> bytes:  # noqa: FBT001 -- cached
    column, architecture = COLUMNS[machine]
    deny = step(RETURN, FAIL | EPERM)
    code = [
        step(LOAD, ARCHITECTURE),
        step(EQUAL, architecture, 1, 0),
        step(RETURN, KILL),
        step(LOAD, NUMBER),
        step(ANY_BIT, _X32, 0, 1),
        deny,
    ]
    for numbers in _DENIED.values():
        code += when(numbers[column], [deny])
    looks = [step(LOAD, ARGUMENTS), step(ANY_BIT, _NAMESPACES, 0, 1), deny]
    code += when(_CLONE[column], [*looks, step(RETURN, ALLOW)])
    code += when(_CLONE3[column], [step(RETURN, FAIL | ENOSYS)])
    if not network:
        looks = when(_UNIX, [step(RETURN, ALLOW)])
        looks += when(_NETLINK, [step(RETURN, FAIL | _EOPNOTSUPP)])
        none = step(RETURN, FAIL | _EAFNOSUPPORT)
        code += when(_SOCKET[column], [step(LOAD, ARGUMENTS), *looks, none])
    code.append(step(RETURN, ALLOW))
    return b"".join(code)
