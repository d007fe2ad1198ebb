"""OpenAPI documents, 3.0 and 3.1: read, and turned into operations.

References are followed within the document only, and nothing is unfolded: schemas keep
theirs, so that a schema that refers to itself stays as small as it is.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import unquote

import msgspec
import yaml

from isoserver.errors import SourceError
from isoserver.tools.names import distinct, snake
from isoserver.tools.schemas import PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["READS", "Body", "Document", "Parameter", "ServiceOperation"]

READS: Final = frozenset({"get", "head", "options"})
"""Methods that change nothing."""
_METHODS: Final = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
_COMPONENT: Final = "#/components/schemas/"
_REFERENCES_MAX: Final = 16
_DEPTH_MAX: Final = 64
_NODES_MAX: Final = 2_000_000
_IGNORED: Final = frozenset({"accept", "content-type", "authorization"})
"""Headers that parameters can't be, as OpenAPI says."""
_NAME: Final = re.compile(r"[^A-Za-z0-9_.-]")
_JSON: Final = re.compile(r"application/(?:json|[\w.+-]*\+json)\s*(?:;.*)?")
_BODIES: Final = (
    "application/x-www-form-urlencoded",
    "multipart/form-data",
    "text/plain",
    "application/octet-stream",
)


class Parameter(NamedTuple):
    """A parameter of an operation.

    Attributes:
        field: Its name in the tool's input.
        name: Its own name.
        place: path, query, header or cookie.
        style: How arrays and objects are written.
        explode: Whether each of their parts is written by itself.
        as_json: Whether it is written as JSON.
        required: Whether it has to be there.
        schema: What it may be.
    """

    field: str
    name: str
    place: str
    style: str
    explode: bool
    as_json: bool
    required: bool
    schema: dict[str, Any]


class Body(NamedTuple):
    """The body of an operation.

    Attributes:
        kind: Its media type.
        required: Whether it has to be there.
        schema: What it may be.
    """

    kind: str
    required: bool
    schema: dict[str, Any]


class ServiceOperation(NamedTuple):
    """An operation of the service: what a tool is made of.

    Attributes:
        name: Its name within the source.
        original: Its operationId, or method and path.
        description: What it does.
        method: The method, in lower case.
        path: The path, with its placeholders.
        parameters: The parameters.
        body: The body, if it takes one that can be written.
        output: JSON Schema of what it answers when all is well.
    """

    name: str
    original: str
    description: str
    method: str
    path: str
    parameters: tuple[Parameter, ...]
    body: Body | None
    output: Any


