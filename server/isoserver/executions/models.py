"""Requests and answers of what is under /api: executions and the client's downloads."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - pydantic reads the annotations
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, StringConstraints

from isoserver.contexts.models import AnswerModel, RequestModel
from isoserver.heaps.models import (  # noqa: TC001 - pydantic reads the annotations
    HeapKey,
    HeapTags,
)

__all__ = [
    "ApiError",
    "CancelResult",
    "CliAsset",
    "CliIndex",
    "ExecAccepted",
    "ExecOptions",
    "ExecRequest",
    "ExecutionInfo",
    "ExecutionList",
    "ExecutionOutput",
    "ExecutionSummary",
    "ListQuery",
    "OutputQuery",
    "StatusName",
    "VersionModel",
]

INTEGER_MAX = (1 << 63) - 1
TIMEOUT_MAX = 300
MEMORY_MAX_MB = 1 << 20
StatusName = Literal["running", "completed", "failed", "timed_out", "cancelled"]
SessionName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.:@~+-]{1,128}$")]


class ExecOptions(RequestModel):
    """How code shall run."""

    execution_timeout_secs: int | None = Field(
        None,
        ge=1,
        le=TIMEOUT_MAX,
        description="Seconds that it may run, from its beginning.",
    )
    heap: HeapKey | None = Field(
        None, description="The heap that it goes on from; a blank one if omitted."
    )
    heap_memory_max_mb: int | None = Field(
        None,
        ge=0,
        le=MEMORY_MAX_MB,
        description="MiB of V8 heap; less than 8 is taken as 8.",
    )
    session: SessionName | None = Field(
        None,
        description="The context that it runs in, by its id, made if there is none; a "
        "context of its own if omitted.",
    )


class ExecRequest(ExecOptions):
    """JavaScript or TypeScript to run."""

    code: str = Field(description="The source text.")
    tags: HeapTags | None = Field(
        None, description="What the heap that it yields is tagged with."
    )


class QueryModel(RequestModel):
    """Arguments in the query: text that is converted."""

    model_config = ConfigDict(extra="ignore", strict=False, frozen=True)


Natural = Annotated[int, Field(ge=0, le=INTEGER_MAX)]


class OutputQuery(QueryModel):
    """Which part of the output is wanted."""

    line_offset: Natural = Field(1, description="The first line, from 1.")
    line_limit: Natural = Field(100, description="How many lines, up to 10,000.")
    byte_offset: Natural | None = Field(
        None, description="The first byte; the page is one of bytes then."
    )
    byte_limit: Natural = Field(
        4096, description="How many bytes, up to 1,048,576, with byte_offset."
    )


class ListQuery(QueryModel):
    """Which executions are wanted."""

    limit: int = Field(100, ge=1, le=1000, description="How many at most.")
    status: StatusName | None = Field(None, description="Only those that are at it.")


class ApiError(AnswerModel):
    """Why a request could not be served."""

    error: str


class ExecAccepted(AnswerModel):
    """The code will run, and what is known of it is kept."""

    execution_id: str


class ExecutionSummary(AnswerModel):
    """An execution, in short."""

    execution_id: str
    status: StatusName
    started_at: datetime
    completed_at: datetime | None


class ExecutionList(AnswerModel):
    """Executions, newest first."""

    executions: list[ExecutionSummary]


class ExecutionInfo(ExecutionSummary):
    """An execution. Every key is always there."""

    result: str | None = Field(
        description="The value of the code as JSON text, when it completed."
    )
    heap: str | None = Field(
        description="The key of the heap that it yielded, when it completed."
    )
    heap_error: str | None = Field(
        description="Why it yielded none, though it completed."
    )
    error: str | None = Field(
        description="What went wrong, when it failed, timed out or was cancelled."
    )


class ExecutionOutput(AnswerModel):
    """A page of output. Both cursors are there, however it was asked for."""

    execution_id: str
    data: str = Field(
        description="The text. A page of lines has no newline at its end."
    )
    start_line: int = Field(description="The first line, from 1; 0 if there is none.")
    end_line: int = Field(description="The last line, inclusive.")
    next_line_offset: int
    total_lines: int
    start_byte: int
    end_byte: int = Field(description="Exclusive.")
    next_byte_offset: int
    total_bytes: int
    has_more: bool = Field(description="Whether there is more by now.")
    status: StatusName


class CancelResult(AnswerModel):
    """What became of a cancellation."""

    ok: bool
    error: str | None = None


class VersionModel(AnswerModel):
    """The server's version."""

    version: str


class CliAsset(AnswerModel):
    """A client that can be downloaded."""

    platform: str
    url: str
    available: bool


class CliIndex(AnswerModel):
    """The clients that can be downloaded."""

    version: str
    assets: list[CliAsset]
