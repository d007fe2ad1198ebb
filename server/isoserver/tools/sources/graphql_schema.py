"""GraphQL for tools: schemas read, documents looked into, types as JSON Schema."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLEnumType,
    GraphQLError,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLScalarType,
    GraphQLSchema,
    InlineFragmentNode,
    OperationDefinitionNode,
    build_client_schema,
    build_schema,
    get_named_type,
    is_leaf_type,
    is_required_argument,
    is_required_input_field,
    parse,
    print_ast,
    value_from_ast_untyped,
)

from isoserver.errors import SourceError, ToolArgumentsError, ToolFailedError
from isoserver.tools.schemas import PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterator

    from graphql import GraphQLArgument, GraphQLField

    from isoserver.tools.tool import Tool

__all__ = [
    "TOKENS_MAX",
    "arguments_schema",
    "client_schema",
    "definitions",
    "failed",
    "given_to",
    "output_schema",
    "read_schema",
    "selected",
    "selection",
    "top_fields",
    "wrong",
]

TOKENS_MAX: Final = 5000
"""Tokens of a document that code may send."""
_SELECT_MAX: Final = 10_000
_DETAILS_MAX: Final = 20
_FIELDS_MAX: Final = 200
_SCALARS: Final[dict[str, dict[str, Any]]] = {
    "Int": {"type": "integer"},
    "Float": {"type": "number"},
    "String": {"type": "string"},
    "Boolean": {"type": "boolean"},
    "ID": {"type": ["string", "integer"]},
}


def top_fields(
    document: DocumentNode, operation: OperationDefinitionNode
) -> Iterator[FieldNode]:
    """Yield the top-level fields of an operation, those in fragments too."""
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
    """Return the arguments of a field, with the variables in them."""
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
    """Return the error for an input that is wrong."""
    problems = [{"field": field, "error": error[:300]} for error in errors]
    return ToolArgumentsError(tool.path, problems)


def failed(tool: Tool, errors: Any) -> ToolFailedError:
    """Return the error for an answer that has nothing but errors."""
    listed = errors if isinstance(errors, list) else [errors]
    first = listed[0].get("message") if isinstance(listed[0], dict) else None
    return ToolFailedError(
        f"{tool.path}: {str(first or 'it failed')[:1000]}",
        code="graphql_error",
        details={"errors": listed[:_DETAILS_MAX]},
    )


# -- types as JSON Schema -------------------------------------------------------------


def selection(kind: Any, depth: int) -> str:
    """Return the fields that are asked for by default: scalars, to a depth.

    Args:
        kind: The type of a field.
        depth: Levels of objects.

    Returns:
        A selection set in braces; empty for a type that has no fields.
    """
    return _selection(get_named_type(kind), depth, [_FIELDS_MAX])


def _selection(kind: Any, depth: int, left: list[int]) -> str:
    if is_leaf_type(kind):
        return ""
    if not isinstance(kind, (GraphQLObjectType, GraphQLInterfaceType)):
        return "{ __typename }"
    parts: list[str] = []
    for name, field in kind.fields.items():
        if left[0] <= 0:
            break
        if any(is_required_argument(argument) for argument in field.args.values()):
            continue
        inner = get_named_type(field.type)
        if is_leaf_type(inner):
            parts.append(name)
            left[0] -= 1
        elif depth > 1:
            chosen = _selection(inner, depth - 1, left)
            if chosen and chosen != "{ __typename }":
                parts.append(f"{name} {chosen}")
    return f"{{ {' '.join(parts or ['__typename'])} }}"


def output_schema(kind: Any, depth: int) -> Any:
    """Return the JSON Schema of a default selection's result; others may have more."""
    if isinstance(kind, GraphQLNonNull):
        return _not_null(kind.of_type, depth)
    inner = _not_null(kind, depth)
    return {"anyOf": [inner, {"type": "null"}]}


def _not_null(kind: Any, depth: int) -> Any:
    if isinstance(kind, GraphQLList):
        return {"type": "array", "items": output_schema(kind.of_type, depth)}
    if is_leaf_type(kind):
        return _leaf(kind)
    if not isinstance(kind, (GraphQLObjectType, GraphQLInterfaceType)) or depth < 1:
        return {"type": "object"}
    properties = {
        name: {
            "description": field.description or "",
            **output_schema(field.type, depth - 1),
        }
        for name, field in list(kind.fields.items())[:_FIELDS_MAX]
        if (is_leaf_type(get_named_type(field.type)) or depth > 1)
        and not any(is_required_argument(one) for one in field.args.values())
    }
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": True,
    }


def arguments_schema(field: GraphQLField) -> dict[str, Any]:
    """Return the JSON Schema of a field's arguments, `_select` among them."""
    properties = {name: _argument(one) for name, one in field.args.items()}
    required = [name for name, one in field.args.items() if is_required_argument(one)]
    if not is_leaf_type(get_named_type(field.type)):
        properties["_select"] = {
            "type": "string",
            "description": "Fields to select instead, such as: id name owner { login }",
        }
    made: dict[str, Any] = {
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
    }
    return {**made, "required": required} if required else made


def definitions(types: dict[str, Any]) -> dict[str, Any]:
    """Return the JSON Schemas of all input types, by their names."""
    made: dict[str, Any] = {}
    for name, kind in types.items():
        if isinstance(kind, GraphQLInputObjectType):
            fields = kind.fields
            made[name] = {
                "type": "object",
                "properties": {n: _input(f.type) for n, f in fields.items()},
                "required": [
                    n for n, f in fields.items() if is_required_input_field(f)
                ],
                "additionalProperties": False,
            }
    return made


def _argument(argument: GraphQLArgument) -> dict[str, Any]:
    schema = _input(argument.type)
    if argument.description:
        schema = {"description": argument.description, **schema}
    return schema


def _input(kind: Any) -> dict[str, Any]:
    if isinstance(kind, GraphQLNonNull):
        return _given(kind.of_type)
    return {"anyOf": [_given(kind), {"type": "null"}]}


def _given(kind: Any) -> dict[str, Any]:
    if isinstance(kind, GraphQLList):
        return {"type": "array", "items": _input(kind.of_type)}
    if isinstance(kind, GraphQLInputObjectType):
        return {"$ref": f"{PREFIX}{kind.name}"}
    return _leaf(kind)


def _leaf(kind: Any) -> dict[str, Any]:
    if isinstance(kind, GraphQLEnumType):
        return {"enum": list(kind.values)}
    if isinstance(kind, GraphQLScalarType):
        return {**_SCALARS.get(kind.name, {})}
    return {}
