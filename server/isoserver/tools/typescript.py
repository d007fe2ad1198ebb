"""TypeScript types of JSON Schemas, whatever these look like.

What TypeScript can't say, or what is nested too deep, is `any`: a type that is too
wide costs nothing, one that is wrong keeps good code from running.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Scope", "Types", "comment", "name_of", "pascal", "property_name"]

_IDENTIFIER: Final = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*")
_WORDS: Final = re.compile(r"[A-Za-z0-9]+")
_DEPTH_MAX: Final = 12
_MEMBERS_MAX: Final = 60
_PROPERTIES_MAX: Final = 300
_COMMENT_MAX: Final = 400
_COMMENT_LINES: Final = 6
_LITERAL_MAX: Final = 200
ANY: Final = "any"
_SIMPLE: Final = {
    "string": "string",
    "number": "number",
    "integer": "number",
    "boolean": "boolean",
    "null": "null",
}
_OBJECT_WORDS: Final = ("properties", "additionalProperties", "required")
_ARRAY_WORDS: Final = ("items", "prefixItems")


class Scope(NamedTuple):
    """Where references of a schema lead.

    Attributes:
        root: The whole schema.
        definitions: The definitions of its source.
        prefix: What names of types begin with.
    """

    root: Any
    definitions: Mapping[str, Any]
    prefix: str


class Types:
    """Writes types, and keeps the named ones that they need.

    Attributes:
        declared: Named types in order, name to type.
    """

    def __init__(self) -> None:
        """Begin without any type."""
        self.declared: dict[str, str] = {}
        self._names: dict[tuple[int, str], str] = {}
        # Names that are being written and can't stand here: TypeScript knows types
        # that refer to themselves within objects and lists only.
        self._open: frozenset[str] = frozenset()

    def reserve(self, name: str) -> str:
        """Return an unused name for a type, and reserve it."""
        made, number = name, 1
        while made in self.declared:
            number += 1
            made = f"{name}{number}"
        self.declared[made] = ANY
        return made

    def write(self, schema: Any, scope: Scope, depth: int = 0) -> str:
        """Return the TypeScript type of a schema."""
        if schema is False:
            return "never"
        if not isinstance(schema, dict) or not schema or depth > _DEPTH_MAX:
            return ANY
        if isinstance(schema.get("$ref"), str):
            return self._reference(schema["$ref"], scope)
        if "const" in schema:
            return _literal(schema["const"])
        if isinstance(schema.get("enum"), list):
            return _union([_literal(value) for value in schema["enum"]])
        return self._composed(schema, scope, depth)

    def _composed(self, schema: dict[str, Any], scope: Scope, depth: int) -> str:
        parts = []
        for word in ("anyOf", "oneOf"):
            members = schema.get(word)
            if isinstance(members, list) and members:
                parts.append(_union([self.write(m, scope, depth + 1) for m in members]))
        members = schema.get("allOf")
        if isinstance(members, list):
            parts += [self.write(m, scope, depth + 1) for m in members]
        own = self._own(schema, scope, depth)
        if own is not None and not (parts and own in (ANY, "{ [key: string]: any }")):
            parts.append(own)
        parts = [part for part in dict.fromkeys(parts) if part != ANY]
        if not parts:
            return ANY
        if len(parts) == 1:
            return parts[0]
        return " & ".join(_grouped(part) for part in parts)

    def _own(self, schema: dict[str, Any], scope: Scope, depth: int) -> str | None:
        """Return the type that a schema names itself; None if it names none."""
        kinds = schema.get("type")
        if isinstance(kinds, str):
            kinds = [kinds]
        if not isinstance(kinds, list):
            if any(word in schema for word in _OBJECT_WORDS):
                kinds = ["object"]
            elif any(word in schema for word in _ARRAY_WORDS):
                kinds = ["array"]
            else:
                return None
        return _union([self._kind(str(kind), schema, scope, depth) for kind in kinds])

    def _kind(self, kind: str, schema: dict[str, Any], scope: Scope, depth: int) -> str:
        if kind not in {"object", "array"}:
            return _SIMPLE.get(kind, ANY)
        before, self._open = self._open, frozenset()
        write = self._object if kind == "object" else self._array
        made = write(schema, scope, depth)
        self._open = before
        return made

    def _array(self, schema: dict[str, Any], scope: Scope, depth: int) -> str:
        items = schema.get("items")
        first = schema.get("prefixItems", items if isinstance(items, list) else None)
        if isinstance(first, list):
            parts = [self.write(part, scope, depth + 1) for part in first]
            return f"[{', '.join(f'{_grouped(part)}?' for part in parts)}, ...any[]]"
        return f"{_grouped(self.write(items, scope, depth + 1))}[]"

    def _object(self, schema: dict[str, Any], scope: Scope, depth: int) -> str:
        properties = schema.get("properties")
        others = schema.get("additionalProperties")
        if not isinstance(properties, dict) or not properties:
            if others is False:
                return "{}"
            inner = self.write(others, scope, depth + 1)
            # Not Record, in which a type can't refer to itself.
            return f"{{ [key: string]: {inner} }}"
        required = schema.get("required")
        needed = set(map(str, required)) if isinstance(required, list) else set()
        indent = "  " * (depth + 1)
        lines = []
        for name, part in list(properties.items())[:_PROPERTIES_MAX]:
            lines += comment(_description(part), indent)
            mark = "" if name in needed else "?"
            made = self.write(part, scope, depth + 1)
            lines.append(f"{indent}{property_name(name)}{mark}: {made};")
        if others or len(properties) > _PROPERTIES_MAX:
            # Of any type: it has to fit the named ones as well.
            lines.append(f"{indent}[key: string]: any;")
        return "\n".join(["{", *lines, "  " * depth + "}"])

    def _reference(self, reference: str, scope: Scope) -> str:
        found = _find(reference, scope)
        if found is None:
            return ANY
        name, target, owner = found
        place = (owner, reference)
        known = self._names.get(place)
        if known is None:
            known = self.reserve(f"{scope.prefix}{pascal(name)}")
            self._names[place] = known
            before, self._open = self._open, self._open | {known}
            self.declared[known] = self.write(target, scope)
            self._open = before
        return ANY if known in self._open else known


def _find(reference: str, scope: Scope) -> tuple[str, Any, int] | None:
    """Resolve a reference: return the target's name, the target, and its owner's id."""
    if reference == "#":
        return "Root", scope.root, id(scope.root)
    if not reference.startswith("#/"):
        return None
    steps = [
        unquote(step).replace("~1", "/").replace("~0", "~")
        for step in reference[2:].split("/")
    ]
    found: Any = scope.root
    for step in steps:
        if isinstance(found, dict) and step in found:
            found = found[step]
        elif isinstance(found, list) and step.isdecimal() and int(step) < len(found):
            found = found[int(step)]
        else:
            break
    else:
        return steps[-1], found, id(scope.root)
    if steps[0] == "$defs" and steps[1:] and steps[1] in scope.definitions:
        return steps[1], scope.definitions[steps[1]], id(scope.definitions)
    return None


def comment(text: str, indent: str) -> list[str]:
    """Return the lines of a JSDoc comment; no lines for no text."""
    text = text.strip()[:_COMMENT_MAX].replace("*/", "*\\/")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        return []
    if len(lines) == 1:
        return [f"{indent}/** {lines[0]} */"]
    inner = [f"{indent} * {line}" for line in lines[:_COMMENT_LINES]]
    return [f"{indent}/**", *inner, f"{indent} */"]


def property_name(name: str) -> str:
    """Return a property's name for an object type, quoted if it must be."""
    return name if _IDENTIFIER.fullmatch(name) else json.dumps(name)


