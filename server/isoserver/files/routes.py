"""The routes of contexts' files."""

from __future__ import annotations

from typing import Final

from isoserver.files import handlers as files
from isoserver.files import models
from isoserver.http.models import ErrorModel
from isoserver.http.routes import Answer, Operation, Query, Route, queries_of

__all__ = ["FILE_ROUTES"]

_INVALID: Final = Answer(
    400,
    "The request is invalid, or the path leads out of the folder.",
    models.FileErrorModel,
)
_MISSING: Final = Answer(
    404, "There is no such context or file.", models.FileErrorModel
)
_CONFLICT: Final = Answer(
    409,
    "It can't be done: a folder isn't empty, a file is there.",
    models.FileErrorModel,
)
_CHANGED: Final = Answer(
    412, "The file isn't in the state that was named.", models.FileErrorModel
)
_LIMIT: Final = Answer(
    413,
    "A limit of the folder is reached; its setting is named.",
    models.FileErrorModel,
)
_UNREADY: Final = Answer(503, "The server can't do it now.", ErrorModel)
_FILE: Final = Answer(200, "What became of it.", models.FileModel)

FILE_ROUTES: Final = (
    Route(
        "/contexts/{context_id}/files",
        files.FilesHandler,
        (
            Operation(
                "GET",
                "List the files of a context.",
                (
                    Answer(200, "The files.", models.FilesModel),
                    _INVALID,
                    _MISSING,
                    _CONFLICT,
                ),
                queries=queries_of(models.FileListQuery),
            ),
            Operation(
                "POST",
                "Move or copy a file of a context, or make a folder.",
                (_FILE, _INVALID, _MISSING, _CONFLICT, _LIMIT, _UNREADY),
                models.FileChange,
                example={"action": "make_folder", "path": "data/2026"},
            ),
        ),
    ),
    Route(
        "/contexts/{context_id}/files/{path}",
        files.FileHandler,
        (
            Operation(
                "GET",
                "Read a file of a context, or the part that the Range header names; "
                "list a folder.",
                (
                    Answer(200, "The file.", None, "application/octet-stream"),
                    Answer(206, "The part.", None, "application/octet-stream"),
                    Answer(304, "It is the one that If-None-Match names."),
                    Answer(416, "The file has no such part.", ErrorModel),
                    _INVALID,
                    _MISSING,
                    _CONFLICT,
                ),
            ),
            Operation(
                "PUT",
                "Write a file of a context: the body is its content, as it is.",
                (
                    Answer(200, "It was replaced.", models.FileModel),
                    Answer(201, "It is new.", models.FileModel),
                    _INVALID,
                    _MISSING,
                    _CONFLICT,
                    _CHANGED,
                    _LIMIT,
                    _UNREADY,
                ),
                raw=True,
            ),
            Operation(
                "DELETE",
                "Delete a file of a context, or a folder.",
                (Answer(204, "It is deleted."), _INVALID, _MISSING, _CONFLICT),
                queries=(
                    Query(
                        "recursive",
                        "Whether a folder is deleted with what is in it.",
                        {"type": "boolean", "default": False},
                    ),
                ),
            ),
        ),
    ),
)
