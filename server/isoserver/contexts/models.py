"""Requests and answers about contexts in HTTP; the OpenAPI document is made of these.

Requests are parsed into these models. Answers are built as plain data, by the functions
at the end: validating what the server itself made costs time and finds nothing.
"""

from __future__ import annotations

import re
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeAlias

import msgspec
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    WithJsonSchema,
)

from isokernel.protocol.frames import FORKS_MAX
from isoserver.contexts.jobs import Failure
from isoserver.contexts.languages import ALIASES
from isoserver.contexts.outputs import lines
from isoserver.contexts.records import ContextRecord
from isoserver.contexts.results import cut_text, read_result
from isoserver.contexts.service import HOME
from isoserver.heaps.records import KEY_PATTERN
from isoserver.http.models import AnswerModel, RequestModel
from isoserver.settings.rules import (
    CapabilitiesModel,  # noqa: TC001 - pydantic reads annotations
)
from isoserver.webhooks.models import (
    WebhookModel,  # noqa: TC001 - pydantic reads annotations
)
from isoserver.webhooks.service import PART_BYTES_MAX

if TYPE_CHECKING:
    from isoserver.contexts.context import Context
    from isoserver.contexts.jobs import Execution
    from isoserver.contexts.languages import Language

__all__ = [
    "CellRequest",
    "CompleteRequest",
    "Completions",
    "ContextModel",
    "ContextsModel",
    "CreateContextRequest",
    "ExecuteRequest",
    "ExecutionModel",
    "InspectRequest",
    "Inspection",
    "KnownExecutionModel",
    "LanguageModel",
    "LanguagesModel",
    "Notebook",
    "StreamEvent",
    "StreamRequest",
    "context_answer",
    "execution_answer",
    "failed_answer",
    "item_answers",
    "known_answer",
    "note_language",
    "record_answer",
    "webhook_body",
]

TIMEOUT_MAX_MS = 24 * 3600 * 1000
Text = Annotated[str, StringConstraints(max_length=4096, pattern=r"^[^\x00]*$")]
ResultCharacters = Annotated[int, Field(ge=100, le=1 << 30)]
Variable = Annotated[
    str, StringConstraints(min_length=1, max_length=1024, pattern=r"^[^=\x00]+$")
]


def _language(value: Any) -> Any:
    """Return the name for a number as answers have it: 1 is Python, 2 TypeScript."""
    return _NUMBERS.get(value, value) if type(value) is int else value


_NUMBERS: Final[dict[int, Any]] = {1: "python", 2: "typescript"}
LanguageName = Annotated[
    str,
    BeforeValidator(_language),
    Field(max_length=64),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "maxLength": 64, "enum": list(ALIASES)},
                {"type": "integer", "enum": list(_NUMBERS)},
            ]
        }
    ),
]


ExecutionId: TypeAlias = Annotated[
    str,
    # Not of digits alone, as those are that the server gives.
    StringConstraints(max_length=128, pattern=r"^[0-9]*[A-Za-z_-][A-Za-z0-9._:-]*$"),
]


class CellRequest(RequestModel):
    """Code to run in a context, however it is answered."""

    code: str = Field(min_length=1, description="Source code to execute.")
    context_id: str | None = Field(
        None, description="An existing context; a new one is made if omitted."
    )
    language: LanguageName | None = Field(
        None,
        description=(
            "What the code is in. If omitted, the context's language; for a new "
            "context the server's default, which is python unless it was changed."
        ),
    )
    timeout_ms: int = Field(
        30_000,
        ge=1,
        le=TIMEOUT_MAX_MS,
        description="Milliseconds the code may run, from its beginning.",
    )
    result_characters_max: ResultCharacters | None = Field(
        None,
        description="Characters of the value's JSON; of a longer one, head and tail "
        "are kept. As many as a cell may print if omitted.",
    )
    capabilities: CapabilitiesModel | None = Field(
        None,
        description="What the code may do beyond the context, of what the workspace "
        "allows; all of that if omitted.",
    )
    execution_id: ExecutionId | None = Field(
        None,
        description="What the execution is to be called, unique in its context, or "
        "among those that make one. The same request sent again runs nothing twice: it "
        "gets the same execution.",
    )


class StreamRequest(CellRequest):
    """Code to run in a context."""

    webhook: WebhookModel | None = Field(
        None, description="Where to tell that the execution is over."
    )


class ExecuteRequest(CellRequest):
    """Code to run in a context, with environment variables."""

    env_vars: dict[Variable, Text] | None = Field(
        None, description="Environment variables, for this execution only."
    )


_EACH: Final = "execution"
Durability: TypeAlias = (
    Literal["sleep", "execution"] | Annotated[float, Field(ge=1, le=86_400)]
)
"""When a context is saved, in words or in seconds."""
PackageName: TypeAlias = Annotated[Text, Field(min_length=1, max_length=300)]
PACKAGES_MAX: Final = 100
"""Packages that a request may name."""