class Document:
    """One document.

    Attributes:
        definitions: Its schemas, by the names that operations refer to them by.
    """

    def __init__(self, data: bytes, kind: str = "") -> None:
        """Read it.

        Args:
            data: JSON or YAML.
            kind: Its media type or file name, if that is known.

        Raises:
            SourceError: It can't be read, or isn't an OpenAPI 3 document.
        """
        self._root = _parse(data, kind)
        version = str(self._root.get("openapi", ""))
        if not version.startswith("3."):
            found = version or self._root.get("swagger") or "none"
            message = f"no OpenAPI 3 document (its version: {str(found)[:20]})"
            raise SourceError(message)
        self._nodes = 0
        self._old = version.startswith("3.0")
        components = self._root.get("components")
        schemas = components.get("schemas") if isinstance(components, dict) else None
        self.definitions: dict[str, Any] = {}
        if isinstance(schemas, dict):
            for name, schema in schemas.items():
                self.definitions[_safe(str(name))] = self._schema(schema)

    @property
    def server(self) -> str:
        """Where it says that the service is; empty if it doesn't."""
        servers = self._root.get("servers")
        first = servers[0] if isinstance(servers, list) and servers else None
        if not isinstance(first, dict) or not isinstance(first.get("url"), str):
            return ""
        url: str = first["url"]
        variables = first.get("variables")
        if isinstance(variables, dict):
            for name, variable in variables.items():
                if isinstance(variable, dict):
                    value = str(variable.get("default", ""))
                    url = url.replace(f"{{{name}}}", value)
        return url

    def operations(self) -> list[ServiceOperation]:
        """Return the operations in order, without those that can't be called."""
        found = list(self._operations())
        given = _names(found)
        return [
            operation._replace(name=name)
            for (operation, _), name in zip(found, given, strict=True)
        ]

    def _operations(self) -> Iterator[tuple[ServiceOperation, list[str]]]:
        paths = self._root.get("paths")
        if not isinstance(paths, dict):
            return
        for path, given in paths.items():
            item = self._resolved(given)
            if not isinstance(item, dict):
                continue
            for method in _METHODS:
                operation = item.get(method)
                if isinstance(operation, dict):
                    tags = operation.get("tags")
                    yield (
                        self._operation(str(path), method, item, operation),
                        [str(tag) for tag in tags] if isinstance(tags, list) else [],
                    )

    def _operation(
        self, path: str, method: str, item: dict[str, Any], given: dict[str, Any]
    ) -> ServiceOperation:
        texts = [given.get(name) for name in ("summary", "description")]
        named = given.get("operationId")
        original = named if isinstance(named, str) and named else f"{method} {path}"
        return ServiceOperation(
            "",
            original,
            "\n".join(text for text in texts if isinstance(text, str)),
            method,
            path,
            tuple(self._parameters(item, given)),
            self._body(given.get("requestBody")),
            self._output(given.get("responses")),
        )

    def _parameters(
        self, item: dict[str, Any], given: dict[str, Any]
    ) -> Iterator[Parameter]:
        found: dict[tuple[str, str], dict[str, Any]] = {}
        for listed in (item.get("parameters"), given.get("parameters")):
            for each in listed if isinstance(listed, list) else ():
                one = self._resolved(each)
                if isinstance(one, dict) and isinstance(one.get("name"), str):
                    found[str(one.get("in")), one["name"]] = one
        own = [name for _, name in found]
        for (place, name), one in found.items():
            if place not in {"path", "query", "header", "cookie"}:
                continue
            if place == "header" and name.lower() in _IGNORED:
                continue
            twice = own.count(name) > 1 or name == "body"
            yield self._parameter(f"{name}_{place}" if twice else name, place, one)

    def _parameter(self, field: str, place: str, one: dict[str, Any]) -> Parameter:
        default = "form" if place in {"query", "cookie"} else "simple"
        style = str(one.get("style", default))
        content = one.get("content")
        schema = one.get("schema")
        if isinstance(content, dict) and content:
            media = next(iter(content.values()))
            schema = media.get("schema") if isinstance(media, dict) else None
        made = self._schema(schema) if schema is not None else {}
        text = one.get("description")
        if isinstance(text, str) and isinstance(made, dict) and "$ref" not in made:
            made = {"description": text, **made}
        return Parameter(
            field,
            one["name"],
            place,
            style,
            bool(one.get("explode", style == "form")),
            isinstance(content, dict),
            place == "path" or one.get("required") is True,
            made,
        )

    def _body(self, given: Any) -> Body | None:
        body = self._resolved(given)
        content = body.get("content") if isinstance(body, dict) else None
        if not isinstance(body, dict) or not isinstance(content, dict):
            return None
        kinds = {str(kind).lower(): media for kind, media in content.items()}
        chosen = next((kind for kind in kinds if _JSON.fullmatch(kind)), None)
        if chosen is None:
            chosen = next((kind for kind in _BODIES if kind in kinds), None)
        if chosen is None and "*/*" in kinds:
            chosen = "*/*"
        if chosen is None:
            return None
        schema = (
            kinds[chosen].get("schema") if isinstance(kinds[chosen], dict) else None
        )
        kind = "application/json" if chosen == "*/*" else chosen
        required = body.get("required") is True
        return Body(kind, required, self._schema({} if schema is None else schema))

    def _output(self, responses: Any) -> Any:
        if not isinstance(responses, dict):
            return None
        good = sorted(str(status) for status in responses if str(status)[:1] == "2")
        for status in [*good, "default"]:
            answer = self._resolved(
                responses.get(status) or responses.get(_int(status))
            )
            content = answer.get("content") if isinstance(answer, dict) else None
            for kind, media in (content or {}).items():
                if _JSON.fullmatch(str(kind).lower()) and isinstance(media, dict):
                    schema = media.get("schema")
                    return None if schema is None else self._schema(schema)
        return None

    # -- references and schemas --------------------------------------------------------

    def _resolved(self, part: Any) -> Any:
        """Follow the references of a part that isn't a schema."""
        for _ in range(_REFERENCES_MAX):
            if not isinstance(part, dict) or not isinstance(part.get("$ref"), str):
                return part
            part = self._find(part["$ref"])
        return None

    def _find(self, reference: str) -> Any:
        if not reference.startswith("#/"):
            return None
        found: Any = self._root
        for step in reference[2:].split("/"):
            name = unquote(step).replace("~1", "/").replace("~0", "~")
            if isinstance(found, dict) and name in found:
                found = found[name]
            elif isinstance(found, list) and name.isdecimal():
                found = found[int(name)] if int(name) < len(found) else None
            else:
                return None
        return found

    def _schema(self, schema: Any, depth: int = 0) -> Any:
        """Return a schema as today's JSON Schema, with references to `definitions`.

        Raises:
            SourceError: The document is larger than it looks.
        """
        self._nodes += 1
        if self._nodes > _NODES_MAX:
            message = "the document has too many parts"
            raise SourceError(message)
        if depth > _DEPTH_MAX:
            return {}
        if isinstance(schema, list):
            return [self._schema(part, depth + 1) for part in schema]
        if not isinstance(schema, dict):
            return _plain(schema)
        reference = schema.get("$ref")
        if isinstance(reference, str):
            return self._reference(reference, depth)
        made = {
            str(name): (_data(part) if name in _DATA else self._schema(part, depth + 1))
            for name, part in schema.items()
            if name not in _DROPPED
        }
        return _modern(made) if self._old else made

    def _reference(self, reference: str, depth: int) -> Any:
        name = reference.removeprefix(_COMPONENT)
        if name != reference and "/" not in name:
            return {"$ref": PREFIX + _safe(unquote(name))}
        # Into the middle of something: a copy, as deep as may be.
        found = self._find(reference)
        return {} if found is None else self._schema(found, depth + _DEPTH_MAX // 4)


_DROPPED: Final = frozenset({"example", "examples", "xml", "externalDocs"})
_DATA: Final = frozenset({"enum", "const", "default"})
"""Words whose values are data, not schemas."""


def _modern(schema: dict[str, Any]) -> dict[str, Any]:
    """Turn a schema of OpenAPI 3.0 into today's JSON Schema."""
    nullable = schema.pop("nullable", False)
    for word, bound in (
        ("exclusiveMinimum", "minimum"),
        ("exclusiveMaximum", "maximum"),
    ):
        if schema.get(word) is True and bound in schema:
            schema[word] = schema.pop(bound)
        elif isinstance(schema.get(word), bool):
            del schema[word]
    if nullable is not True:
        return schema
    if isinstance(schema.get("type"), str):
        schema["type"] = [schema["type"], "null"]
        if isinstance(schema.get("enum"), list) and None not in schema["enum"]:
            schema["enum"] = [*schema["enum"], None]
        return schema
    return {"anyOf": [schema, {"type": "null"}]} if schema else schema


def _parse(data: bytes, kind: str) -> dict[str, Any]:
    try:
        if data.lstrip()[:1] == b"{" and "yaml" not in kind:
            root = msgspec.json.decode(data)
        else:
            loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
            root = yaml.load(data, Loader=loader)  # noqa: S506 - a safe one
    except (msgspec.DecodeError, yaml.YAMLError, RecursionError, ValueError) as error:
        message = "the document is neither JSON nor YAML"
        raise SourceError(message) from error
    if not isinstance(root, dict):
        message = "the document is no object"
        raise SourceError(message)
    return root


def _safe(name: str) -> str:
    return _NAME.sub("_", name)


def _int(text: str) -> int | None:
    """YAML has statuses as numbers."""
    return int(text) if text.isdecimal() else None


def _plain(value: Any) -> Any:
    """YAML knows dates, JSON doesn't."""
    return (
        value if isinstance(value, (str, int, float, bool, type(None))) else str(value)
    )


def _data(value: Any) -> Any:
    if isinstance(value, list):
        return [_data(item) for item in value]
    if isinstance(value, dict):
        return {str(name): _data(item) for name, item in value.items()}
    return _plain(value)


def _names(found: list[tuple[ServiceOperation, list[str]]]) -> list[str]:
    """Name operations; of those that would be the same, the tag comes before."""
    plain = [_name(operation) for operation, _ in found]
    counts: dict[str, int] = {}
    for name in plain:
        counts[name] = counts.get(name, 0) + 1
    return distinct(
        [
            f"{snake(tags[0])}.{name}" if counts[name] > 1 and tags else name
            for name, (_, tags) in zip(plain, found, strict=True)
        ]
    )


def _name(operation: ServiceOperation) -> str:
    if operation.original == f"{operation.method} {operation.path}":
        path = re.sub(r"[{}]", "", operation.path).replace("/", "_")
        return snake(f"{operation.method}_{path}")
    parts = [part for part in re.split(r"[/.]", operation.original) if part.strip()]
    return ".".join(snake(part) for part in parts) or "tool"
