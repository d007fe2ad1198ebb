"""A GraphQL endpoint as a source: a tool for each query and mutation, and a raw one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
from graphql import (
    GraphQLError,
    GraphQLSchema,
    OperationDefinitionNode,
    OperationType,
    OverlappingFieldsCanBeMergedRule,
    get_introspection_query,
    parse,
    specified_rules,
    validate,
)

from isokernel.timeouts import timeout
from isoserver.errors import SourceError, ToolFailedError
from isoserver.tools.names import distinct, snake
from isoserver.tools.sources.base import Source
from isoserver.tools.sources.fetcher import Fetcher, origin, read_file
from isoserver.tools.sources.graphql_schema import (
    TOKENS_MAX,
    arguments_schema,
    client_schema,
    definitions,
    failed,
    given_to,
    output_schema,
    read_schema,
    selected,
    selection,
    top_fields,
    wrong,
)
from isoserver.tools.tool import Tool

if TYPE_CHECKING:
    from graphql import DocumentNode, GraphQLField
    from structlog.typing import FilteringBoundLogger

    from isoserver.settings.tools import GraphqlSettings
    from isoserver.tools.sources.base import SourceLimits

__all__ = ["Graphql"]

_ERRORS_MAX: Final = 10
_RULES: Final = [
    # Takes quadratic time, and says nothing that the endpoint doesn't.
    rule
    for rule in specified_rules
    if rule is not OverlappingFieldsCanBeMergedRule
]

_RAW: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "query": {"type": "string", "description": "The GraphQL document."},
        "variables": {"type": "object"},
        "operationName": {"type": "string"},
    },
    "required": ["query"],
    "additionalProperties": False,
}


class _Field(NamedTuple):
    """What a tool calls: a field of the query or mutation type; None for raw."""

    operation: str
    name: str
    field: GraphQLField


class Graphql(Source):
    """An endpoint as a source."""

    configuration: GraphqlSettings

    def __init__(
        self,
        configuration: GraphqlSettings,
        limits: SourceLimits,
        log: FilteringBoundLogger,
    ) -> None:
        """Do as `Source` does."""
        super().__init__(configuration, limits, log)
        self._fetcher = Fetcher(self.credentials, limits)
        self._schema: GraphQLSchema | None = None
        self._paths: dict[tuple[str, str], str] = {}

    @property
    def location(self) -> str:
        """Where it is: the origin of its URL."""
        return origin(self.configuration.url)

    # -- the schema --------------------------------------------------------------------

    async def _serve(self) -> None:
        while True:
            async with timeout(self.limits.start_timeout_seconds):
                schema = await self._load()
            tools = await asyncio.to_thread(self._tools, schema)
            self._schema = schema
            self._paths = {
                (tool.native.operation, tool.native.name): tool.path
                for tool in tools
                if tool.native is not None
            }
            self._ready(tools)
            await self._again.wait()
            self._again.clear()

    async def _load(self) -> GraphQLSchema:
        place = self.configuration.schema_
        if place is not None:
            data = await asyncio.to_thread(
                read_file, place, self.limits.document_bytes_max
            )
            return await asyncio.to_thread(read_schema, data)
        query = get_introspection_query(descriptions=True)
        found = await self._fetcher.call(
            self.name, "POST", self.configuration.url, json={"query": query}
        )
        value = found.value()
        answer = value.get("data") if isinstance(value, dict) else None
        if not isinstance(answer, dict):
            message = "the endpoint does not answer introspection: set schema"
            raise SourceError(message)
        return await asyncio.to_thread(client_schema, answer)

    def _tools(self, schema: GraphQLSchema) -> list[Tool]:
        shared = definitions(dict(schema.type_map))
        found: list[tuple[str, str, GraphQLField]] = []
        for operation, root in (
            ("query", schema.query_type),
            ("mutation", schema.mutation_type),
        ):
            if root is not None:
                found += [(operation, n, root.fields[n]) for n in sorted(root.fields)]
        names = distinct([f"{operation}.{snake(name)}" for operation, name, _ in found])
        depth = self.configuration.depth
        tools = [
            Tool(
                source=self.name,
                path=f"{self.name}.{path}",
                original=name,
                description=field.description or "",
                reads=operation == "query",
                input_schema=arguments_schema(field),
                output_schema=output_schema(field.type, depth),
                definitions=shared,
                native=_Field(operation, name, field),
            )
            for path, (operation, name, field) in zip(names, found, strict=True)
        ]
        return [*tools, self._raw()]

    def _raw(self) -> Tool:
        return Tool(
            source=self.name,
            path=f"{self.name}.graphql",
            original="graphql",
            description="Send a GraphQL document; gives data and errors.",
            # What it does depends on its fields: see `parts`.
            reads=True,
            input_schema=_RAW,
        )

    async def close(self) -> None:
        """Close the connections."""
        await super().close()
        await self._fetcher.close()

    # -- policy ------------------------------------------------------------------------

    def parts(
        self, tool: Tool, arguments: dict[str, Any]
    ) -> list[tuple[str, Any, bool]]:
        """Return the call itself, and of a raw document each field that it asks for.

        Raises:
            ToolArgumentsError: The document is wrong.
        """
        own = [(tool.path, arguments, tool.reads)]
        if tool.native is not None:
            return own
        document, operation = self._document(tool, arguments)
        variables = arguments.get("variables") or {}
        fields = []
        for node in top_fields(document, operation):
            path = self._paths.get((operation.operation.value, node.name.value))
            if path is not None:
                reads = operation.operation == OperationType.QUERY
                fields.append((path, given_to(node, variables), reads))
        return own + fields

    def _document(
        self, tool: Tool, arguments: dict[str, Any]
    ) -> tuple[DocumentNode, OperationDefinitionNode]:
        """Read a raw document, and find what of it is to be run.

        Raises:
            ToolArgumentsError: It is wrong, or isn't about queries and mutations.
        """
        if self._schema is None:
            raise self.unavailable()
        try:
            document = parse(
                arguments["query"], max_tokens=TOKENS_MAX, no_location=True
            )
            problems = validate(self._schema, document, _RULES, _ERRORS_MAX)
        except (GraphQLError, RecursionError) as error:
            raise wrong(tool, "query", str(error)) from error
        if problems:
            raise wrong(tool, "query", *(problem.message for problem in problems))
        name = arguments.get("operationName")
        operations = [
            node
            for node in document.definitions
            if isinstance(node, OperationDefinitionNode)
            and (name is None or (node.name is not None and node.name.value == name))
        ]
        if len(operations) != 1:
            raise wrong(tool, "operationName", "must name one of the operations")
        if operations[0].operation == OperationType.SUBSCRIPTION:
            raise wrong(tool, "query", "subscriptions are not known")
        return document, operations[0]

    # -- calls -------------------------------------------------------------------------

    async def _call(self, tool: Tool, arguments: dict[str, Any]) -> Any:
        if tool.native is None:  # checked by `parts`
            return await self._send(tool, arguments)
        native: _Field = tool.native
        given = {name: value for name, value in arguments.items() if name != "_select"}
        body = {
            "query": self._query(tool, native, given, arguments.get("_select")),
            "variables": given,
        }
        found = await self._send(tool, body)
        value = (found.get("data") or {}).get(native.name)
        if value is None and found.get("errors"):
            raise failed(tool, found["errors"])
        return value

    def _query(
        self, tool: Tool, native: _Field, given: dict[str, Any], select: str | None
    ) -> str:
        """Write the document of a call.

        Raises:
            ToolArgumentsError: What shall be selected isn't a selection.
        """
        chosen = selection(native.field.type, self.configuration.depth)
        if select is not None:
            chosen = selected(tool, select)
        known = {name: native.field.args[name] for name in given}
        heads = [f"${name}: {argument.type}" for name, argument in known.items()]
        uses = [f"{name}: ${name}" for name in known]
        head = f"({', '.join(heads)})" if heads else ""
        use = f"({', '.join(uses)})" if uses else ""
        query = f"{native.operation}{head} {{ {native.name}{use} {chosen} }}"
        if select is not None and self._schema is not None:
            problems = validate(self._schema, parse(query), _RULES, _ERRORS_MAX)
            if problems:
                raise wrong(tool, "_select", *(one.message for one in problems))
        return query

    async def _send(self, tool: Tool, body: dict[str, Any]) -> dict[str, Any]:
        found = await self._fetcher.call(
            tool.path,
            "POST",
            self.configuration.url,
            content=msgspec.json.encode(body),
            headers={"Content-Type": "application/json", "Accept": "application/json"},
        )
        value = found.value()
        if not isinstance(value, dict) or not ("data" in value or "errors" in value):
            message = f"{tool.path}: the endpoint's answer isn't GraphQL"
            raise ToolFailedError(message, code="invalid_result")
        if value.get("data") is None and value.get("errors"):
            raise failed(tool, value["errors"])
        return {name: value[name] for name in ("data", "errors") if name in value}
