"""Prompts: ways to begin, which people pick in their client."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_PARAMS,
    GetPromptResult,
    Prompt,
    PromptArgument,
    PromptMessage,
    TextContent,
)

if TYPE_CHECKING:
    from isoserver.http.parts import ServerParts

__all__ = ["PROMPTS", "Prompts", "Template"]


class Template(NamedTuple):
    """A prompt, and its text with `{NAME}` where an argument belongs.

    Attributes:
        prompt: As clients list it.
        text: What it says.
        stateful: Whether it needs what stateless servers don't keep.
    """

    prompt: Prompt
    text: str
    stateful: bool = False


PROMPTS: Final = [
    Template(
        Prompt(
            name="first_use",
            title="Try this server",
            description="A first tour of what it can do.",
        ),
        "Use the isokernel tools to show me what they can do. Run a few lines of "
        "TypeScript that compute something small, show me what they printed and what "
        "they gave as a value, then make a mistake on purpose and show how the error "
        "is told. Keep it short, and say which tool you called for what.",
    ),
    Template(
        Prompt(
            name="solve_with_code",
            title="Solve something by running code",
            description="Compute an answer rather than guess it.",
            arguments=[
                PromptArgument(
                    name="task", description="What is to be found out.", required=True
                )
            ],
        ),
        "Answer the following by writing and running JavaScript or TypeScript with "
        "run_js, rather than from memory. Check the result with a second, different "
        "computation where that is possible, and tell me the code that counts.\n\n"
        "{task}",
    ),
    Template(
        Prompt(
            name="explore_state",
            title="Go on from a saved state",
            description="Find a heap by its tags and look at what is in it.",
            arguments=[
                PromptArgument(
                    name="tag", description="A tag, as key=value.", required=False
                )
            ],
        ),
        "Find the heap snapshots of mine{tag} with query_heaps_by_tags, run code from "
        "the one that fits best (pass its key to run_js as `heap`) that lists the "
        "names that it defines and what they hold, and give me an overview.",
        stateful=True,
    ),
]


class Prompts:
    """The prompts of one server."""

    def __init__(self, *, stateless: bool) -> None:
        """Choose the prompts that fit the server.

        Args:
            stateless: Whether nothing persists.
        """
        self._known = {
            template.prompt.name: template
            for template in PROMPTS
            if not (stateless and template.stateful)
        }
        self.entries = [template.prompt for template in self._known.values()]

    async def complete(
        self, parts: ServerParts, workspace: str, name: str, argument: str
    ) -> list[str]:
        """Return what an argument of a prompt could be; what is free has nothing.

        Raises:
            MCPError: There is no such prompt.
        """
        self._find(name)
        if argument != "tag":
            return []
        found = await parts.heaps.tagged(workspace, {})
        tags = {f"{key}={value}" for _, tags in found for key, value in tags.items()}
        return sorted(tags)

    def _find(self, name: str) -> Template:
        template = self._known.get(name)
        if template is None:
            names = ", ".join(self._known)
            message = f"There is no prompt {name[:64]!r}, but: {names}"
            raise MCPError(code=INVALID_PARAMS, message=message)
        return template

    def get(self, name: str, arguments: dict[str, str]) -> GetPromptResult:
        """Return a prompt with its arguments filled in.

        Raises:
            MCPError: There is none of that name, or an argument is missing.
        """
        template = self._find(name)
        for argument in template.prompt.arguments or ():
            if argument.required and not arguments.get(argument.name):
                message = f"The prompt {name} needs the argument {argument.name!r}"
                raise MCPError(code=INVALID_PARAMS, message=message)
        parts = {
            argument.name: arguments.get(argument.name, "")
            for argument in template.prompt.arguments or ()
        }
        if parts.get("tag"):
            parts["tag"] = f" that have the tag {parts['tag']}"
        # In one pass, so that what is filled in stays as it is.
        text = re.sub(r"\{(\w+)\}", lambda match: parts[match[1]], template.text)
        call = PromptMessage(role="user", content=TextContent(text=text))
        return GetPromptResult(description=template.prompt.description, messages=[call])
