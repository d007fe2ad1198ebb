"""Where Jupyter Server's API is: under a path of its own, which fronts take as URL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from isoserver.http.routes import Operation, Route
from isoserver.jupyter import JUPYTER_PATH
from isoserver.jupyter import handlers as jupyter

if TYPE_CHECKING:
    from isoserver.http.handlers import Handler

__all__ = ["JUPYTER_ROUTES"]


def _route(path: str, handler: type[Handler], *methods: str) -> Route:
    operations = tuple(Operation(method, "", ()) for method in methods)
    return Route(f"{JUPYTER_PATH}{path}", handler, operations)


JUPYTER_ROUTES: Final = (
    _route("/api", jupyter.ApiHandler, "GET"),
    _route("/api/me", jupyter.MeHandler, "GET"),
    _route("/api/kernelspecs", jupyter.KernelspecsHandler, "GET"),
    _route("/api/kernelspecs/{name}", jupyter.KernelspecHandler, "GET"),
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
