"""The tools offered over MCP: their schemas, arguments, results and failures."""

from __future__ import annotations

import json
import re
import sys
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from mcp.shared.exceptions import MCPError
from mcp_types import (
    CallToolResult,
    ContentBlock,
    InputRequiredResult,
    TextContent,
    ToolAnnotations,
)
from mcp_types import Tool as ToolEntry
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import BaseModel, ConfigDict, ValidationError

from isoserver.cluster.kinds import CONTEXT
from isoserver.contexts.results import cut_json, fit
from isoserver.errors import ElsewhereError, LimitError, RateLimitError, ServerError
from isoserver.passing.marks import MARK
from isoserver.runs.answers import CUT_FOR_MCP

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable

    from mcp.server.context import ServerRequestContext
    from mcp_types import CallToolRequestParams

    from isoserver.http.parts import ServerParts
    from isoserver.mcp.peers import Peer
    from isoserver.runs.records import Kind

__all__ = [
    "Arguments",
    "McpCall",
    "McpTool",
    "McpTools",
    "Nothing",
    "Reply",
    "Result",
    "explain",
    "failed",
    "is_passed_on",
]

_PROBLEMS_MAX: Final = 10
# The official clients end a connection that sends them an event of more than 1 MiB. A
# character may take three bytes in UTF-8.
_DATA_MAX_CHARACTERS: Final = 150_000
_JSON_SECONDS: Final = 10.0
"""Answers that take longer may become events while they are made."""
_TEXT_MAX_CHARACTERS: Final = 40_000
_BLOCKS_MAX_CHARACTERS: Final = 400_000
_FIELD_MIN_CHARACTERS: Final = 2_000
_DEFECT: Final = "The server failed; its log says why. Other calls are not affected."


class Arguments(BaseModel):
    """Arguments of a tool; unknown ones are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, defer_build=True)


class Nothing(Arguments):
    """No arguments."""


class Result(BaseModel):
    """The structured content of an answer."""


class McpCall(NamedTuple):
    """One call of a tool.

    Attributes:
        parts: The server's parts.
        peer: Who calls.
        context: The request, as the SDK has it.
        parameters: Its parameters, arguments included.
        spawn: Runs a coroutine in the background; its ServerErrors are ignored.
        notify: Writes a message to the client's log, if the client wants it.
        began: When it began, by the monotonic clock.
    """

    parts: ServerParts
    peer: Peer
    context: ServerRequestContext[Any, Any]
    parameters: CallToolRequestParams
    spawn: Callable[[Coroutine[Any, Any, None]], None]
    notify: Callable[[ServerRequestContext[Any, Any], str], Awaitable[None]]
    began: float

    @property
    def wants_progress(self) -> bool:
        """Whether the client gave a token for progress notifications."""
        return "progress_token" in (self.context.meta or {})

    @property
    def is_bounded(self) -> bool:
        """Whether the answer is an event, which official clients take up to 1 MiB.

        It is a line over stdio, and JSON over HTTP since 2026-07-28, if nothing comes
        before it: so the SDK makes an event of one that has taken 15 s.
        """
        if self.context.request is None:
            return False
        modern = self.context.protocol_version in MODERN_PROTOCOL_VERSIONS
        has_stream = self.context.lifespan_context is not None
        is_late = time.monotonic() - self.began > _JSON_SECONDS
        return has_stream or not modern or self.wants_progress or is_late

    @property
    def workspace(self) -> str:
        """The caller's workspace."""
        return self.peer.principal.workspace

    async def find_room(self, kind: Kind, session: str | None) -> None:
        """Have a run be made by another server if only that has room for it.

        Args:
            kind: The run's kind.
            session: Its session, if it has one: then the room is one for its context,
                unless that is there.

        Raises:
            ElsewhereError: Another server has room, or the session.
        """
        passing, contexts = self.parts.passing, self.parts.contexts
        if passing is None:
            return
        thing, has_room = kind.value, self.parts.runs.has_room(kind, self.workspace)
        if session is not None:
            wakes = not is_passed_on(self.context.request)
            await contexts.adopt(self.workspace, session, wakes=wakes)
            thing = CONTEXT
            has_room = contexts.has(self.workspace, session)
            has_room = has_room or contexts.has_room(self.workspace)
        if has_room or is_passed_on(self.context.request):
            return
        owner = await passing.server_with_room(thing, self.peer.principal)
        if owner is not None:
            raise ElsewhereError(owner.id, owner.url)


class Reply(NamedTuple):
    """The answer of a tool that returns more than data.

    Attributes:
        data: The structured content.
        failed: Whether it is an error for whoever called.
        text: The text block; the data as JSON if None.
        blocks: Further content.
    """

    data: dict[str, Any]
    failed: bool = False
    text: str | None = None
    blocks: tuple[ContentBlock, ...] = ()


