"""Kernelspecs: what tells Jupyter how to start a kernel.

`pip install` puts them in place by itself. `install` does it by hand, for an
interpreter that isn't the one that Jupyter runs on.

A kernel starts in the notebook's folder, so that folder must not be where Python looks
for modules first: a user's `json.py` or `zmq.py` there would be ours. `python -m` puts
it first, `-I` leaves out the user's own site-packages, and `-P` needs Python 3.11.
Hence `-c` with a line that takes it off before anything is imported.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isokernel.errors import InstallationError, reason_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from isokernel.settings import Language

__all__ = ["KERNELS", "Kernelspec", "find", "install", "specification"]

KERNELS: dict[str, Language] = {
    "v8-javascript": "javascript",
    "v8-typescript": "typescript",
}
"""Names of the kernelspecs, and their languages."""

LOGOS = ("logo-svg.svg", "logo-32x32.png", "logo-64x64.png")

_TITLES: dict[Language, str] = {
    "javascript": "JavaScript (V8)",
    "typescript": "TypeScript (V8)",
}
PROVISIONER = "isokernel-provisioner"
"""What jupyter_client knows `isokernel.forkserver.provisioner` by."""

START = (
    "import sys; sys.path[:1] == [''] and sys.path.pop(0); "
    "from isokernel.jupyter.launch import main; main()"
)
"""What the interpreter runs."""


@dataclass(frozen=True)
class Kernelspec:
    """A kernelspec of ours that Jupyter finds.

    Attributes:
        name: What Jupyter calls it.
        folder: Where it is.
        interpreter: The Python that it starts.
    """

    name: str
    folder: Path
    interpreter: str


def specification(
    language: Language, interpreter: str, variables: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return the content of kernel.json.

    Args:
        language: The kernel's language.
        interpreter: A Python; for a plain `python` Jupyter takes the one that it runs
            on itself. Then the kernel is forked by the provisioner, which is where
            Jupyter is; anywhere else Jupyter doesn't know it, and with its name in the
            kernelspec would not start the kernel at all.
        variables: What the kernel finds in its environment.
    """
    metadata: dict[str, Any] = {"debugger": False}
    if interpreter == "python":
        metadata["kernel_provisioner"] = {"provisioner_name": PROVISIONER}
    return {
        "argv": [
            interpreter,
            "-c",
            START,
            "-f",
            "{connection_file}",
            "--language",
            language,
        ],
        "display_name": _TITLES[language],
        "language": language,
        "interrupt_mode": "message",
        "metadata": metadata,
        **({"env": dict(variables)} if variables else {}),
    }


def install(
    *,
    user: bool = False,
    prefix: Path | None = None,
    variables: Mapping[str, str] | None = None,
) -> list[Path]:
    """Write the kernelspecs, with the absolute path of this interpreter.

    Args:
        user: Into the user's own Jupyter folder.
        prefix: Into an environment's `share/jupyter`; default is Jupyter's folder for
            the whole system.
        variables: What the kernels find in their environment.

    Returns:
        The folders that were written.

    Raises:
        InstallationError: They could not be written.
    """
    from jupyter_client.kernelspec import KernelSpecManager  # noqa: PLC0415 - 100 ms

    manager = KernelSpecManager()
    written = []
    for name, language in KERNELS.items():
        with tempfile.TemporaryDirectory() as folder:
            _write(Path(folder), name, language, variables)
            try:
                target = manager.install_kernel_spec(
                    folder, name, user=user, prefix=str(prefix) if prefix else None
                )
            except OSError as error:
                message = f"the kernelspec {name} can't be written: {reason_of(error)}"
                raise InstallationError(message) from error
        written.append(Path(target))
    return written


def find() -> list[Kernelspec]:
    """Find our kernelspecs where Jupyter looks, the ones that it would use.

    Raises:
        InstallationError: One is there but can't be read.
    """
    from jupyter_client.kernelspec import (  # noqa: PLC0415 - 100 ms
        KernelSpecManager,
        NoSuchKernel,
    )

    manager = KernelSpecManager()
    found = []
    for name in KERNELS:
        try:
            spec = manager.get_kernel_spec(name)
        except NoSuchKernel:
            continue
        except (OSError, ValueError) as error:
            message = f"the kernelspec {name} can't be read: {reason_of(error)}"
            raise InstallationError(message) from error
        interpreter = spec.argv[0] if spec.argv else ""
        if interpreter in {"python", f"python{sys.version_info[0]}"}:
            interpreter = sys.executable
        found.append(Kernelspec(name, Path(spec.resource_dir), interpreter))
    return found


def _write(
    folder: Path, name: str, language: Language, variables: Mapping[str, str] | None
) -> None:
    made = specification(language, sys.executable, variables)
    text = json.dumps(made, indent=2)
    (folder / "kernel.json").write_text(f"{text}\n", encoding="utf-8")
    source = _resources(name)
    for logo in LOGOS:
        if source is not None and (source / logo).is_file():
            shutil.copy(source / logo, folder)


def _resources(name: str) -> Path | None:
    """Find the logos: where pip put them, or in the checkout of an editable install."""
    from importlib import metadata  # noqa: PLC0415 - 30 ms

    candidates = [Path(__file__).parents[3] / "share" / "jupyter" / "kernels" / name]
    try:
        files = metadata.files("isokernel") or []
    except metadata.PackageNotFoundError:
        files = []
    candidates += [
        Path(str(file.locate())).parent
        for file in files
        if file.parts[-2:] == (name, LOGOS[0])
    ]
    return next((path for path in candidates if path.is_dir()), None)
