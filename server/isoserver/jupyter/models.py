"""Requests and answers of Jupyter Server's API, as its OpenAPI document has them."""

from __future__ import annotations

from base64 import b64encode
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import AliasChoices, AliasPath, ConfigDict, Field

from isoserver.contexts.context import State
from isoserver.contexts.kernel_ids import kernel_id
from isoserver.contexts.records import LIVE, ContextRecord
from isoserver.http.models import AnswerModel, QueryModel, RequestModel
from isoserver.jupyter import JUPYTER_PATH
from isoserver.jupyter.readers import Reader, cursor_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from isoserver.contexts.context import Context
    from isoserver.contexts.kernelspecs import InstalledKernelspec
    from isoserver.contexts.languages import Language
    from isoserver.contexts.transcript import Entry, Transcript
    from isoserver.jupyter.fronts import Front
    from isoserver.jupyter.sessions import Session

__all__ = [
    "FrontModel",
    "FrontsModel",
    "KernelName",
    "MessageModel",
    "MessagesModel",
    "MessagesQuery",
    "PatchSession",
    "StartKernel",
    "StartSession",
    "front_answer",
    "kernel_answer",
    "kernelspec_name",
    "kernelspecs_answer",
    "message_answer",
    "messages_answer",
    "session_answer",
]

_V8: Final = "v8-"
_STATES: Final = {
    State.STARTING.value: "starting",
    State.HIBERNATED.value: "idle",  # it wakes with the first request
    State.IDLE.value: "idle",
    State.BUSY.value: "busy",
    State.DEAD.value: "dead",
    LIVE: "idle",
}
_TITLES: Final = {"javascript": "JavaScript (V8)", "typescript": "TypeScript (V8)"}
_KNOWN_MAX: Final = 1024


class _Lenient(RequestModel):
    """What Jupyter's fronts send has fields that mean nothing here."""

    model_config = ConfigDict(extra="ignore")


class StartKernel(_Lenient):
    """POST /api/kernels: the kernel to start, or one to attach to."""

    name: str | None = Field(default=None, max_length=_KNOWN_MAX)
    kernel_id: str | None = Field(default=None, max_length=_KNOWN_MAX)


class KernelName(_Lenient):
    """The kernel of a session: a running one by id, or a new one by name."""

    id: str | None = Field(default=None, max_length=_KNOWN_MAX)
    name: str | None = Field(default=None, max_length=_KNOWN_MAX)


class StartSession(_Lenient):
    """POST /api/sessions; gateways' clients still name the document as `notebook`."""

    path: str = Field(
        max_length=4096,
        validation_alias=AliasChoices("path", AliasPath("notebook", "path")),
    )
    name: str = Field("", max_length=4096)
    type: str = Field("notebook", max_length=64)
    kernel: KernelName = KernelName()


class PatchSession(_Lenient):
    """PATCH /api/sessions/{id}; what is left out stays."""

    path: str | None = Field(default=None, max_length=4096)
    name: str | None = Field(default=None, max_length=4096)
    type: str | None = Field(default=None, max_length=64)
    kernel: KernelName | None = None


# -- what contexts say, and to whom ----------------------------------------------------


class MessagesQuery(QueryModel):
    """GET /contexts/{id}/messages."""

    after: str = Field(
        "0",
        max_length=64,
        description="The `cursor` of an earlier answer, or a message's number: only "
        "what came later is answered. The header `Last-Event-ID` counts before it.",
    )
    limit: int = Field(100, ge=1, le=1000, description="How many messages at most.")
    wait_seconds: float = Field(
        0.0,
        ge=0,
        le=60,
        description="How long to wait for a message if there is none yet.",
    )


class MessageModel(AnswerModel):
    """One message of a context."""

    number: int = Field(ge=1, description="Its place in the sequence.")
    at: datetime
    type: str = Field(description="Jupyter's type of the message.")
    content: dict[str, Any]
    metadata: dict[str, Any]
    parent: dict[str, Any] = Field(
        description="The header of the request that caused it; empty if none did. "
        "Its `session` is a front's; a cell over HTTP or MCP has none."
    )
    buffers: list[str] = Field(
        default=[],
        description="Binary attachments, in base64; absent if there is none.",
    )


class MessagesModel(AnswerModel):
    """A page of a context's messages."""

    items: list[MessageModel]
    cursor: str = Field(description="What to ask for the next page with, as `after`.")
    missed: int = Field(
        ge=0,
        description="Messages between the cursor and the page's last that are gone.",
    )
    anew: bool = Field(
        description="Whether the cursor was of an earlier context of the same id: "
        "the page begins with the first message of this one."
    )


