"""Handlers that pass requests on, each of which is one of two at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from isoserver.app import ROUTES
from isoserver.http.handlers import Handler
from isoserver.http.openapi import make_document
from isoserver.jupyter.routes import JUPYTER_ROUTES
from isoserver.mcp.endpoint import MCP_ROUTES
from isoserver.passing.handlers import PassingHandler, passing_routes
from isoserver.ui.routes import UI_ROUTES

if TYPE_CHECKING:
    from isoserver.http.routes import Route

PASSING = [
    route
    for route in passing_routes((*ROUTES, *JUPYTER_ROUTES, *MCP_ROUTES, *UI_ROUTES))
    if issubclass(route.handler, PassingHandler)
]


@pytest.mark.parametrize("route", PASSING, ids=lambda route: route.path)
def test_no_handler_hides_what_passes_requests_on(route: Route) -> None:
    added = vars(PassingHandler).keys() - dir(Handler)
    for each in route.handler.__mro__:
        if issubclass(each, Handler) and each not in {*PassingHandler.__mro__}:
            hidden = added & vars(each).keys()
            assert not hidden, each


def test_the_document_says_what_another_server_may_answer() -> None:
    paths, passing = make_document(ROUTES)["paths"], {one.path for one in PASSING}
    for route in ROUTES:
        for operation in route.operations:
            described = paths[route.path][operation.method.lower()]
            # Lists have a path with what is made there, and are anybody's.
            is_list = operation.method == "GET" and "{" not in route.path
            expected = route.path in passing and not is_list
            assert ("502" in described["responses"]) == expected, route.path
            for status, answer in described["responses"].items():
                named = "X-Isokernel-Owner" in answer.get("headers", ())
                assert named == (expected and status < "400"), (route.path, status)
