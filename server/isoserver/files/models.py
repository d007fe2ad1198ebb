"""Requests and answers about the files of contexts."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, StringConstraints

from isoserver.http.models import (
    AnswerModel,
    FieldError,
    NextOffset,
    Offset,
    QueryModel,
    RequestModel,
)

if TYPE_CHECKING:
    import os

    from isokernel.files.folder import Usage

__all__ = [
    "LIST_MAX",
    "FileChange",
    "FileErrorModel",
    "FileListQuery",
    "FileModel",
    "FilesModel",
    "etag",
    "file_answer",
    "usage_answer",
]

LIST_MAX = 10_000
PathText = Annotated[str, StringConstraints(max_length=4096)]


class FileListQuery(QueryModel):
    """Which files to list."""

    path: PathText = Field("/", description="The folder.")
    recursive: bool = Field(
        default=False, description="Whether what is in its folders is listed too."
    )
    limit: int = Field(1000, ge=1, le=LIST_MAX, description="How many at most.")
    offset: Offset = 0


class FileChange(RequestModel):
    """What to do with a file or folder."""

    action: Literal["move", "copy", "make_folder"] = Field(
        description="`move` a file or folder, `copy` a file, or `make_folder`."
    )
    path: PathText = Field(description="Its path in the context's folder.")
    to: PathText | None = Field(
        None, description="Where it goes, for `move` and `copy`."
    )
    overwrite: bool = Field(
        default=False, description="Whether a file that is there is replaced."
    )


class FileModel(AnswerModel):
    """A file or folder."""

    path: str = Field(description="Its path in the context's folder.")
    kind: Literal["file", "folder", "link", "other"]
    size: int = Field(description="Its bytes; 0 for folders.")
    modified_at: str = Field(description="When it was changed last.")
    etag: str = Field(description="Changes whenever the file does.")


class FileErrorModel(AnswerModel):
    """Why something can't be done with a file."""

    message: str
    code: str = Field(default="", description="The reason's POSIX name, if it has one.")
    errors: list[FieldError] = Field(
        default=[], description="Fields that are wrong, if it is they."
    )


class UsageModel(AnswerModel):
    """What a context's folder holds, and may hold."""

    bytes: int
    bytes_max: int | None
    files: int = Field(description="Files and folders.")
    files_max: int | None


class FilesModel(AnswerModel):
    """What is in a folder, in the order of the names."""

    files: list[FileModel]
    usage: UsageModel
    next_offset: NextOffset


def etag(facts: os.stat_result) -> str:
    """Return what names a state of a file: it is another one after each change."""
    return f'"{facts.st_ino:x}-{facts.st_size:x}-{facts.st_mtime_ns:x}"'


def file_answer(path: str, kind: str, facts: os.stat_result) -> dict[str, Any]:
    """Return a file or folder as `FileModel` has it."""
    at = datetime.fromtimestamp(facts.st_mtime, timezone.utc)
    return {
        "path": path,
        "kind": kind,
        "size": 0 if kind == "folder" else facts.st_size,
        "modified_at": at.isoformat(timespec="milliseconds"),
        "etag": etag(facts),
    }


def usage_answer(
    usage: Usage, bytes_max: int | None, files_max: int | None
) -> dict[str, Any]:
    """Return what a folder holds as `UsageModel` has it."""
    return {
        "bytes": usage.size_bytes,
        "bytes_max": bytes_max,
        "files": usage.files,
        "files_max": files_max,
    }
