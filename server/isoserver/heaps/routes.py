"""The routes of heaps and sessions."""

from __future__ import annotations

from typing import Any, Final

from isoserver.heaps import handlers as heaps
from isoserver.heaps import models
from isoserver.http.models import ApiError
from isoserver.http.routes import Answer, Operation, Query, Route, queries_of

__all__ = ["HEAP_ROUTES"]

_INVALID: Final = Answer(400, "The request is invalid; the error says why.", ApiError)
_MISSING: Final = Answer(404, "The workspace has no such heap.", ApiError)
_LARGE: Final = Answer(413, "The body is too large.", ApiError)
_UNREADY: Final = Answer(503, "The store or the database can't be used.", ApiError)
_DONE: Final = Answer(200, "Done.", models.HeapDone)
_ONE: Final = "/api/heaps/{key}"
_TEXT: Final[dict[str, Any]] = {"type": "string"}

HEAP_ROUTES: Final = (
    Route(
        "/api/heaps",
        heaps.HeapsHandler,
        (
            Operation(
                "GET",
                "List heaps, or those that have all of some tags, newest first.",
                (Answer(200, "The heaps.", models.HeapsModel), _INVALID, _UNREADY),
                queries=(
                    Query(
                        "tag",
                        "NAME:VALUE of a tag that they must have, a colon in the name "
                        "written `\\:`; may be repeated.",
                        {"type": "array", "items": {**_TEXT, "pattern": "^.+:"}},
                    ),
                    *queries_of(models.HeapListQuery),
                ),
            ),
        ),
    ),
    Route(
        _ONE,
        heaps.HeapHandler,
        (
            Operation(
                "GET",
                "Show a heap.",
                (
                    Answer(200, "The heap.", models.HeapModel),
                    _INVALID,
                    _MISSING,
                    _UNREADY,
                ),
            ),
            Operation(
                "DELETE", "Delete a heap.", (_DONE, _INVALID, _MISSING, _UNREADY)
            ),
        ),
    ),
    Route(
        f"{_ONE}/tags",
        heaps.TagsHandler,
        (
            Operation(
                "PUT",
                "Replace the tags of a heap.",
                (_DONE, _INVALID, _MISSING, _LARGE, _UNREADY),
                models.TagsRequest,
                example={"tags": {"project": "cities", "stage": "loaded"}},
            ),
            Operation(
                "DELETE",
                "Delete tags of a heap.",
                (_DONE, _INVALID, _MISSING, _UNREADY),
                queries=(
                    Query(
                        "keys",
                        "Names of tags, with commas between them; all if omitted.",
                        _TEXT,
                    ),
                ),
            ),
        ),
    ),
    Route(
        "/api/sessions",
        heaps.SessionsHandler,
        (
            Operation(
                "GET",
                "List the sessions that have a history.",
                (Answer(200, "Their names.", models.SessionsModel), _UNREADY),
            ),
        ),
    ),
    Route(
        "/api/sessions/{session}/snapshots",
        heaps.SnapshotsHandler,
        (
            Operation(
                "GET",
                "List the steps of a session, oldest first: the code and its heaps.",
                (Answer(200, "The steps.", models.SnapshotsModel), _INVALID, _UNREADY),
                queries=(
                    Query(
                        "fields",
                        "Names of fields, with commas between them; all if omitted.",
                        _TEXT,
                    ),
                ),
            ),
        ),
    ),
)
