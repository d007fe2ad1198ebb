"""A server with what MCP's conformance suite calls: a program, started by the tests.

The tools, prompts and resources are entries beside the server's own, and answer by what
those answer by: nothing here speaks the protocol. What the server doesn't offer
(sampling, roots, subscriptions, pictures in prompts) has no entry.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from typing import TYPE_CHECKING, Any, Final

from mcp_types import (
    ElicitResult,
    InputRequiredResult,
    Prompt,
    PromptArgument,
    Resource,
    ResourceTemplate,
)
from pydantic import Field

from isoserver.app import Server
from isoserver.cli.serve import load
from isoserver.errors import NotRunningError
from isoserver.mcp import prompts, protocol, resources
from isoserver.mcp.content import content_blocks
from isoserver.mcp.elicitation import Questions, can_ask, read_answer
from isoserver.mcp.executions import READS
from isoserver.mcp.progress import OutputBuffer, OutputProgress, Stages
from isoserver.mcp.tools import Arguments, McpTool, Nothing, Reply, Result
from isoserver.tools.calls import Question

if TYPE_CHECKING:
    from mcp_types import InputRequests

    from isoserver.http.parts import ServerParts
    from isoserver.mcp.tools import McpCall
    from isoserver.settings.server import ServerSettings

PNG: Final = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAA"
    "AABJRU5ErkJggg=="
)
WAV: Final = "UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YQAAAAA="
PAUSE_SECONDS: Final = 0.05
"""As the suite wants it between two notifications."""
TEXT: Final = "This is a simple text response for testing."
PICTURE: Final = {"image/png": PNG}
SOUND: Final = {"audio/wav": WAV}
DATA: Final = {"application/json": {"test": "data", "value": 123}}

SCHEMA: Final[dict[str, Any]] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {
        "properties": {"contactMethod": {"const": "phone"}},
        "required": ["contactMethod"],
    },
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}
"""The suite's own, word for word."""


class Rich(Arguments):
    """Arguments whose schema has more than pydantic would write."""

    @classmethod
    def model_json_schema(cls, *_: Any, **__: Any) -> dict[str, Any]:
        return SCHEMA


class Message(Arguments):
    """What a person is asked."""

    message: str


class Region(Arguments):
    """An argument that clients repeat in a header."""

    region: str = Field(json_schema_extra={"x-mcp-header": "Region"})


async def say(_call: McpCall, _arguments: Arguments) -> Reply:
    return Reply({}, text=TEXT)


def show(*displays: dict[str, Any]) -> Any:
    async def answer(_call: McpCall, _arguments: Arguments) -> Reply:
        shown = [{"data": data} for data in displays]
        return Reply({}, text=TEXT, blocks=content_blocks("test", shown))

    return answer


async def fail(call: McpCall, _arguments: Arguments) -> Reply:
    raise NotRunningError(call.parameters.name, "completed")


async def log(call: McpCall, _arguments: Arguments) -> Reply:
    for text in ("started", "processing", "completed"):
        await call.notify(call.context, text)
        await asyncio.sleep(PAUSE_SECONDS)
    return Reply({}, text=TEXT)


async def progress(call: McpCall, _arguments: Arguments) -> Reply:
    printed = OutputBuffer()
    sent = OutputProgress(
        call.context.session, printed.read(), Stages(), wanted=call.wants_progress
    )
    for number in range(3):
        printed.put(f"line {number}\n")
        await asyncio.sleep(PAUSE_SECONDS)
    printed.close()
    await sent.finish()
    return Reply({}, text=TEXT)


def question(key: str, text: str) -> Question:
    return Question(key, "test.tool", text, "{}", 10.0)


async def ask(call: McpCall, arguments: Message) -> Reply:
    questions = Questions(call.context, decides=True)
    if not questions.can_ask:
        return Reply({}, failed=True, text="The client can't ask its user.")
    decision = await questions.ask(question("message", arguments.message))
    return Reply({}, text=f"User response: {decision}")


async def want(call: McpCall, _arguments: Arguments) -> Reply | InputRequiredResult:
    """Answer with a question, until there is an answer to it."""
    given = (call.parameters.input_responses or {}).get("user_name")
    if isinstance(given, ElicitResult):
        return Reply({}, text=f"Decided: {read_answer(given)}")
    if not can_ask(call.context):
        return Reply({}, failed=True, text="The client can't ask its user.")
    questions = Questions(call.context, decides=True)
    asking = asyncio.ensure_future(
        questions.ask(question("user_name", "What is your name?"))
    )
    await questions.changed.wait()
    requests: InputRequests = {**questions.requests()}
    asking.cancel()
    return InputRequiredResult(input_requests=requests)


def tool(name: str, call: Any, arguments: type[Arguments] = Nothing) -> McpTool:
    return McpTool(name, name, f"For tests: {name}.", arguments, Result, call, READS)


def tools(_settings: ServerSettings) -> list[McpTool]:
    return [
        tool("test_simple_text", say),
        tool("test_image_content", show(PICTURE)),
        tool("test_audio_content", show(SOUND)),
        tool("test_embedded_resource", show(DATA)),
        tool("test_multiple_content_types", show(PICTURE, DATA)),
        tool("test_error_handling", fail),
        tool("test_tool_with_logging", log),
        tool("test_logging_tool", log),
        tool("test_tool_with_progress", progress),
        tool("test_elicitation", ask, Message),
        tool("test_streaming_elicitation", want),
        tool("test_input_required_result_elicitation", want),
        tool("test_header", say, Region),
        tool("json_schema_2020_12_tool", say, Rich),
    ]


async def read_data(_parts: ServerParts, _workspace: str, key: str) -> str:
    return json.dumps({"id": key, "templateTest": True, "data": f"Data for ID: {key}"})


def register() -> None:
    protocol.TOOLS.append(tools)
    names = ("arg1", "arg2")
    wanted = [PromptArgument(name=name, required=True) for name in names]
    new = [
        prompts.Template(
            Prompt(name="test_simple_prompt", description="A text."),
            "This is a simple prompt for testing.",
        ),
        prompts.Template(
            Prompt(
                name="test_prompt_with_arguments",
                description="A text with two arguments.",
                arguments=wanted,
            ),
            "Prompt with arguments: arg1='{arg1}', arg2='{arg2}'",
        ),
    ]
    prompts.PROMPTS.extend(new)
    text = Resource(
        uri="test://static-text",
        name="static-text",
        description="A text.",
        mime_type="text/plain",
    )
    resources.DOCUMENTS.append(
        resources.Document(
            text, lambda *_: "This is the content of the static text resource."
        )
    )
    data = ResourceTemplate(
        uri_template="test://template/{id}/data",
        name="data",
        mime_type="application/json",
    )
    pattern = re.compile(r"test://template/([^/]+)/data")
    resources.TEMPLATES.append(resources.Template(data, pattern, read_data))


def ready(url: str) -> None:
    sys.stdout.write(f"isokernel is listening on {url}\n")
    sys.stdout.flush()


async def main() -> None:
    register()
    _, *flags = sys.argv[1:]  # `serve` is the first
    await Server(load(flags)).run(ready)


if __name__ == "__main__":
    asyncio.run(main())
