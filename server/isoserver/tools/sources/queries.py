"""GraphQL documents and schemas: read, looked into, and what is wrong with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLSchema,
    InlineFragmentNode,
    OperationDefinitionNode,
    build_client_schema,
    build_schema,
    parse,
    print_ast,
    value_from_ast_untyped,
)

from isoserver.errors import SourceError, ToolArgumentsError, ToolFailedError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from isoserver.tools.tool import Tool

__all__ = [
    "TOKENS_MAX",
    "client_schema",
    "failed",
    "given_to",
    "read_schema",
    "selected",
    "top_fields",
    "wrong",
]

TOKENS_MAX: Final = 5000
"""Tokens of a document that code may send."""
_SELECT_MAX: Final = 10_000
_DETAILS_MAX: Final = 20


def top_fields(
    document: DocumentNode, operation: OperationDefinitionNode
) -> Iterator[FieldNode]:
    """Give the fields at the top, those in fragments too."""
    fragments = {
        node.name.value: node
        for node in document.definitions
        if isinstance(node, FragmentDefinitionNode)
    }
    waiting = list(operation.selection_set.selections)
    seen: set[str] = set()
    # It ends: each fragment is looked into once.
    while waiting:
        node = waiting.pop()
        if isinstance(node, FieldNode):
            yield node
        elif isinstance(node, InlineFragmentNode):
            waiting.extend(node.selection_set.selections)
        elif isinstance(node, FragmentSpreadNode) and node.name.value not in seen:
            seen.add(node.name.value)
            waiting.extend(fragments[node.name.value].selection_set.selections)


def given_to(node: FieldNode, variables: dict[str, Any]) -> dict[str, Any]:
    """Give the arguments of a field, with the variables in them."""
    return {
        argument.name.value: value_from_ast_untyped(argument.value, variables)
        for argument in node.arguments or ()
    }


def selected(tool: Tool, select: str) -> str:
    """Read what code wants selected; it can be nothing but a selection.

    Raises:
        ToolArgumentsError: It isn't one.
    """
    if len(select) > _SELECT_MAX:
        raise wrong(tool, "_select", f"has more than {_SELECT_MAX} characters")
    try:
        document = parse(f"{{ {select} }}", max_tokens=TOKENS_MAX, no_location=True)
    except (GraphQLError, RecursionError) as error:
        raise wrong(tool, "_select", str(error)) from error
    first = document.definitions[0]
    one = len(document.definitions) == 1
    if not one or not isinstance(first, OperationDefinitionNode):
        raise wrong(tool, "_select", "must be a selection")
    if not first.selection_set.selections:
        raise wrong(tool, "_select", "selects nothing")
    return print_ast(first.selection_set)


def read_schema(data: bytes) -> GraphQLSchema:
    """Read a schema in the schema language.

    Raises:
        SourceError: It can't be read.
    """
    try:
        return build_schema(data.decode())
    except (GraphQLError, ValueError, TypeError, RecursionError) as error:
        message = f"the schema can't be read: {str(error)[:200]}"
        raise SourceError(message) from error


def client_schema(data: dict[str, Any]) -> GraphQLSchema:
    """Read a schema as introspection gives it.

    Raises:
        SourceError: It can't be read.
    """
    try:
        return build_client_schema(data)  # type: ignore[arg-type]  # as it came
    except (GraphQLError, ValueError, TypeError, KeyError, RecursionError) as error:
        message = f"the endpoint's schema can't be read: {str(error)[:200]}"
        raise SourceError(message) from error


def wrong(tool: Tool, field: str, *errors: str) -> ToolArgumentsError:
    """Give the error for an input that is wrong."""
    problems = [{"field": field, "error": error[:300]} for error in errors]
    return ToolArgumentsError(tool.path, problems)


def failed(tool: Tool, errors: Any) -> ToolFailedError:
    """Give the error for what the endpoint answered with errors alone."""
    listed = errors if isinstance(errors, list) else [errors]
    first = listed[0].get("message") if isinstance(listed[0], dict) else None
    return ToolFailedError(
        f"{tool.path}: {str(first or 'it failed')[:1000]}",
        code="graphql_error",
        details={"errors": listed[:_DETAILS_MAX]},
    )
