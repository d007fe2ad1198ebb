"""The server's version, and the client of that version as a file to download."""

from __future__ import annotations

import functools
import io
import zipfile
from pathlib import Path
from typing import Final

import isokernel
import isoserver
from isokernel._version import __version__
from isoserver.errors import ClientMissingError
from isoserver.http import models
from isoserver.http.handlers import Handler
from isoserver.http.routes import Answer, Operation, Route

__all__ = ["DOWNLOAD_ROUTES", "client_archive"]

PLATFORMS: Final = ("linux-x86_64", "linux-aarch64", "macos-aarch64")
"""The documented ones; the file is the same for all, and runs elsewhere too."""
_FIRST_LINE: Final = b"#!/usr/bin/env python3\n"
_MAIN: Final = "from isoserver.client.main import main\n\nmain()\n"


class VersionHandler(Handler):
    """The server's version."""

    public = True

    def get(self) -> None:
        """Answer the version."""
        self.answer({"version": __version__})


class CliIndexHandler(Handler):
    """The clients that can be downloaded."""

    public = True

    def get(self) -> None:
        """List where each platform's client is."""
        here = f"{self.request.protocol}://{self.request.host}/api/cli"
        assets = [
            {"platform": platform, "url": f"{here}/{platform}", "available": True}
            for platform in PLATFORMS
        ]
        self.answer({"version": __version__, "assets": assets})


class CliHandler(Handler):
    """The client for a platform, which is the same file for all of them."""

    public = True

    def get(self, platform: str) -> None:
        """Send the file."""
        if platform not in PLATFORMS:
            raise ClientMissingError(platform, PLATFORMS)
        self.set_header("Content-Type", "application/octet-stream")
        name = f'attachment; filename="isokernel-client-{platform}"'
        self.set_header("Content-Disposition", name)
        self.finish(client_archive())


@functools.lru_cache(maxsize=1)
def client_archive() -> bytes:
    """Return the client as one file: a zip archive that Python runs.

    The same version always makes the same bytes.
    """
    version = Path(isokernel.__file__).parent / "_version.py"
    files = {
        "__main__.py": _MAIN,
        "isokernel/__init__.py": "",
        "isokernel/_version.py": version.read_text(encoding="utf-8"),
        "isoserver/__init__.py": "",
    }
    client = Path(isoserver.__file__).parent / "client"
    for path in sorted(client.glob("*.py")):
        files[f"isoserver/client/{path.name}"] = path.read_text(encoding="utf-8")
    out = io.BytesIO(_FIRST_LINE)
    out.seek(0, io.SEEK_END)
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            # A ZipInfo without a date: the time of the download is no part of it.
            archive.writestr(zipfile.ZipInfo(name), text, zipfile.ZIP_DEFLATED)
    return out.getvalue()


DOWNLOAD_ROUTES: Final = (
    Route(
        "/api/version",
        VersionHandler,
        (
            Operation(
                "GET",
                "Give the server's version.",
                (Answer(200, "The version.", models.VersionModel),),
            ),
        ),
    ),
    Route(
        "/api/cli",
        CliIndexHandler,
        (
            Operation(
                "GET",
                "List the clients that can be downloaded.",
                (Answer(200, "The clients.", models.CliIndex),),
            ),
        ),
    ),
    Route(
        "/api/cli/{platform}",
        CliHandler,
        (
            Operation(
                "GET",
                "Download a client: one file that needs only Python.",
                (
                    Answer(200, "The file.", None, "application/octet-stream"),
                    Answer(404, "There is none for that platform.", models.ApiError),
                ),
            ),
        ),
    ),
)