class CreateContextRequest(RequestModel):
    """The context to make."""

    language: LanguageName | None = Field(
        None, description="Its language; the server's default if omitted."
    )
    cwd: Annotated[Text, Field(max_length=1024)] | None = Field(
        HOME,
        description="Its working folder, made inside of a folder of the context's own.",
    )
    heap: Annotated[str, StringConstraints(pattern=KEY_PATTERN)] | None = Field(
        None,
        description="A heap that it goes on from (V8 only); its language is that of "
        "the heap if omitted.",
    )
    capabilities: CapabilitiesModel | None = Field(
        None,
        description="What its code may do beyond it, of what the workspace "
        "allows; all of that if omitted.",
    )
    packages: list[PackageName] = Field(
        [],
        max_length=PACKAGES_MAX,
        description="Packages that it begins with, loaded: names, each perhaps with "
        "a range (V8 only, also if no language is named, and not from a heap). "
        "Importing them takes no time.",
        examples=[["d3@7", "lodash-es"]],
    )
    durability: Durability | None = Field(
        None,
        description="When it is saved, so that it goes on from there after a crash (V8 "
        "only): `sleep`, when it hibernates; `execution`, after each execution and "
        "before that is over for anybody; or within so many seconds after one. "
        "`sleep` if omitted.",
    )

    @property
    def durability_seconds(self) -> float | None:
        """What `Identity` has."""
        if isinstance(self.durability, str):
            return 0.0 if self.durability == _EACH else None
        return self.durability


class ForksRequest(RequestModel):
    """How many forks to make."""

    count: int = Field(
        ge=1, le=FORKS_MAX, description="So many contexts, all with one state."
    )


class CompleteRequest(RequestModel):
    """Code to complete, and where."""

    code: str = Field(description="The source text.")
    cursor_pos: int | None = Field(
        None, ge=0, description="The cursor in Unicode code points; the end if omitted."
    )


class InspectRequest(CompleteRequest):
    """Code to explain, and where."""

    detail_level: int = Field(
        0, ge=0, le=1, description="1 asks for the source as well."
    )


class Item(AnswerModel):
    """Something that was displayed, in each of its forms; others are left out."""

    is_primary: bool = Field(
        default=False, description="Whether it is the cell's result."
    )
    text: str = Field("", description="Plain text.")
    html: str = ""
    markdown: str = ""
    svg: str = ""
    png: str = Field("", description="Base64-encoded PNG image.")
    jpeg: str = Field("", description="Base64-encoded JPEG image.")
    pdf: str = Field("", description="Base64-encoded PDF.")
    latex: str = ""
    # The API's name; pydantic has a deprecated method of that name.
    json_: Any = Field(
        None,
        alias="json",
        description="The value as data, of objects, arrays and long strings.",
    )
    json_note: str = Field(
        "", description="What `json` doesn't hold of the value, and what was cut."
    )
    javascript: str = ""
    extra: dict[str, Any] = Field({}, description="Other MIME types, by name.")


class Logs(AnswerModel):
    """What was printed: one entry a line, without the newline."""

    stdout: list[str] = Field(description="Lines of standard output.")
    stderr: list[str] = Field(description="Lines of standard error.")


class ExecutionFailure(AnswerModel):
    """How the code failed."""

    name: str = Field(description="Error type name.", examples=["NameError"])
    value: str = Field(
        description="Error message.", examples=["name 'x' is not defined"]
    )
    traceback: str = Field(description="Full traceback, which ends with a newline.")


class ExecutionModel(AnswerModel):
    """The result of an execution. Code that fails is answered like any other."""

    context_id: str = Field(description="The context that was used.")
    execution_id: str = Field("", description="What the execution is called.")
    items: list[Item] = Field(description="What was displayed, in order.")
    logs: Logs
    late: Logs | None = Field(
        None,
        description="What earlier executions of the context have printed since its "
        "last answer, as by timers; left out when there is nothing.",
    )
    error: ExecutionFailure | None = Field(
        None, description="Null when the code succeeded."
    )
    execution_count: int = Field(
        0, description="Its number in the context; executions that fail count too."
    )


class KnownExecutionModel(ExecutionModel):
    """An execution as its context knows it: what it has put out so far, or in all."""

    status: Literal[
        "queued", "running", "completed", "failed", "timed_out", "cancelled"
    ] = Field(description="The last four are for ever.")


