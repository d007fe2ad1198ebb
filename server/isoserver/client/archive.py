"""The client as one file: a zip archive that Python runs."""

from __future__ import annotations

import functools
import io
import zipfile
from pathlib import Path
from typing import Final

import isokernel
import isoserver

__all__ = ["PLATFORMS", "archive"]

PLATFORMS: Final = ("linux-x86_64", "linux-aarch64", "macos-aarch64")
"""The documented ones; the file is the same for all, and runs elsewhere too."""
_FIRST_LINE: Final = b"#!/usr/bin/env python3\n"
_MAIN: Final = "from isoserver.client.main import main\n\nmain()\n"
_LEFT_OUT: Final = {"archive.py"}


@functools.lru_cache(maxsize=1)
def archive() -> bytes:
    """Give the archive; its bytes depend on the version only."""
    server = Path(isoserver.__file__).parent
    version = Path(isokernel.__file__).parent / "_version.py"
    files = {
        "__main__.py": _MAIN,
        "isokernel/__init__.py": "",
        "isokernel/_version.py": version.read_text(encoding="utf-8"),
        "isoserver/__init__.py": "",
    }
    for path in sorted((server / "client").glob("*.py")):
        if path.name not in _LEFT_OUT:
            files[f"isoserver/client/{path.name}"] = path.read_text(encoding="utf-8")
    out = io.BytesIO(_FIRST_LINE)
    out.seek(0, io.SEEK_END)
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        for name, text in files.items():
            # No times: who downloads twice gets the same bytes.
            file.writestr(zipfile.ZipInfo(name), text, zipfile.ZIP_DEFLATED)
    return out.getvalue()
