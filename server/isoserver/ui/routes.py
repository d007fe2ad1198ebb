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
from isoserver.ui.heaps import HeapActionPage, HeapPage, HeapsPage
from isoserver.ui.pages import (
    MissingPage,
    SignInPage,
    SignOutPage,
    StartPage,
    StaticPage,
)
from isoserver.ui.runs import RunActionPage, RunPage, RunsPage
from isoserver.ui.servers import ServersPage
from isoserver.ui.tools import (
    ApprovalPage,
    ApprovalsPage,
    AuditPage,
    PoliciesPage,
    PolicyActionPage,
    SourceActionPage,
    SourcePage,
    SourcesPage,
)

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
    _page("/runs", RunsPage),
    _page("/runs/{kind_name}/{run_id}", RunPage),
    _page("/runs/{kind_name}/{run_id}/cancel", RunActionPage, "POST"),
    _page("/heaps", HeapsPage),
    _page("/heaps/{key}", HeapPage),
    _page("/heaps/{key}/{action}", HeapActionPage, "POST"),
    _page("/approvals", ApprovalsPage),
    _page("/approvals/{approval_id}", ApprovalPage, "GET", "POST"),
    _page("/sources", SourcesPage, "GET", "POST"),
    _page("/sources/{name}", SourcePage),
    _page("/sources/{name}/{action}", SourceActionPage, "POST"),
    _page("/policies", PoliciesPage, "GET", "POST"),
    _page("/policies/{policy_id}/delete", PolicyActionPage, "POST"),
    _page("/audit", AuditPage),
    _page("/servers", ServersPage, "GET", "POST"),
    _page("/{path}", MissingPage, "GET", "POST"),  # after all others
)
"""Every page: what shows it, and how it is asked for."""
