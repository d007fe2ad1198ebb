"""Requests and answers about heaps, sessions and checkpoints."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - pydantic reads the annotations
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from isoserver.contexts.models import AnswerModel, RequestModel

__all__ = [
    "CheckpointModel",
    "HeapDone",
    "HeapModel",
    "HeapsModel",
    "RestartRequest",
    "SessionsModel",
    "SnapshotsModel",
    "TagsRequest",
    "UnsavableModel",
]

HeapKey = Annotated[
    str,
    Field(
        description="The SHA-256 of what V8 wrote, in hex.", pattern="^[0-9a-f]{64}$"
    ),
]
Tag = Annotated[
    str, StringConstraints(min_length=1, max_length=256, pattern=r"^[^\x00]+$")
]
TagValue = Annotated[str, StringConstraints(max_length=4096, pattern=r"^[^\x00]*$")]


class RestartRequest(RequestModel):
    """How a context shall begin anew."""

    from_: Literal["nothing", "checkpoint"] = Field(
        "nothing",
        alias="from",
        description="`checkpoint` goes on from the last one, also after a crash.",
    )


class TagsRequest(RequestModel):
    """The tags that a heap shall have."""

    tags: dict[Tag, TagValue] = Field(
        max_length=100, description="All of them: others that it has are deleted."
    )


class CheckpointModel(AnswerModel):
    """A heap that was saved."""

    heap: HeapKey


class UnsavableModel(AnswerModel):
    """Why a heap can't be saved."""

    message: str
    reason: str = Field("", description="V8's words, or ours.")
    kind: str | None = Field(None, description="The kind of object in the way.")
    path: str | None = Field(None, description="What leads to it from globalThis.")


class HeapModel(AnswerModel):
    """A heap."""

    heap: HeapKey
    tags: dict[str, str]
    size: int = Field(description="Bytes.")
    compressed_size: int = Field(description="Bytes as it is stored.")
    created_at: datetime
    last_used: datetime = Field(description="To the minute.")
    input_heap: str | None = Field(description="The heap that it came from.")
    session: str | None = Field(description="The session that it is of.")
    execution_id: str | None = Field(description="The execution that yielded it.")
    engine: str = Field(description="What can restore it.")
    language: str
    execution_count: int = Field(description="Number of the last execution in it.")


class HeapsModel(AnswerModel):
    """Heaps, newest first."""

    heaps: list[HeapModel]


class HeapDone(AnswerModel):
    """It was done."""

    ok: Literal[True]


class SessionsModel(AnswerModel):
    """Sessions that have a history."""

    sessions: list[str]


class SnapshotEntryModel(AnswerModel):
    """One step of a session; with `fields`, only these."""

    index: int = Field(0, description="Its number in the session, from 0.")
    input_heap: str | None = None
    output_heap: str = ""
    code: str = Field("", description="What was run, as the client sent it.")
    timestamp: datetime | None = None


class SnapshotsModel(AnswerModel):
    """The history of a session, oldest step first."""

    entries: list[SnapshotEntryModel]