def pascal(text: str) -> str:
    """Return a name for a type, in PascalCase."""
    made = "".join(word[:1].upper() + word[1:] for word in _WORDS.findall(text))
    return f"T{made}" if not made or made[0].isdigit() else made


def name_of(*parts: str) -> str:
    """Return a name for a type of several parts."""
    return "".join(pascal(part) for part in parts)


def _description(part: Any) -> str:
    text = part.get("description") if isinstance(part, dict) else None
    return text if isinstance(text, str) else ""


def _literal(value: Any) -> str:
    if isinstance(value, (dict, list)):
        return ANY
    text = json.dumps(value, ensure_ascii=True)
    return text if len(text) <= _LITERAL_MAX else "string"


def _union(parts: list[str]) -> str:
    unique = list(dict.fromkeys(parts))
    if ANY in unique or not unique or len(unique) > _MEMBERS_MAX:
        return "string" if all(part.startswith('"') for part in unique) else ANY
    if len(unique) == 1:
        return unique[0]
    return " | ".join(_grouped(part) for part in unique)


def _grouped(part: str) -> str:
    """Put a type that has an operator at its top level in parentheses."""
    bare = part.startswith("{") and part.endswith("}")
    if bare or not re.search(r" [|&] ", part):
        return part
    return f"({part})"
