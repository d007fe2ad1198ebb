"""Requests and answers of Jupyter Server's API, as its OpenAPI document has them."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Final

from pydantic import ConfigDict, Field

from isoserver.contexts.context import State
from isoserver.contexts.kernel_ids import kernel_id
from isoserver.contexts.records import LIVE, ContextRecord
from isoserver.http.models import RequestModel

if TYPE_CHECKING:
    from isoserver.contexts.context import Context
    from isoserver.contexts.languages import Language
    from isoserver.jupyter.fronts import Fronts
    from isoserver.jupyter.sessions import Session

__all__ = [
    "KernelName",
    "PatchSession",
    "StartKernel",
    "StartSession",
    "kernel_answer",
    "kernelspec_name",
    "kernelspecs_answer",
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
    """POST /api/sessions."""

    path: str = Field(max_length=4096)
    name: str = Field("", max_length=4096)
    type: str = Field("notebook", max_length=64)
    kernel: KernelName = KernelName()


class PatchSession(_Lenient):
    """PATCH /api/sessions/{id}; what is left out stays."""

    path: str | None = Field(default=None, max_length=4096)
    name: str | None = Field(default=None, max_length=4096)
    type: str | None = Field(default=None, max_length=64)
    kernel: KernelName | None = None


def kernelspec_name(language: Language) -> str:
    """Return the name by which fronts know a language: that of our own kernels."""
    if language.engine == "v8":
        return f"{_V8}{language.name}"
    return language.kernelspec


def kernelspecs_answer(
    languages: list[Language], default: Language, titles: dict[str, str]
) -> dict[str, Any]:
    """Return what GET /api/kernelspecs answers.

    Args:
        languages: What is served.
        default: What a front begins with that names none.
        titles: The names that kernelspecs show, of those that are installed.
    """
    specs = {}
    for language in languages:
        name = kernelspec_name(language)
        title = _TITLES.get(language.name) or titles.get(name) or language.name
        spec = {
            "argv": [],
            "display_name": title,
            "language": language.name,
            "interrupt_mode": "message",
            "env": {},
            "metadata": {"debugger": False},
        }
        specs[name] = {"name": name, "spec": spec, "resources": {}}
    return {"default": kernelspec_name(default), "kernelspecs": specs}


def kernel_answer(
    context: Context | ContextRecord, language: Language, fronts: Fronts
) -> dict[str, Any]:
    """Return the model of a kernel."""
    if isinstance(context, ContextRecord):
        state, connections = context.state, 0
    else:
        state, connections = context.state.value, fronts.connections(context)
    used = datetime.fromtimestamp(context.last_used, timezone.utc)
    return {
        "id": kernel_id(context.key),
        "name": kernelspec_name(language),
        "last_activity": used.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
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