class McpTool(NamedTuple):
    """A tool that is offered over MCP, not one that code in a context calls.

    Attributes:
        name: Its name.
        title: Its name for people.
        description: What a model is told; `{NAME}` is a fact of `McpTools.entries`.
        arguments: The model of its arguments.
        result: The model of its structured content.
        call: The function behind it.
        annotations: Hints for clients.
    """

    name: str
    title: str
    description: str
    arguments: type[Arguments]
    result: type[BaseModel]
    call: Callable[
        [McpCall, Any], Awaitable[Reply | InputRequiredResult | dict[str, Any]]
    ]
    annotations: ToolAnnotations


class McpTools:
    """The tools of one server."""

    def __init__(self, tools: Iterable[McpTool]) -> None:
        """Describe the tools, as clients list them.

        Args:
            tools: All of them.
        """
        self._tools = {tool.name: tool for tool in tools}
        self._entries = [_entry(tool) for tool in self._tools.values()]

    def entries(self, facts: dict[str, str]) -> list[ToolEntry]:
        """Describe the tools to a client.

        Args:
            facts: What descriptions say of this client and its workspace, by name.
        """
        return [
            entry.model_copy(update={"description": _told(entry.description, facts)})
            for entry in self._entries
        ]

    def __contains__(self, name: str) -> bool:
        """Tell whether there is a tool of that name."""
        return name in self._tools

    @property
    def names(self) -> list[str]:
        """The names of all tools."""
        return list(self._tools)

    async def call(self, call: McpCall) -> CallToolResult | InputRequiredResult:
        """Call a known tool; whatever goes wrong becomes an error for the model."""
        tool = self._tools[call.parameters.name]
        try:
            arguments = tool.arguments.model_validate(call.parameters.arguments or {})
        except ValidationError as error:
            return _failure(_problems(tool, error))
        try:
            answer = await tool.call(call, arguments)
        except (MCPError, ElsewhereError):
            raise  # an error of the protocol, and what is asked elsewhere
        except ServerError as error:
            return failed(error)
        except Exception:
            # The SDK would tell the client, and nobody else, the exception's text.
            call.parts.log.exception("failed", tool=tool.name)
            return _failure(_DEFECT)
        if isinstance(answer, InputRequiredResult):
            return answer
        reply = answer if isinstance(answer, Reply) else Reply(answer)
        return _result(reply, bounded=call.is_bounded)


def _result(reply: Reply, *, bounded: bool) -> CallToolResult:
    """Return the result of a call; if it is bounded, no larger than clients take."""
    data = _bounded(reply.data) if bounded else reply.data
    text = reply.text
    if text is None:
        text = _json(data)
        if bounded and len(text) > _TEXT_MAX_CHARACTERS:  # the data has it already
            text = _json(fit(data, _TEXT_MAX_CHARACTERS))
    blocks: list[ContentBlock] = []
    room = _BLOCKS_MAX_CHARACTERS if bounded else sys.maxsize
    for block in reply.blocks:
        size = len(block.model_dump_json())
        room -= size
        if room < 0:
            room += size
            what = getattr(block, "mime_type", None) or block.type
            note = f"[{what} of {size} characters is too large for an answer over MCP]"
            blocks.append(TextContent(text=note))
        else:
            blocks.append(block)
    return CallToolResult(
        content=[TextContent(text=text), *blocks],
        structured_content=data,
        is_error=reply.failed,
    )