class FrontModel(AnswerModel):
    """Who is attached to a context, or was."""

    kind: Literal["websocket", "stream"]
    session: str = Field(description="The id of a front's session; empty for streams.")
    client: str = Field(description="Who it is: the name of its key, if that has one.")
    connected: bool
    since: datetime
    behind: int = Field(ge=0, description="Messages that it was not sent yet.")
    waiting: int = Field(ge=0, description="Its cells that wait or run.")


class FrontsModel(AnswerModel):
    """The fronts of a context."""

    items: list[FrontModel]


def message_answer(entry: Entry) -> dict[str, Any]:
    """Return a `MessageModel`."""
    answer: dict[str, Any] = {
        "number": entry.number,
        "at": datetime.fromtimestamp(entry.at, timezone.utc),
        "type": entry.kind,
        "content": entry.content,
        "metadata": entry.metadata,
        "parent": entry.parent,
    }
    if entry.buffers:
        answer["buffers"] = [b64encode(one).decode() for one in entry.buffers]
    return answer


def messages_answer(
    transcript: Transcript, after: int, entries: list[Entry], *, anew: bool
) -> dict[str, Any]:
    """Return a `MessagesModel`.

    Args:
        transcript: Whose messages they are.
        after: The last message that was not asked for.
        entries: The messages.
        anew: See the model.
    """
    last = entries[-1].number if entries else after
    return {
        "items": [message_answer(entry) for entry in entries],
        "cursor": cursor_of(transcript, last),
        "missed": entries[-1].number - after - len(entries) if entries else 0,
        "anew": anew,
    }


def front_answer(front: Front | Reader) -> dict[str, Any]:
    """Return a `FrontModel`."""
    return {
        "kind": "stream" if isinstance(front, Reader) else "websocket",
        "session": "" if isinstance(front, Reader) else front.session,
        "client": front.client,
        "connected": isinstance(front, Reader) or front.socket is not None,
        "since": datetime.fromtimestamp(front.since, timezone.utc),
        "behind": max(0, front.context.transcript.last - front.number),
        "waiting": 0 if isinstance(front, Reader) else front.waiting,
    }


def kernelspec_name(language: Language) -> str:
    """Return the name by which fronts know a language: that of our own kernels."""
    if language.engine == "v8":
        return f"{_V8}{language.name}"
    return language.kernelspec


def kernelspecs_answer(
    languages: list[Language],
    default: Language,
    installed: Mapping[str, InstalledKernelspec],
) -> dict[str, Any]:
    """Return what GET /api/kernelspecs answers.

    Args:
        languages: What is served.
        default: What a front begins with that names none.
        installed: The kernelspecs that are installed here, by name.
    """
    specs = {}
    for language in languages:
        name = kernelspec_name(language)
        known = installed.get(name)
        title = _TITLES.get(language.name) or (known and known.title)
        logos = known.logos if known else {}
        spec = {
            "argv": [],
            "display_name": title or language.name,
            # Fronts look for kernels of a notebook's language by this: R's is `ir`.
            "language": (known and known.language) or language.name,
            "interrupt_mode": "message",
            "env": {},
            "metadata": {"debugger": False},
        }
        pictures = {
            file.partition(".")[0]: f"{JUPYTER_PATH}/kernelspecs/{name}/{file}"
            for file in logos
        }
        specs[name] = {"name": name, "spec": spec, "resources": pictures}
    return {"default": kernelspec_name(default), "kernelspecs": specs}


def jupyter_time(moment: datetime) -> str:
    """Write a time in UTC as Jupyter Server does."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def kernel_answer(
    context: Context | ContextRecord, language: Language, connections: int
) -> dict[str, Any]:
    """Return the model of a kernel, to which so many fronts are connected."""
    known = context.state
    state = known.value if isinstance(known, State) else known
    used = datetime.fromtimestamp(context.last_used, timezone.utc)
    return {
        "id": kernel_id(context.key),
        "name": kernelspec_name(language),
        "last_activity": jupyter_time(used),
        "execution_state": _STATES[state],
        "connections": connections,
        "context_id": context.id,
    }


def session_answer(session: Session, kernel: dict[str, Any]) -> dict[str, Any]:
    """Return the model of a session."""
    answer = {
        "id": session.id,
        "path": session.path,
        "name": session.name,
        "type": session.kind,
        "kernel": kernel,
    }
    if session.kind == "notebook":  # what older fronts read
        answer["notebook"] = {"path": session.path, "name": session.name}
    return answer
