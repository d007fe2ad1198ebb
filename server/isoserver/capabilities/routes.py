"""The routes of what code may do beyond its context."""

from __future__ import annotations

from typing import Final

from isoserver.capabilities import handlers, models
from isoserver.http.models import ErrorModel, ValidationErrorModel
from isoserver.http.routes import Answer, Operation, Route

__all__ = ["CAPABILITY_ROUTES"]

_SHOWN: Final = Answer(200, "What holds now.", models.CapabilitiesAnswer)
_INVALID: Final = Answer(400, "Bad request: validation error.", ValidationErrorModel)
_MISSING: Final = Answer(404, "There is no such context.", ErrorModel)
_LARGE: Final = Answer(413, "The body is too large.", ErrorModel)
_UNREADY: Final = Answer(503, "The server can't do it now.", ErrorModel)

_NARROWED: Final = Answer(200, "What holds now.", models.WorkspaceCapabilitiesAnswer)

CAPABILITY_ROUTES: Final = (
    Route(
        "/capabilities",
        handlers.WorkspaceCapabilitiesHandler,
        (
            Operation(
                "GET",
                "Show what the code of the workspace may do beyond its contexts.",
                (_NARROWED, _UNREADY),
            ),
            Operation(
                "PUT",
                "Narrow what the code of the workspace may do beyond its contexts, "
                "from now on.",
                (_NARROWED, _INVALID, _LARGE, _UNREADY),
                models.WorkspaceCapabilitiesRequest,
                example={"net": ["api.github.com"], "files": "read"},
            ),
        ),
    ),
    Route(
        "/contexts/{context_id}/capabilities",
        handlers.CapabilitiesHandler,
        (
            Operation(
                "GET",
                "Show what the code of a context may do beyond it, and what it has "
                "asked for.",
                (_SHOWN, _MISSING),
            ),
            Operation(
                "PUT",
                "Narrow what the code of a context may do beyond it, from now on.",
                (_SHOWN, _INVALID, _MISSING, _LARGE, _UNREADY),
                models.CapabilitiesRequest,
                example={
                    "modules": ["npm:d3"],
                    "net": ["api.github.com"],
                    "files": "read",
                },
            ),
        ),
    ),
    Route(
        "/contexts/{context_id}/packages",
        handlers.PackagesHandler,
        (
            Operation(
                "GET",
                "List the packages that the code of a context has loaded.",
                (
                    Answer(200, "The packages.", models.PackagesAnswer),
                    _MISSING,
                    _UNREADY,
                ),
            ),
        ),
    ),
)
