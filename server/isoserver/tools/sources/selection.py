"""What of a GraphQL type is asked for, and what TypeScript knows of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLScalarType,
    get_named_type,
    is_leaf_type,
    is_required_argument,
    is_required_input_field,
)

from isoserver.tools.schemas import PREFIX

if TYPE_CHECKING:
    from graphql import GraphQLArgument, GraphQLField

__all__ = ["arguments_schema", "definitions", "output_schema", "selection"]

_FIELDS_MAX: Final = 200
_SCALARS: Final[dict[str, dict[str, Any]]] = {
    "Int": {"type": "integer"},
    "Float": {"type": "number"},
    "String": {"type": "string"},
    "Boolean": {"type": "boolean"},
    "ID": {"type": ["string", "integer"]},
}


def selection(kind: Any, depth: int) -> str:
    """Give the fields that are asked for by default: scalars, to a depth.

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
    """Give the JSON Schema of what a default selection brings; others bring more."""
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
    """Give the JSON Schema of a field's arguments, `_select` among them."""
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
    """Give the JSON Schemas of all input types, by their names."""
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
