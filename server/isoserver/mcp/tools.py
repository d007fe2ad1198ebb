"""The tools offered over MCP: their schemas, arguments, results and failures."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from mcp_types import (
    CallToolResult,
    ContentBlock,
    InputRequiredResult,
    TextContent,
    ToolAnnotations,
)
from mcp_types import Tool as ToolEntry
from pydantic import BaseModel, ConfigDict, ValidationError

from isoserver.errors import LimitError, RateLimitError, ServerError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable

    from mcp.server.context import ServerRequestContext
    from mcp_types import CallToolRequestParams

    from isoserver.http.parts import ServerParts
    from isoserver.mcp.peers import Peer

__all__ = [
    "Arguments",
    "McpCall",
    "McpTool",
    "McpTools",
    "Nothing",
    "Reply",
    "Result",
    "explain",
]

_PROBLEMS_MAX: Final = 10
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
    """

    parts: ServerParts
    peer: Peer
    context: ServerRequestContext[Any, Any]
    parameters: CallToolRequestParams
    spawn: Callable[[Coroutine[Any, Any, None]], None]
    notify: Callable[[ServerRequestContext[Any, Any], str], Awaitable[None]]

    @property
    def wants_progress(self) -> bool:
        """Whether the client gave a token for progress notifications."""
        return "progress_token" in (self.context.meta or {})

    @property
    def workspace(self) -> str:
        """The caller's workspace."""
        return self.peer.principal.workspace


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
        description: What a model is told.
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
        self.entries = [_entry(tool) for tool in self._tools.values()]

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
        except ServerError as error:
            return _failure(explain(error))
        except Exception:
            # The SDK would tell the client, and nobody else, the exception's text.
            call.parts.log.exception("failed", tool=tool.name)
            return _failure(_DEFECT)
        if isinstance(answer, InputRequiredResult):
            return answer
        reply = answer if isinstance(answer, Reply) else Reply(answer)
        text = reply.text
        if text is None:
            text = json.dumps(reply.data, ensure_ascii=False, separators=(",", ":"))
        return CallToolResult(
            content=[TextContent(text=text), *reply.blocks],
            structured_content=reply.data,
            is_error=reply.failed,
        )


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
        input_schema=_slim(tool.arguments.model_json_schema()),
        output_schema=_slim(tool.result.model_json_schema(mode="serialization")),
        annotations=tool.annotations,
    )


def _slim(schema: Any) -> Any:
    """Leave out the titles, which only repeat names: models pay for each word."""
    if isinstance(schema, list):
        return [_slim(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    slim = {}
    for name, part in schema.items():
        if name == "properties":
            slim[name] = {key: _slim(value) for key, value in part.items()}
        elif name != "title":
            slim[name] = _slim(part)
    return slim
