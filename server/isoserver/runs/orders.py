"""What is ordered, in its two kinds, and the rules that hold for both fronts.

HTTP handlers and the tools of MCP make an order of a request by the functions here.
What a request is checked for before that (types, patterns, ranges) is in `models`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from isokernel.capabilities import read_policy
from isoserver.contexts.calls import OF_REQUEST
from isoserver.errors import FieldProblem, InvalidRequestError
from isoserver.runs.records import Kind

if TYPE_CHECKING:
    from isokernel.capabilities import Policy
    from isoserver.principal import Principal
    from isoserver.settings.server import ServerSettings
    from isoserver.webhooks.service import Webhook

__all__ = [
    "PYTHON_RUNTIME",
    "RUNTIMES",
    "RUNTIME_ALIASES",
    "Order",
    "ScriptOrder",
    "TaskOrder",
    "answer_seconds",
    "script_order",
    "task_order",
]

PYTHON_RUNTIME: Final = "python"
RUNTIMES: Final = ("isokernel-v8", PYTHON_RUNTIME)
"""What can run a task; the first one unless the order says otherwise."""
RUNTIME_ALIASES: Final = {"local-bun": RUNTIMES[0], "cloudflare-worker": RUNTIMES[0]}
"""Names that clients of other servers use, and what runs their code here."""
_MIB: Final = 1 << 20
_HEAP_MEMORY_MIN_MB: Final = 8
_ANSWER_EXTRA_SECONDS: Final = 30.0
_ANSWER_MIN_SECONDS: Final = 120.0


class ScriptOrder(NamedTuple):
    """Code to run by itself.

    Attributes:
        workspace: Who owns the run.
        code: The source text, as the client sent it.
        seconds: How long it may run, from its beginning.
        session: The named context that it runs in; None for one of its own.
        heap: The key of the heap that it goes on from; None for a blank one.
        heap_memory_max_bytes: Of V8's heap; None for the server's limit.
        tags: What the heap that it yields is tagged with.
        language: What it is in, by any of its names; None for what its session is in,
            or JavaScript and TypeScript.
        stateful: Whether it yields a heap.
        result_characters_max: Of its result's JSON; 0 for as many as it may print.
        whole_above: Characters of a result that is written into a file, too; 0 for
            those that are cut.
        policy: Narrows what it may do beyond its context; not kept.
        client: Who orders it, within the workspace; not kept.
        admin: Whether that client may decide about approvals; not kept.
        webhook: What is sent when it has ended; kept by itself.
    """

    workspace: str
    code: str
    seconds: float
    session: str | None = None
    heap: str | None = None
    heap_memory_max_bytes: int | None = None
    tags: dict[str, str] = {}  # noqa: RUF012 - nobody writes to it
    language: str | None = None
    stateful: bool = True
    result_characters_max: int = 0
    whole_above: int = 0
    policy: Policy | None = None
    client: str = ""
    admin: bool = False
    webhook: Webhook | None = None

    @property
    def kind(self) -> Kind:
        """Which runner runs it."""
        return Kind.SCRIPT

    @property
    def details(self) -> dict[str, Any]:
        """What is kept of it beside the code, as plain data."""
        names = ("heap", "heap_memory_max_bytes", "tags", "language")
        return {name: getattr(self, name) for name in names}


class TaskOrder(NamedTuple):
    """Code to run with tools at hand.

    Attributes:
        workspace: Who owns the run.
        code: TypeScript, the body of a function; or Python.
        seconds: How long the code may run; waiting for approvals doesn't count.
        session: The named context that it runs in; None for one of its own.
        client: Who orders it, within the workspace.
        admin: Whether that client may decide about approvals; not kept.
        runtime_id: What runs it: one of `RUNTIMES`, or another kernel that is served.
        metadata: Kept with the run, plain data.
        typecheck: Whether types are checked first; None for what the server is set to.
        result_characters_max: Of its result's JSON; 0 for as many as it may print.
        whole_above: Characters of a result that is written into a file, too; 0 for
            those that are cut.
        policy: Narrows what it may do beyond its context; not kept.
        webhook: What is sent when it has ended; kept by itself.
    """

    workspace: str
    code: str
    seconds: float
    session: str | None = None
    client: str = ""
    admin: bool = False
    runtime_id: str = RUNTIMES[0]
    metadata: dict[str, Any] = {}  # noqa: RUF012 - nobody writes to it
    typecheck: bool | None = None
    result_characters_max: int = 0
    whole_above: int = 0
    policy: Policy | None = None
    webhook: Webhook | None = None

    @property
    def kind(self) -> Kind:
        """Which runner runs it."""
        return Kind.TASK

    @property
    def details(self) -> dict[str, Any]:
        """What is kept of it beside the code, as plain data."""
        names = ("client", "runtime_id", "metadata", "typecheck")
        return {name: getattr(self, name) for name in names}


Order = ScriptOrder | TaskOrder


def script_order(  # noqa: PLR0913 - the fields of a request, by their names
    settings: ServerSettings,
    principal: Principal,
    *,
    code: str,
    session: str | None = None,
    heap: str | None = None,
    tags: dict[str, str] | None = None,
    heap_memory_max_mb: int | None = None,
    execution_timeout_secs: int | None = None,
    language: str | None = None,
    result_characters_max: int | None = None,
    capabilities: dict[str, Any] | None = None,
    webhook: Webhook | None = None,
) -> ScriptOrder:
    """Make the order of an execution from the fields that its request has.

    Raises:
        InvalidRequestError: It asks for more memory than the server gives, or a
            stateless server for state.
    """
    if settings.stateless:
        asked = {"heap": heap, "session": session, "tags": tags}
        for name in (name for name, value in asked.items() if value is not None):
            problem = "there is none of it: the server is stateless"
            raise InvalidRequestError(FieldProblem(name, problem))
    memory = None
    if heap_memory_max_mb is not None:
        limit = settings.execution_v8_heap_bytes_max
        if heap_memory_max_mb * _MIB > limit:
            problem = f"must be at most {limit // _MIB} (execution_v8_heap_bytes_max)"
            raise InvalidRequestError(FieldProblem("heap_memory_max_mb", problem))
        memory = max(heap_memory_max_mb, _HEAP_MEMORY_MIN_MB) * _MIB
    return ScriptOrder(
        principal.workspace,
        code,
        float(execution_timeout_secs or settings.execution_timeout_seconds),
        session=session,
        heap=heap,
        heap_memory_max_bytes=memory,
        tags=tags or {},
        language=language,
        stateful=not settings.stateless,
        result_characters_max=result_characters_max or 0,
        policy=_policy(capabilities),
        client=principal.client,
        admin=principal.admin,
        webhook=webhook,
    )


def _policy(given: dict[str, Any] | None) -> Policy | None:
    return read_policy(given, setting=OF_REQUEST) if given else None


def task_order(  # noqa: PLR0913 - the fields of a request, by their names
    principal: Principal,
    *,
    code: str,
    timeout_ms: int,
    runtime_id: str,
    metadata: dict[str, Any],
    session: str | None,
    typecheck: bool | None,
    result_characters_max: int | None = None,
    capabilities: dict[str, Any] | None = None,
    webhook: Webhook | None = None,
) -> TaskOrder:
    """Make the order of a task from the fields that its request has.

    Raises:
        InvalidRequestError: There is no code, or types that can't be checked.
    """
    if not code.strip():
        raise InvalidRequestError(FieldProblem("code", "there is no code"))
    runtime_id = RUNTIME_ALIASES.get(runtime_id, runtime_id)
    if typecheck and runtime_id != RUNTIMES[0]:
        problem = f"types of {runtime_id[:64]} aren't checked"
        raise InvalidRequestError(FieldProblem("typecheck", problem))
    return TaskOrder(
        principal.workspace,
        code,
        timeout_ms / 1e3,
        session=session,
        client=principal.client,
        admin=principal.admin,
        runtime_id=runtime_id,
        metadata=metadata,
        typecheck=typecheck,
        result_characters_max=result_characters_max or 0,
        policy=_policy(capabilities),
        webhook=webhook,
    )


def answer_seconds(timeout_ms: int, result_timeout_ms: int | None) -> float:
    """Return how long an answer waits for a task's end, unless the request says."""
    if result_timeout_ms is not None:
        return result_timeout_ms / 1e3
    return max(timeout_ms / 1e3 + _ANSWER_EXTRA_SECONDS, _ANSWER_MIN_SECONDS)
