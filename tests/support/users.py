"""Servers of another user, and without what root has."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

from tests.support.attempts import USER

WITHOUT_CGROUPS: Final = "mount -t tmpfs none /sys/fs/cgroup"


def _passable(keep: Path) -> list[str]:
    """Return shell commands by which any user can reach Python and the project."""
    lines = []
    places = {sys.base_prefix, sys.prefix, str(Path(__file__).parents[3])}
    for number, place in enumerate(sorted(places)):
        closed = [
            folder
            for folder in reversed(Path(place).resolve().parents)
            if not folder.stat().st_mode & 1
        ]
        if closed:
            kept = keep / str(number)
            kept.mkdir()
            lines += [
                f"mount --bind {place} {kept}",
                f"mount -t tmpfs -o mode=755 none {closed[0]}",
                f"mkdir -p {place}",
                f"mount --bind {kept} {place}",
            ]
    return lines


def started_as(kind: str, keep: Path) -> list[str]:
    """Return the program that a server of some kind is started by.

    Args:
        kind: `root`, `root without cgroups` or `user`.
        keep: A folder that every user may enter.
    """
    if os.geteuid() != 0:
        return []
    lines = _passable(keep) if kind == "user" else []
    lines += [WITHOUT_CGROUPS] if "without" in kind else []
    change = ["setpriv", "--reuid", str(USER), "--regid", str(USER), "--clear-groups"]
    script = " && ".join([*lines, 'exec "$@"'])
    started = ["unshare", "-m", "sh", "-c", script, "sh"]
    return [*started, *(change if kind == "user" else ())]
