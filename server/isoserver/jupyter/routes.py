"""Where Jupyter Server's API is: under a path of its own, which fronts take as URL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from isoserver.http import models as http_models
from isoserver.http.routes import Answer, Operation, Route, queries_of
from isoserver.jupyter import JUPYTER_PATH, models
from isoserver.jupyter import handlers as jupyter

if TYPE_CHECKING:
    from isoserver.http.handlers import Handler

__all__ = ["JUPYTER_ROUTES", "MESSAGE_ROUTES"]

_MISSING: Final = Answer(404, "There is no such context.", http_models.ErrorModel)


def _route(path: str, handler: type[Handler], *methods: str) -> Route:
    operations = tuple(Operation(method, "", ()) for method in methods)
    return Route(f"{JUPYTER_PATH}{path}", handler, operations)


JUPYTER_ROUTES: Final = (
    _route("/tree", jupyter.TreeHandler, "GET"),
    _route("/api", jupyter.ApiHandler, "GET"),
    _route("/api/me", jupyter.MeHandler, "GET"),
    _route("/api/status", jupyter.StatusHandler, "GET"),
    _route("/api/kernelspecs", jupyter.KernelspecsHandler, "GET"),
    _route("/api/kernelspecs/{name}", jupyter.KernelspecHandler, "GET"),
    _route("/kernelspecs/{name}/{file}", jupyter.LogoHandler, "GET"),
    _route("/api/kernels", jupyter.KernelsHandler, "GET", "POST"),
    _route("/api/kernels/{context_id}", jupyter.KernelHandler, "GET", "DELETE"),
    _route(
        "/api/kernels/{context_id}/interrupt", jupyter.InterruptKernelHandler, "POST"
    ),
    _route("/api/kernels/{context_id}/restart", jupyter.RestartKernelHandler, "POST"),
    _route("/api/kernels/{context_id}/channels", jupyter.ChannelsHandler, "GET"),
    _route("/api/sessions", jupyter.SessionsHandler, "GET", "POST"),
    _route(
        "/api/sessions/{session_id}", jupyter.SessionHandler, "GET", "PATCH", "DELETE"
    ),
)

MESSAGE_ROUTES: Final = (
    Route(
        "/contexts/{context_id}/messages",
        jupyter.MessagesHandler,
        (
            Operation(
                "GET",
                "Read what a context has said, whoever asked for it: a page, or with "
                "`Accept: text/event-stream` a stream that goes on.",
                (
                    Answer(200, "The messages.", models.MessagesModel),
                    Answer(
                        400,
                        "The query isn't as it must be.",
                        http_models.ValidationErrorModel,
                    ),
                    _MISSING,
                    Answer(
                        429,
                        "Too many wait; Retry-After says when to come back.",
                        http_models.ErrorModel,
                    ),
                ),
                queries=queries_of(models.MessagesQuery),
            ),
        ),
    ),
    Route(
        "/contexts/{context_id}/fronts",
        jupyter.FrontsHandler,
        (
            Operation(
                "GET",
                "List who is attached to a context, or may come back to it.",
                (Answer(200, "The fronts.", models.FrontsModel), _MISSING),
            ),
        ),
    ),
)