class StreamEvent(AnswerModel):
    """One frame of a stream, the JSON after `data:`."""

    execution_id: str = Field("", description="In the first event that is sent.")
    context_id: str = Field("", description="In the first event that is sent.")

    type: Literal[0, 1, 2, 3] = Field(
        description="0: stdout, 1: stderr, 2: exit, 3: the execution could not go on."
    )
    data: str = Field("", description="A line of output; for 3, what happened.")
    code: int = Field(0, description="For 2: 0 when the code succeeded, else 1.")
    items: list[Item] = Field([], description="For 2: what was displayed, in order.")
    late: bool = Field(
        default=False, description="For 0 and 1: an earlier execution has printed it."
    )


class ContextModel(AnswerModel):
    """A context."""

    id: str = Field(description="21 characters that are safe in a URL.")
    language: int = Field(
        description="1: python, 2: typescript and javascript, 0: another kernel."
    )
    cwd: str = Field(description="The working folder, as it was asked for.")
    language_name: str = Field(
        description="What code is in unless the request says otherwise."
    )
    state: Literal["starting", "hibernated", "idle", "busy", "dead"] = Field(
        description="hibernated: saved, without a process until it is used."
    )
    reason: str = Field("", description="Why it is dead, or what of it was lost.")
    heap: str | None = Field(
        None, description="Its last checkpoint, or the heap that it began from."
    )
    created_at: datetime
    last_used: datetime
    execution_count: int
    waiting: int = Field(description="Executions that wait for their turn.")
    memory: dict[str, int] = Field({}, description="Bytes by kind, where known.")
    durability: Durability = Field(
        "sleep", description="When it is saved, if not only when it hibernates."
    )


class ContextsModel(AnswerModel):
    """All contexts, oldest first."""

    items: list[ContextModel]


class Completions(AnswerModel):
    """What could stand at the cursor."""

    matches: list[str]
    cursor_start: int = Field(description="Where the replaced text begins.")
    cursor_end: int
    metadata: dict[str, Any]


class Inspection(AnswerModel):
    """What is known of a name, by MIME type."""

    found: bool
    data: dict[str, Any]


class LanguageModel(AnswerModel):
    """A language that is served."""

    name: str
    aliases: list[str]
    number: int = Field(description="Its number in a context's `language`.")
    engine: Literal["v8", "kernel"]
    can_fork: bool


class LanguagesModel(AnswerModel):
    """The languages of this server."""

    default: str
    items: list[LanguageModel]


class Notebook(BaseModel):
    """A Jupyter notebook, version 4."""

    model_config = ConfigDict(extra="allow", defer_build=True)

    cells: list[dict[str, Any]]
    metadata: dict[str, Any]
    nbformat: Literal[4]
    nbformat_minor: int = Field(ge=0)


# -- answers as plain data -------------------------------------------------------------

_FIELDS: Final = {
    "text/plain": "text",
    "text/html": "html",
    "text/markdown": "markdown",
    "image/svg+xml": "svg",
    "image/png": "png",
    "image/jpeg": "jpeg",
    "application/pdf": "pdf",
    "text/latex": "latex",
    "application/json": "json",
    "application/javascript": "javascript",
    "text/javascript": "javascript",
}
"""The field of an `Item` that holds a MIME type; others are under `extra`."""


_NAME_MAX_CHARACTERS: Final = 100
_MESSAGE_MAX_CHARACTERS: Final = 1_000
"""Of an error in a webhook."""
_SHORT_CHARACTERS: Final = 10_000
"""Up to which a string is whole in `text`."""


def execution_answer(context: Context, execution: Execution) -> dict[str, Any]:
    """Return an `ExecutionModel` of an execution that is over, and what came late."""
    outputs = execution.outputs
    late = {"late": context.late.take_logs()} if context.late.items else {}
    return {
        "context_id": context.id,
        "execution_id": execution.execution_id,
        "items": item_answers(execution),
        "logs": {
            "stdout": lines(outputs.text("stdout")),
            "stderr": lines(outputs.text("stderr")),
        },
        **late,
        "error": _error(execution.failure),
        "execution_count": execution.count,
    }


def known_answer(context: Context, execution: Execution) -> dict[str, Any]:
    """Return a `KnownExecutionModel` of an execution, whether it is over or not."""
    outputs, failure, done = execution.outputs, execution.failure, execution.done
    if done.done() and not done.cancelled() and done.exception() is not None:
        error = done.exception()
        failure = Failure.without_traceback(type(error).__name__, str(error))
    return {
        "context_id": context.id,
        "execution_id": execution.execution_id,
        "status": execution.status,
        "items": item_answers(execution),
        "logs": {
            "stdout": lines(outputs.text("stdout")),
            "stderr": lines(outputs.text("stderr")),
        },
        "error": _error(failure),
        "execution_count": execution.count,
    }


_SCRIPT: Final = re.compile(
    r"^\s*(?:export\s+|async\s+)*(?:const|let|var|function|interface|type|enum)\s+[\w$*{[]"
    r"|^\s*import\s.*[\"']|=>|\bconsole\.|\bnew [A-Z]|;\s*$|===|\bMath\.|\bJSON\.",
    re.MULTILINE,
)
"""What TypeScript has, and Python has not."""


