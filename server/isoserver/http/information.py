"""What the server says about itself: health, metrics, documents, who issues tokens."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from isokernel._version import __version__
from isoserver.access.service import METADATA_PATH, RESOURCES
from isoserver.errors import RouteMissingError, StoppingError
from isoserver.http import models
from isoserver.http.handlers import Handler
from isoserver.http.metrics import CONTENT_TYPE
from isoserver.http.page import PAGE_POLICY, page
from isoserver.http.routes import Answer, Operation, Route

if TYPE_CHECKING:
    from isoserver.cluster.service import Cluster

__all__ = ["INFORMATION_ROUTES"]


class IndexHandler(Handler):
    """What this is, and where to go on."""

    public = True

    def get(self) -> None:
        """Name the server and its documents; send people on to the UI."""
        self.add_header("Vary", "Accept")
        if "text/html" in self.request.headers.get("Accept", ""):
            self.set_status(HTTPStatus.SEE_OTHER)
            self.set_header("Location", "ui/")
            self.clear_header("Content-Type")
            return
        self.answer(
            {
                "name": "isokernel",
                "version": __version__,
                "ui": "/ui/",
                "documentation": "/docs",
                "openapi": "/openapi.json",
                "health": "/healthz",
                "mcp": "/mcp",
            }
        )


class HealthHandler(Handler):
    """Whether the server works."""

    public = True

    async def get(self) -> None:
        """Answer that it works; 503 while it stops or can't write its database."""
        if self.parts.cluster is not None:
            self.parts.cluster.check()
            # While nobody else takes what is new, this one is as good as ever.
            others = any(not peer.draining for peer in self.parts.cluster.peers())
            if self.parts.ending or (self.parts.cluster.draining and others):
                raise StoppingError
        self.check_open()
        await self.parts.database.check()
        self.answer({"status": "ok"})


class MetricsHandler(Handler):
    """Metrics for Prometheus: this server's, also while it may not serve.

    Nothing of them is in the database, so they come as well while that is away.
    """

    async def count_request(self) -> None:
        """Count it, but not where the count is in the database of several servers."""
        if not self.parts.rates.shared:
            await super().count_request()

    async def locate(self, cluster: Cluster) -> None:
        """Look for nothing: that the lease is lost is what the metrics are to say."""

    def get(self) -> None:
        """Send the metrics; they are about all workspaces."""
        self.require_operator()
        self.set_header("Content-Type", CONTENT_TYPE)
        self.finish(self.parts.metrics.text())


class ResourceHandler(Handler):
    """Whose tokens are taken, for clients that have none yet (RFC 9728)."""

    public = True

    def get(self) -> None:
        """Send the metadata of the path's resource."""
        metadata = self.parts.access.metadata(self.request)
        if metadata is None:
            raise RouteMissingError
        self.answer(metadata)


class DocumentHandler(Handler):
    """The OpenAPI document."""

    public = True

    async def get(self) -> None:
        """Send the document."""
        self.answer(await asyncio.to_thread(self.parts.document))


class DocsHandler(Handler):
    """The OpenAPI document for people."""

    public = True

    async def get(self) -> None:
        """Send the page."""
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.set_header("Content-Security-Policy", PAGE_POLICY)
        address = f"{self.request.protocol}://{self.request.host}"
        self.finish(page(await asyncio.to_thread(self.parts.document), address))


def _metadata_route(resource: str) -> Route:
    answers = (
        Answer(200, "Whose tokens are taken.", models.ResourceModel),
        Answer(404, "The server takes no tokens.", models.ErrorModel),
    )
    summary = f"Whose bearer tokens open {resource or 'the server'} (RFC 9728)."
    return Route(
        METADATA_PATH + resource,
        ResourceHandler,
        (Operation("GET", summary, answers),),
    )


INFORMATION_ROUTES: Final = (
    Route(
        "/",
        IndexHandler,
        (
            Operation(
                "GET",
                "What the server is, and where its documents are.",
                (
                    Answer(200, "Its name, version and paths.", models.IndexModel),
                    Answer(303, "To the page for people, who accept text/html."),
                ),
            ),
        ),
    ),
    Route(
        "/healthz",
        HealthHandler,
        (
            Operation(
                "GET",
                "Whether the server works.",
                (
                    Answer(200, "It does.", models.Health),
                    Answer(503, "The server can't start it now.", models.ErrorModel),
                ),
            ),
        ),
    ),
    Route(
        "/metrics",
        MetricsHandler,
        (
            Operation(
                "GET",
                "Figures for Prometheus.",
                (Answer(200, "The figures.", None, "text/plain"),),
            ),
        ),
    ),
    Route(
        "/openapi.json",
        DocumentHandler,
        (Operation("GET", "This document.", (Answer(200, "The document."),)),),
    ),
    Route(
        "/docs",
        DocsHandler,
        (
            Operation(
                "GET",
                "This document, for people.",
                (Answer(200, "The page.", None, "text/html"),),
            ),
        ),
    ),
    *(_metadata_route(resource) for resource in ("", *RESOURCES)),
)
