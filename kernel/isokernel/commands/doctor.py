"""`isokernel doctor`: what is wrong with this installation, and how to fix it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from isokernel._version import __version__
from isokernel.errors import IsokernelError
from isokernel.jupyter.install import KERNELS, find
from isokernel.jupyter.settings import history_path

if TYPE_CHECKING:
    from isokernel.jupyter.install import Kernelspec

__all__ = ["Finding", "examine"]

_START_SECONDS = 60


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes:
        what: What was looked at.
        ok: Whether it is as it should be.
        detail: What was seen.
        remedy: How to fix it, in plain words; empty when all is well.
    """

    what: str
    ok: bool
    detail: str
    remedy: str = ""


def examine() -> list[Finding]:
    """Check everything that a kernel needs, from the engine upwards."""
    return [*_packages(), *_engine(), *_kernelspecs(), _history()]


def _packages() -> list[Finding]:
    from importlib import metadata  # noqa: PLC0415 - 30 ms

    findings = [Finding("isokernel", ok=True, detail=f"version {__version__}")]
    for name in ("mini-racer", "pyzmq", "jupyter_client"):
        try:
            detail, ok = f"version {metadata.version(name)}", True
        except metadata.PackageNotFoundError:
            detail, ok = "not installed", False
        remedy = "" if ok else f"install it: {sys.executable} -m pip install {name}"
        findings.append(Finding(name, ok, detail, remedy))
    return findings


def _engine() -> list[Finding]:
    from isokernel.v8.selfcheck import check_engine  # noqa: PLC0415 - loads V8

    remedy = (
        "reinstall the engine: "
        f"{sys.executable} -m pip install --force-reinstall isokernel"
    )
    return [
        Finding(check.what, check.passed, check.detail, "" if check.passed else remedy)
        for check in check_engine()
    ]


def _kernelspecs() -> list[Finding]:
    try:
        found = {spec.name: spec for spec in find()}
    except IsokernelError as error:
        remedy = "write them anew: isokernel install --sys-prefix"
        return [Finding("kernelspecs", ok=False, detail=str(error), remedy=remedy)]
    return [_kernelspec(name, found.get(name)) for name in KERNELS]


def _kernelspec(name: str, spec: Kernelspec | None) -> Finding:
    what = f"kernel {name}"
    if spec is None:
        detail = "Jupyter doesn't find it"
        remedy = "install it: isokernel install --sys-prefix (or --user)"
        return Finding(what, ok=False, detail=detail, remedy=remedy)
    problem = _start(spec.interpreter)
    if problem:
        remedy = "run `isokernel install --user` with the Python that has isokernel"
        detail = f"{spec.folder}: {problem}"
        return Finding(what, ok=False, detail=detail, remedy=remedy)
    return Finding(what, ok=True, detail=f"{spec.folder}, run by {spec.interpreter}")


def _start(interpreter: str) -> str:
    """Import the kernel with an interpreter; return the problem, or nothing."""
    command = [interpreter, "-c", "import isokernel.jupyter.launch"]
    try:
        done = subprocess.run(  # noqa: S603 - the interpreter of our own kernelspec
            command,
            check=False,
            capture_output=True,
            text=True,
            timeout=_START_SECONDS,
            cwd=Path(sys.prefix),
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{interpreter} can't be run: {error}"
    lines = done.stderr.strip().splitlines()
    if done.returncode:
        return f"{interpreter} can't import isokernel: {lines[-1] if lines else ''}"
    return ""


def _history() -> Finding:
    chosen = history_path()
    if chosen is None:
        return Finding("history", ok=True, detail="switched off by ISOKERNEL_HISTORY")
    path = Path(chosen)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
    except OSError as error:
        remedy = (
            "make its folder writable, or set ISOKERNEL_HISTORY to another file or off"
        )
        return Finding("history", ok=False, detail=str(error), remedy=remedy)
    return Finding("history", ok=True, detail=str(path))