def _bounded(data: dict[str, Any]) -> dict[str, Any]:
    """Cut the largest fields of an answer that is too large, and say so."""
    size = len(_json(data))
    if size <= _DATA_MAX_CHARACTERS:
        return data
    data = dict(data)
    sizes = {name: len(_json(value)) for name, value in data.items()}
    for name in sorted(sizes, key=sizes.__getitem__, reverse=True):
        if size <= _DATA_MAX_CHARACTERS:
            break
        room = max(sizes[name] - (size - _DATA_MAX_CHARACTERS), _FIELD_MIN_CHARACTERS)
        value = data[name]
        if name == "result" and isinstance(value, str) and "result_note" in data:
            # Of an execution it is JSON text, and shall be so still; quoting it may
            # double it.
            data[name] = cut_json(value, room // 2)
        else:
            data[name] = fit(value, room)
        size += len(_json(data[name])) - sizes[name]
    for name in ("result_note", "resultNote"):
        if CUT_FOR_MCP in str(data.get(name)):
            continue
        if name in data or (name == "resultNote" and "resultCut" in data):
            data[name] = "; ".join(filter(None, (data.get(name), CUT_FOR_MCP)))
    if "resultCut" in data:
        data["resultCut"] = True
    return data


def _json(data: Any) -> str:
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"))


def is_passed_on(request: Any) -> bool:
    """Whether a request has come here by another server for what it asks for.

    It may have come for its connection, too, which is here.
    """
    if request is None or MARK not in request.headers:
        return False
    path: str = request.url.path
    of_connection = "mcp-session-id" in request.headers
    return not (of_connection or path.startswith("/messages/"))


def explain(error: ServerError) -> str:
    """Return what a model is told of an error: what happened, and what to do next.

    This is how every error looks over MCP; what is particular to one stands in its
    class.
    """
    text = error.in_words()
    text = text[:1].upper() + text[1:]
    if not text.endswith((".", "!", "?")):
        text += "."
    if error.advice:
        return f"{text} {error.advice}"
    # A rate limit's own text says when to come back.
    if isinstance(error, LimitError) and not isinstance(error, RateLimitError):
        return f"{text} Try again in {error.retry_after} s."
    return text


def failed(error: ServerError) -> CallToolResult:
    """Return the result of a call that an error of ours has ended."""
    return _failure(explain(error))


def _failure(text: str) -> CallToolResult:
    return CallToolResult(content=[TextContent(text=text)], is_error=True)


def _problems(tool: McpTool, error: ValidationError) -> str:
    known = ", ".join(tool.arguments.model_fields) or "none"
    lines = [f"The arguments of {tool.name} are wrong, nothing was done:"]
    for detail in error.errors(include_url=False, include_input=False)[:_PROBLEMS_MAX]:
        place = ".".join(str(part) for part in detail["loc"]) or "arguments"
        text = "unknown" if detail["type"] == "extra_forbidden" else detail["msg"]
        lines.append(f"- {place}: {text}")
    lines.append(f"Arguments that it takes: {known}.")
    return "\n".join(lines)


def _entry(tool: McpTool) -> ToolEntry:
    return ToolEntry(
        name=tool.name,
        title=tool.title,
        description=tool.description,
        input_schema=_slim({**tool.arguments.model_json_schema(), "description": ""}),
        output_schema=_slim(
            tool.result.model_json_schema(mode="serialization"), of_answers=True
        ),
        annotations=tool.annotations,
    )


def _told(description: str | None, facts: dict[str, str]) -> str:
    """Fill facts in; of a paragraph that has none left, nothing is."""
    text = description or ""
    for name, fact in facts.items():
        text = text.replace(f"{{{name}}}", fact)
    return re.sub(r"\n{3,}", "\n\n", text).strip()


_LIMITS: Final = {
    *("minLength", "maxLength", "pattern"),
    *("maxProperties", "propertyNames"),
}
"""What the error says when it is exceeded, and models hardly ever do."""
_OF_REQUESTS: Final = {"description", "default", "examples"}
"""What says how to ask, which answers need not say: the documents do."""
_HUGE: Final = 1 << 53


def _slim(schema: Any, *, of_answers: bool = False) -> Any:
    """Leave out of a schema what is said elsewhere: models pay for each word."""
    if isinstance(schema, list):
        return [_slim(part, of_answers=of_answers) for part in schema]
    if not isinstance(schema, dict):
        return schema
    slim: dict[str, Any] = {}
    for name, part in schema.items():
        if name in {"properties", "$defs"}:
            slim[name] = {
                key: _slim(value, of_answers=of_answers) for key, value in part.items()
            }
        elif not _is_left_out(name, part, of_answers=of_answers):
            slim[name] = _slim(part, of_answers=of_answers)
    return _without_null(slim, of_answers=of_answers)


def _is_left_out(name: str, part: Any, *, of_answers: bool) -> bool:
    if name == "title" or name in _LIMITS or part == "":
        return True
    if name == "additionalProperties":
        return isinstance(part, bool)
    if name in {"minimum", "maximum"}:
        return isinstance(part, int) and (part == 0 or part > _HUGE)
    return of_answers and name in _OF_REQUESTS


def _without_null(schema: dict[str, Any], *, of_answers: bool) -> dict[str, Any]:
    """Say shortly that something may be null, or, in a request, be left out."""
    choices = schema.get("anyOf", [])
    others = [one for one in choices if one != {"type": "null"}]
    if len(others) == len(choices) or len(others) != 1:
        return schema
    (other,) = others
    rest = {name: part for name, part in schema.items() if name != "anyOf"}
    if not of_answers:
        if rest.get("default", 0) is None:
            del rest["default"]
        return {**other, **rest}
    if isinstance(other.get("type"), str) and "enum" not in other:
        return {**other, **rest, "type": [other["type"], "null"]}
    return schema
