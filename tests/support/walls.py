"""What refuses attempts to leave a sandbox: told by tests, counted for `--walls`."""

from __future__ import annotations

import collections
import errno
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    import pytest

    Tell = Callable[[str, object], None]

_PROPERTY: Final = "walls"
_BY_ERRNO: Final = {
    errno.ENOENT: "mounts",
    errno.EROFS: "mounts",
    errno.EXDEV: "mounts",
    errno.ESRCH: "processes",
    errno.ECONNREFUSED: "network",
    errno.ENETUNREACH: "network",
    errno.EADDRNOTAVAIL: "network",
    errno.EPERM: "rights",
    errno.EACCES: "rights",
}
_BY_NAME: Final = {"URLError": "network", "gaierror": "network", "ValueError": "limits"}

CALLS: Final[dict[str, tuple[int, int, str]]] = {
    # by name: numbers on x86_64 and aarch64, and arguments
    "ptrace(ATTACH)": (101, 117, "16, 1, 0, 0"),
    "ptrace(TRACEME)": (101, 117, "0, 0, 0, 0"),
    "process_vm_readv": (310, 270, "1, None, 0, None, 0, 0"),
    "process_vm_writev": (311, 271, "1, None, 0, None, 0, 0"),
    "process_madvise": (440, 440, "0, None, 0, 0, 0"),
    "kcmp": (312, 272, "1, 2, 0, 0, 0"),
    "pidfd_getfd": (438, 438, "0, 0, 0"),
    "unshare(NEWUSER)": (272, 97, "0x10000000"),
    "unshare(NEWNS)": (272, 97, "0x20000"),
    "setns": (308, 268, "0, 0"),
    "clone(NEWUSER)": (56, 220, "0x10000011, 0, 0, 0, 0"),
    "clone(NEWNET)": (56, 220, "0x40000011, 0, 0, 0, 0"),
    "mount(remount)": (165, 40, "None, b'/usr', None, 0x1020, None"),
    "mount(bind)": (165, 40, "b'/usr', b'/tmp', None, 0x1000, None"),
    "umount2": (166, 39, "b'/home', 2"),
    "pivot_root": (155, 41, "b'.', b'.'"),
    "chroot": (161, 51, "b'/tmp'"),
    "fsopen": (430, 430, "b'tmpfs', 0"),
    "open_tree": (428, 428, "-100, b'/', 1"),
    "move_mount": (429, 429, "0, b'', 0, b'', 0"),
    "mount_setattr": (442, 442, "0, b'/', 0, None, 0"),
    "name_to_handle_at": (303, 264, "-100, b'/', None, None, 0"),
    "open_by_handle_at": (304, 265, "-100, None, 0"),
    "bpf": (321, 280, "0, None, 0"),
    "perf_event_open": (298, 241, "None, 0, -1, -1, 0"),
    "userfaultfd": (323, 282, "0"),
    "io_uring_setup": (425, 425, "1, None"),
    "io_uring_enter": (426, 426, "0, 0, 0, 0, None, 0"),
    "io_uring_register": (427, 427, "0, 0, None, 0"),
    "add_key": (248, 217, "b'user', b'a', b'b', 1, -4"),
    "request_key": (249, 218, "b'user', b'a', None, 0"),
    "keyctl": (250, 219, "0, -4, 0"),
    "init_module": (175, 105, "None, 0, b''"),
    "finit_module": (313, 273, "0, b'', 0"),
    "delete_module": (176, 106, "b'a', 0"),
    "kexec_load": (246, 104, "0, 0, None, 0"),
    "reboot": (169, 142, "0, 0, 0, None"),
    "swapon": (167, 224, "b'/tmp/a', 0"),
    "acct": (163, 89, "None"),
    "quotactl": (179, 60, "0, None, 0, None"),
    "settimeofday": (164, 170, "None, None"),
    "clock_settime": (227, 112, "0, None"),
    "sethostname": (170, 161, "b'a', 1"),
    "syslog": (103, 116, "3, None, 0"),
    "fanotify_init": (300, 262, "0, 0"),
    "personality": (135, 92, "0x40000"),
    "vhangup": (153, 58, ""),
    "memfd_secret": (447, 447, "0"),
    "move_pages": (279, 239, "1, 0, None, None, None, 0"),
    "clone3": (435, 435, "None, 0"),
    "lsm_set_self_attr, newer than the list": (463, 463, "0, 0, 0, 0"),
}

UNFILTERED: Final = f"""#!{sys.executable}
import os, shutil, sys
place = sys.argv.index("--args") + 1
with open(int(sys.argv[place]), "rb") as file:
    options = file.read().split(b"\\0")[:-1]
filter = options.index(b"--seccomp")
del options[filter:filter + 2]
passed = os.memfd_create("options", 0)
os.write(passed, b"".join(option + b"\\0" for option in options))
os.lseek(passed, 0, os.SEEK_SET)
sys.argv[place] = str(passed)
os.execv(PROGRAM, [PROGRAM, *sys.argv[1:]])
"""
"""A bwrap that leaves out the filter of system calls, to see what it alone refuses."""


def tell(record_property: Tell, suite: str, walls: Iterable[str]) -> None:
    """Tell of an attempt that is refused, if the test passes, and by what."""
    record_property(_PROPERTY, [suite, *walls])


def wall_of(outcome: str, number: int | None) -> str:
    """Name the wall that an error of the system comes from.

    Args:
        outcome: The name of an exception, or what an attempt has found.
        number: The exception's errno.
    """
    if number is not None:
        return _BY_ERRNO.get(number, "network")
    # What it has found is its own, in place of what is outside.
    return _BY_NAME.get(outcome, "limits" if outcome == "-1" else "namespaces")


def without_filter(folder: Path, program: str) -> str:
    """Write a bwrap that leaves out the filter; its path."""
    path = folder / "unfiltered"
    path.write_text(UNFILTERED.replace("PROGRAM", repr(program)))
    path.chmod(0o755)
    return str(path)


def lines(reports: Iterable[pytest.TestReport]) -> Iterator[str]:
    """Count, by suite: attempts, those that were refused, and by which wall."""
    tried: collections.Counter[str] = collections.Counter()
    refused: collections.Counter[str] = collections.Counter()
    by: dict[str, collections.Counter[str]] = {}
    for report in reports:
        for name, value in report.user_properties:
            if name != _PROPERTY or not isinstance(value, list):
                continue
            suite, *walls = value
            tried[suite] += 1
            refused[suite] += report.passed
            by.setdefault(suite, collections.Counter()).update(
                walls if report.passed else ()
            )
    columns = sorted({wall for counter in by.values() for wall in counter})
    yield f"| | tried | refused | {' | '.join(columns)} |"
    yield f"|---|{'---|' * (2 + len(columns))}"
    for suite, counter in sorted(by.items()):
        cells = [tried[suite], refused[suite], *(counter[name] for name in columns)]
        yield f"| {suite} | {' | '.join(map(str, cells))} |"
