"""How code finds tools: the calls under `tools` that belong to no source.

Tools that are denied whatever their input is are left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from isoserver.errors import ToolArgumentsError, ToolMissingError
from isoserver.tools.catalog import Hit
from isoserver.tools.declarations import explain
from isoserver.tools.names import key
from isoserver.tools.schemas import complete

if TYPE_CHECKING:
    from collections.abc import Callable

    from isoserver.settings.tools import Effect
    from isoserver.tools.catalog import Catalog
    from isoserver.tools.tool import Tool

__all__ = ["PATHS", "Discovery"]

_DISCOVER_MAX: Final = 50
_PAGE_MAX: Final = 200
_NAMESPACES_MAX: Final = 1000
_SAMPLES: Final = 3
_DESCRIPTION_MAX: Final = 300


class Discovery:
    """Answers about one workspace's tools, for one call."""

    def __init__(
        self,
        catalog: Catalog,
        visible: Callable[[Tool], bool],
        effect: Callable[[Tool], Effect],
    ) -> None:
        """Keep what is needed for one call.

        Args:
            catalog: The workspace's tools.
            visible: Whether the caller may see a tool.
            effect: What the policy says of a tool, whatever its input.
        """
        self._catalog = catalog
        self._visible = visible
        self._effect = effect

    def discover(self, given: Any) -> dict[str, Any]:
        """Find tools by what they do."""
        fields = _fields("discover", given, "query", limit=8)
        hits = self._hits(_text("discover", fields, "query"))
        limit = _number("discover", fields, "limit", 1, _DISCOVER_MAX)
        shown = [self._shown(hit) for hit in hits[:limit]]
        best = shown[0]["path"] if shown else None
        return {"bestPath": best, "results": shown, "total": len(hits)}

    def search(self, given: Any) -> dict[str, Any]:
        """Find tools, page by page."""
        return self._page("search", given, default=12)

    def tools(self, given: Any) -> dict[str, Any]:
        """List tools, page by page."""
        return self._page("catalog.tools", given, default=50)

    def namespaces(self, given: Any) -> dict[str, Any]:
        """List the sources."""
        fields = _fields("catalog.namespaces", given, None, limit=200)
        limit = _number("catalog.namespaces", fields, "limit", 1, _NAMESPACES_MAX)
        found: dict[str, list[str]] = {}
        for tool in filter(self._visible, self._catalog.tools):
            found.setdefault(tool.source, []).append(tool.path)
        items = [
            {
                "namespace": name,
                "toolCount": len(paths),
                "samplePaths": paths[:_SAMPLES],
            }
            for name, paths in sorted(found.items())
        ]
        return {"namespaces": items[:limit], "total": len(items)}

    def describe(self, given: Any) -> dict[str, Any]:
        """Return the types of one tool."""
        fields = _fields("describe", given, "path", path="", includeSchemas=False)
        path = _text("describe", fields, "path")
        tool = self._catalog.find(path.removeprefix("tools."))
        if tool is None or not self._visible(tool):
            raise ToolMissingError(path, self._catalog.nearest(path, self._visible))
        made = {
            "path": tool.path,
            "source": tool.source,
            "description": tool.description,
            "approval": self._effect(tool),
            **explain(tool),
        }
        if fields["includeSchemas"] is True:
            schema = complete(tool.input_schema, tool.definitions)
            made |= {"inputSchema": schema, "outputSchema": tool.output_schema}
        return made

    def _page(self, path: str, given: Any, default: int) -> dict[str, Any]:
        fields = _fields(
            path, given, "query", query="", namespace=None, limit=default, offset=0
        )
        limit = _number(path, fields, "limit", 1, _PAGE_MAX)
        offset = _number(path, fields, "offset", 0, None)
        query = _text(path, fields, "query")
        hits = self._hits(query) if query.strip() else self._all()
        namespace = fields["namespace"]
        if namespace is not None:
            wanted = key(_text(path, fields, "namespace"))
            hits = [hit for hit in hits if _within(hit.tool, wanted)]
        end = offset + limit
        more = end < len(hits)
        return {
            "items": [self._shown(hit) for hit in hits[offset:end]],
            "total": len(hits),
            "hasMore": more,
            "nextOffset": end if more else None,
        }

    def _hits(self, query: str) -> list[Hit]:
        return [hit for hit in self._catalog.search(query) if self._visible(hit.tool)]

    def _all(self) -> list[Hit]:
        return [Hit(tool, 0.0) for tool in self._catalog.tools if self._visible(tool)]

    def _shown(self, hit: Hit) -> dict[str, Any]:
        return {
            "path": hit.tool.path,
            "source": hit.tool.source,
            "description": hit.tool.description[:_DESCRIPTION_MAX],
            "approval": self._effect(hit.tool),
            "score": hit.score,
        }


PATHS: Final = {
    "discover": Discovery.discover,
    "search": Discovery.search,
    "describe": Discovery.describe,
    "catalog.namespaces": Discovery.namespaces,
    "catalog.tools": Discovery.tools,
}
"""What answers which path."""


def _within(tool: Tool, namespace: str) -> bool:
    return tool.key == namespace or tool.key.startswith(f"{namespace}.")


def _fields(
    of: str, given: Any, text: str | None, /, **defaults: Any
) -> dict[str, Any]:
    """Return the input's fields; a mere string is the value of the field `text`."""
    if isinstance(given, str) and text is not None:
        given = {text: given}
    if given is None:
        given = {}
    if not isinstance(given, dict):
        raise ToolArgumentsError(of, [{"field": "input", "error": "must be an object"}])
    return {**defaults, **{k: v for k, v in given.items() if v is not None}}


def _text(path: str, fields: dict[str, Any], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str):
        raise ToolArgumentsError(path, [{"field": name, "error": "must be a string"}])
    return value


def _number(
    path: str, fields: dict[str, Any], name: str, least: int, most: int | None
) -> int:
    value = fields[name]
    if not isinstance(value, (int, float)) or isinstance(value, bool) or value < least:
        problem = f"must be a number of at least {least}"
        raise ToolArgumentsError(path, [{"field": name, "error": problem}])
    return int(value) if most is None else min(int(value), most)
