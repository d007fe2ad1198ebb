"""Requests and answers about heaps, sessions and checkpoints, for HTTP and MCP."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field, StringConstraints

from isoserver.heaps.records import (
    KEY_PATTERN,
    TAG_NAME_CHARACTERS_MAX,
    TAG_VALUE_CHARACTERS_MAX,
    TAGS_MAX,
)
from isoserver.heaps.service import LIST_DEFAULT, LIST_MAX
from isoserver.http.models import (
    AnswerModel,
    NextOffset,
    Offset,
    QueryModel,
    RequestModel,
)

if TYPE_CHECKING:
    from isoserver.heaps.records import HeapRecord, SessionEntry

__all__ = [
    "CheckpointModel",
    "HeapDone",
    "HeapKey",
    "HeapListQuery",
    "HeapModel",
    "HeapTags",
    "HeapsModel",
    "RestartRequest",
    "SessionsModel",
    "SnapshotsModel",
    "TagsRequest",
    "UnsavableModel",
    "entry_answer",
    "heap_answer",
]

HeapKey = Annotated[str, StringConstraints(pattern=KEY_PATTERN)]


def _without_nul(text: str) -> str:
    """Refuse NUL, which PostgreSQL's text has not."""
    if "\0" in text:
        message = "must have no NUL"
        raise ValueError(message)
    return text


_NO_NUL: Final = AfterValidator(_without_nul)
TagName = Annotated[
    str,
    StringConstraints(min_length=1, max_length=TAG_NAME_CHARACTERS_MAX),
    _NO_NUL,
]
TagValue = Annotated[
    str, StringConstraints(max_length=TAG_VALUE_CHARACTERS_MAX), _NO_NUL
]
HeapTags = Annotated[dict[TagName, TagValue], Field(max_length=TAGS_MAX)]


class HeapListQuery(QueryModel):
    """Which heaps are wanted, beside their tags."""

    limit: Annotated[int, Field(ge=1, le=LIST_MAX, description="How many at most.")] = (
        LIST_DEFAULT
    )
    offset: Offset = 0


class RestartRequest(RequestModel):
    """How to restart a context."""

    from_: Literal["nothing", "checkpoint"] = Field(
        "nothing",
        alias="from",
        description="`checkpoint` goes on from the last one, also after a crash.",
    )


class TagsRequest(RequestModel):
    """The new tags of a heap."""

    tags: HeapTags = Field(description="All of the heap's tags: others are deleted.")


class CheckpointModel(AnswerModel):
    """A heap that was saved."""

    heap: HeapKey = Field(description="The SHA-256 of what V8 wrote, in hex.")


class UnsavableModel(AnswerModel):
    """Why a heap can't be saved."""

    message: str
    reason: str = Field("", description="V8's words, or ours.")
    kind: str | None = Field(None, description="The kind of object in the way.")
    path: str | None = Field(
        None,
        description="An expression that leads to it, or the names by which its holder "
        "has it.",
    )
    holder: str | None = Field(
        None,
        description="The URL of the module, and so the package, that holds it, or `a "
        "function`.",
    )


class HeapModel(AnswerModel):
    """A heap."""

    heap: HeapKey = Field(description="The SHA-256 of what V8 wrote, in hex.")
    tags: dict[str, str]
    size: int = Field(description="Bytes.")
    compressed_size: int = Field(description="Bytes of its file.")
    created_at: datetime
    last_used: datetime = Field(description="To the minute.")
    input_heap: str | None = Field(
        description="The heap that its context had gone on from."
    )
    session: str | None = Field(description="The session whose state it is.")
    execution_id: str | None = Field(description="The execution that yielded it.")
    engine: str = Field(description="The engine that wrote it, and can restore it.")
    language: str
    execution_count: int = Field(description="Number of the last execution in it.")


class HeapsModel(AnswerModel):
    """Heaps, newest first."""

    heaps: list[HeapModel]
    next_offset: NextOffset


class HeapDone(AnswerModel):
    """The change was made."""

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


def heap_answer(heap: HeapRecord) -> dict[str, Any]:
    """Return a heap as HTTP answers it: a `HeapModel`, but not checked."""
    answer = heap._asdict()
    answer["heap"] = answer.pop("key")
    answer["input_heap"] = answer.pop("parent")
    for name in ("created_at", "last_used"):
        answer[name] = _iso_time(answer[name])
    return answer


def entry_answer(entry: SessionEntry, fields: tuple[str, ...]) -> dict[str, Any]:
    """Return these fields of a session's step, as HTTP and MCP answer it."""
    answer = {name: getattr(entry, name) for name in fields}
    if "timestamp" in answer:
        answer["timestamp"] = _iso_time(entry.timestamp)
    return answer


def _iso_time(seconds: float) -> str:
    moment = datetime.fromtimestamp(seconds, timezone.utc)
    return moment.isoformat().replace("+00:00", "Z")
