"""The pages of the UI; they are in no document, as they are for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from isoserver.http.routes import Operation, Route
from isoserver.ui.contexts import (
    ContextActionPage,
    ContextFilePage,
    ContextNotebookPage,
    ContextPage,
    OverviewPage,
)
from isoserver.ui.pages import SignInPage, SignOutPage, StartPage, StaticPage

if TYPE_CHECKING:
    from isoserver.http.handlers import Handler

__all__ = ["UI_ROUTES"]


def _page(path: str, handler: type[Handler], *methods: str) -> Route:
    operations = tuple(Operation(method, "", ()) for method in methods or ("GET",))
    return Route(f"/ui{path}", handler, operations)


UI_ROUTES: Final = (
    _page("", StartPage),
    _page("/", OverviewPage),
    _page("/static/{name}", StaticPage),
    _page("/sign-in", SignInPage, "GET", "POST"),
    _page("/sign-out", SignOutPage, "POST"),
    _page("/contexts", OverviewPage, "GET", "POST"),
    _page("/contexts/{context_id}", ContextPage),
    _page("/contexts/{context_id}/notebook", ContextNotebookPage),
    _page("/contexts/{context_id}/files/{path}", ContextFilePage),
    _page("/contexts/{context_id}/{action}", ContextActionPage, "POST"),
)
"""Every page: what shows it, and how it is asked for."""