def note_language(execution: Execution) -> None:
    """Say that code ran as Python, if that failed as it does with TypeScript."""
    failed = execution.failure
    if (
        failed is not None
        and execution.language.name == "python"
        and failed.name in {"SyntaxError", "NameError", "IndentationError"}
        and _SCRIPT.search(execution.code)
    ):
        note = "ran as python; name `language` (typescript) for TypeScript"
        if note in failed.value:
            return
        value = f"{failed.value} ({note})"
        execution.failure = Failure(failed.name, value, f"{failed.traceback}{note}\n")


def failed_answer(context_id: str, failure: Failure) -> dict[str, Any]:
    """Return an `ExecutionModel` for a defect of the server."""
    return {
        "context_id": context_id,
        "items": [],
        "logs": {"stdout": [], "stderr": []},
        "error": _error(failure),
    }


def webhook_body(
    context: Context, execution: Execution, *, output: bool
) -> dict[str, Any]:
    """Return what a webhook tells of an execution that is over: no code.

    Args:
        context: Where it has run.
        execution: The execution.
        output: Whether result and output are wanted.
    """
    told = known_answer(context, execution)
    logs, items, error = told.pop("logs"), told.pop("items"), told["error"]
    if error is not None:
        told["error"] = {
            "name": cut_text(error["name"], _NAME_MAX_CHARACTERS),
            "message": cut_text(error["value"], _MESSAGE_MAX_CHARACTERS),
        }
    if output:
        printed = "".join(f"{line}\n" for lines in logs.values() for line in lines)
        result = [item.get("text", "") for item in items if item.get("is_primary")]
        told["result"] = cut_text("".join(result), PART_BYTES_MAX)
        told["output"] = cut_text(printed, PART_BYTES_MAX)
    return told


def _error(failure: Failure | None) -> dict[str, str] | None:
    return None if failure is None else failure._asdict()


def item_answers(execution: Execution) -> list[dict[str, Any]]:
    """Return an `Item` for each output."""
    return [_item(output, execution) for output in execution.outputs.displays()]


def _item(output: dict[str, Any], execution: Execution) -> dict[str, Any]:
    item: dict[str, Any] = {}
    if output["output_type"] == "execute_result":
        item["is_primary"] = True
        item.update(_data(execution.reply or {}))
    extra: dict[str, Any] = {}
    for mime, value in output["data"].items():
        field = _FIELDS.get(mime)
        if field == "json" and isinstance(value, dict):
            item["json"] = value
        elif field is None or field == "json":
            extra[mime] = value
        else:
            item[field] = "".join(value) if isinstance(value, list) else str(value)
    if extra:
        item["extra"] = extra
    return item


def _data(reply: dict[str, Any]) -> dict[str, Any]:
    """Return what a reply has of the value as data, where its text may not be all."""
    text = reply.get("result_json")
    if (text is None or _is_short(text)) and not reply.get("result_note"):
        return {}  # most values, for which nothing need be read
    result = read_result(reply)
    text = result.text
    if text is None or "$ (" in result.note:  # it is no plain data at all
        return {}
    found: dict[str, Any] = {"json_note": result.note} if result.note else {}
    if not _is_short(text):
        found["json"] = msgspec.Raw(text.encode())
    return found


def _is_short(text: str) -> bool:
    """Whether what is shown of a value is all of it."""
    return text[:1] not in ("{", "[") and len(text) <= _SHORT_CHARACTERS


def context_answer(
    context: Context, memory: dict[str, int] | None = None
) -> dict[str, Any]:
    """Return a `ContextModel` of a context.

    Args:
        context: The context.
        memory: What it uses, if that was asked for.
    """
    record = ContextRecord.of(context, context.state.value, context.reason)
    answer = record_answer(
        record, context.language, context.waiting, context.identity.durability
    )
    if memory:
        answer["memory"] = memory
    return answer


def record_answer(
    record: ContextRecord,
    language: Language,
    waiting: int = 0,
    durability: float | None = None,
) -> dict[str, Any]:
    """Return a `ContextModel` of a context without a process."""
    answer: dict[str, Any] = {
        "id": record.id,
        "language": language.number,
        "cwd": record.cwd,
        "language_name": language.name,
        "state": record.state,
        "created_at": datetime.fromtimestamp(record.created_at, timezone.utc),
        "last_used": datetime.fromtimestamp(record.last_used, timezone.utc),
        "execution_count": record.execution_count,
        "waiting": waiting,
    }
    if record.reason:
        answer["reason"] = record.reason
    if record.heap is not None:
        answer["heap"] = record.heap
    if durability is not None:
        answer["durability"] = durability or _EACH
    return answer
