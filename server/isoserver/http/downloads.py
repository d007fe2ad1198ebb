"""The server's version, and the client that fits it."""

from __future__ import annotations

from typing import Final

from isokernel._version import __version__
from isoserver.client.archive import PLATFORMS, archive
from isoserver.errors import ClientMissingError
from isoserver.http import models
from isoserver.http.handlers import Handler
from isoserver.http.routes import Answer, Operation, Route

__all__ = ["DOWNLOAD_ROUTES"]


class VersionHandler(Handler):
    """Which version this is."""

    open = True

    def get(self) -> None:
        """Say it."""
        self.answer({"version": __version__})


class CliIndexHandler(Handler):
    """The clients that can be downloaded."""

    open = True

    def get(self) -> None:
        """List them."""
        here = f"{self.request.protocol}://{self.request.host}/api/cli"
        assets = [
            {"platform": platform, "url": f"{here}/{platform}", "available": True}
            for platform in PLATFORMS
        ]
        self.answer({"version": __version__, "assets": assets})


class CliHandler(Handler):
    """The client for a platform: the same file for all of them."""

    open = True

    def get(self, platform: str) -> None:
        """Give it."""
        if platform not in PLATFORMS:
            raise ClientMissingError(platform, PLATFORMS)
        self.set_header("Content-Type", "application/octet-stream")
        name = f'attachment; filename="isokernel-client-{platform}"'
        self.set_header("Content-Disposition", name)
        self.finish(archive())


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
