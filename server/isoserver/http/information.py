"""What the server says about itself."""

from __future__ import annotations

from isoserver.errors import RouteMissingError
from isoserver.http.handlers import Handler
from isoserver.http.metrics import CONTENT_TYPE
from isoserver.http.page import STYLE_POLICY, page

__all__ = [
    "DocsHandler",
    "DocumentHandler",
    "HealthHandler",
    "LanguagesHandler",
    "MetricsHandler",
    "ResourceHandler",
]


class HealthHandler(Handler):
    """Whether it works."""

    open = True

    def get(self) -> None:
        """Say so, unless it is about to stop."""
        self.check_open()
        self.answer({"status": "ok"})


class LanguagesHandler(Handler):
    """What code can be in."""

    def get(self) -> None:
        """List the languages."""
        languages = self.service.contexts.languages
        items = [
            {
                "name": language.name,
                "aliases": languages.names(language),
                "number": language.number,
                "engine": language.engine,
                "can_fork": language.engine == "v8",
            }
            for language in languages.served.values()
        ]
        self.answer({"default": languages.default, "items": items})


class MetricsHandler(Handler):
    """Figures for Prometheus."""

    def get(self) -> None:
        """Give them; they are about all workspaces."""
        self.require_operator()
        self.set_header("Content-Type", CONTENT_TYPE)
        self.finish(self.service.metrics.text())


class ResourceHandler(Handler):
    """Whose tokens are taken, for clients that have none yet (RFC 9728)."""

    open = True

    def get(self) -> None:
        """Say so."""
        metadata = self.service.access.metadata(self.request)
        if metadata is None:
            raise RouteMissingError
        self.answer(metadata)


class DocumentHandler(Handler):
    """The OpenAPI document."""

    open = True

    def get(self) -> None:
        """Give it."""
        self.answer(self.service.document)


class DocsHandler(Handler):
    """The OpenAPI document for people."""

    open = True

    def get(self) -> None:
        """Give the page."""
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.set_header("Content-Security-Policy", STYLE_POLICY)
        self.finish(page(self.service.document))
