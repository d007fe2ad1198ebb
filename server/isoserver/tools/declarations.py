"""TypeScript's declarations of `tools`: of all of them, or the types of one."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from isoserver.tools.names import camel, key
from isoserver.tools.typescript import Scope, Types, comment, name_of, property_name

if TYPE_CHECKING:
    from collections.abc import Iterable

    from isoserver.tools.tool import Tool

__all__ = ["declare", "explain"]

_TOTAL_MAX: Final = 4 << 20
"""Characters after which tools have no types any more, only names."""
_UNTYPED: Final = "(input?: any) => Promise<any>"

_DISCOVERY: Final = """\
interface ToolHit {
  path: string;
  source: string;
  description: string;
  approval: "allow" | "require_approval";
  score: number;
}
interface ToolPage {
  items: ToolHit[];
  total: number;
  hasMore: boolean;
  nextOffset: number | null;
}
interface ToolTypes {
  path: string;
  source: string;
  description: string;
  approval: "allow" | "require_approval";
  inputTypeScript: string;
  outputTypeScript: string;
  definitions: Record<string, string>;
  inputSchema?: any;
  outputSchema?: any;
}
interface ToolNamespace {
  namespace: string;
  toolCount: number;
  samplePaths: string[];
}
interface ToolDiscovery {
  /** Find tools by what they do; the best first. */
  discover(
    input: string | { query: string; limit?: number }
  ): Promise<{ bestPath: string | null; results: ToolHit[]; total: number }>;
  /** Find tools, page by page. */
  search(
    input: string | {
      query?: string; namespace?: string; limit?: number; offset?: number;
    }
  ): Promise<ToolPage>;
  /** Give the TypeScript types of one tool. */
  describe(
    input: string | { path: string; includeSchemas?: boolean }
  ): Promise<ToolTypes>;
  catalog: {
    /** List the sources. */
    namespaces(input?: { limit?: number }): Promise<{
      namespaces: ToolNamespace[]; total: number;
    }>;
    /** List the tools, page by page. */
    tools(input?: {
      namespace?: string; query?: string; limit?: number; offset?: number;
    }): Promise<ToolPage>;
  };
}
"""


@dataclass
class _Node:
    """A place in the tree of names."""

    tool: Tool | None = None
    children: dict[str, _Node] = field(default_factory=dict)


def declare(tools: Iterable[Tool]) -> str:
    """Return `declare const tools: …` for some tools, and all types that it needs."""
    root = _Node()
    for tool in tools:
        node = root
        for segment in tool.path.split("."):
            node = node.children.setdefault(segment, _Node())
        node.tool = tool
    writer = _Writer()
    names = [
        (segment, writer.node(child, [segment]))
        for segment, child in root.children.items()
    ]
    lines = [f"  {property_name(segment)}: {made};" for segment, made in names]
    types = [f"type {name} = {made};" for name, made in writer.types.declared.items()]
    body = "\n".join(
        [*types, *writer.interfaces, "declare const tools: ToolDiscovery & {", *lines]
    )
    return f"{_DISCOVERY}{body}\n}};\n"


def explain(tool: Tool) -> dict[str, Any]:
    """Return the types of one tool."""
    types = Types()
    written = types.write(tool.input_schema, _scope(tool, tool.input_schema, ""))
    output = "any"
    if tool.output_schema is not None:
        scope = _scope(tool, tool.output_schema, "")
        output = types.write(tool.output_schema, scope)
    return {
        "inputTypeScript": written,
        "outputTypeScript": output,
        "definitions": {
            name: f"type {name} = {made};" for name, made in types.declared.items()
        },
    }


class _Writer:
    """Writes the interfaces of all namespaces."""

    def __init__(self) -> None:
        self.types = Types()
        self.interfaces: list[str] = []
        self._taken: set[str] = set()
        self._size = 0

    def node(self, node: _Node, path: list[str]) -> str:
        """Write the interface of a place in the tree, and return its type."""
        parts = []
        if node.tool is not None:
            parts.append(f"({self._function(node.tool)})")
        if node.children:
            parts.append(self._interface(node, path))
        return " & ".join(parts)

    def _interface(self, node: _Node, path: list[str]) -> str:
        name = self._name("Tools" + name_of(*path))
        lines: list[str] = []
        for segment, child in node.children.items():
            made = self.node(child, [*path, segment])
            if child.tool is not None:
                lines += comment(child.tool.description, "  ")
            lines.append(f"  {property_name(segment)}: {made};")
            for other in _spellings(segment, child.tool):
                if other not in node.children:
                    lines.append(f'  {property_name(other)}: {name}["{segment}"];')
        self.interfaces.append("\n".join([f"interface {name} {{", *lines, "}"]))
        self._size += sum(map(len, lines))
        return name

    def _name(self, name: str) -> str:
        made, number = name, 1
        while made in self._taken:
            number += 1
            made = f"{name}_{number}"
        self._taken.add(made)
        return made

    def _function(self, tool: Tool) -> str:
        if self._size > _TOTAL_MAX:
            return _UNTYPED
        prefix = "Of" + name_of(tool.source)
        schema = tool.input_schema
        written = self.types.write(schema, _scope(tool, schema, prefix))
        mark = "" if schema.get("required") else "?"
        output = "any"
        if tool.output_schema is not None:
            scope = _scope(tool, tool.output_schema, prefix)
            output = self.types.write(tool.output_schema, scope)
        self._size += len(written) + len(output)
        return f"(input{mark}: {written}) => Promise<{output}>"


def _scope(tool: Tool, schema: Any, prefix: str) -> Scope:
    return Scope(schema, tool.definitions, prefix)


def _spellings(segment: str, tool: Tool | None) -> list[str]:
    """Return the other spellings that code is likely to use."""
    found = [camel(segment)]
    if tool is not None:
        last = re.split(r"[./]", tool.original)[-1]
        # What has a number because of a twin isn't found by the original name.
        if key(last) == key(segment):
            found.append(last)
    return [other for other in dict.fromkeys(found) if other != segment]
