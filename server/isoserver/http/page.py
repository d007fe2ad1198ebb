"""The OpenAPI document as one HTML page: an index, examples, and forms to try it.

Style and script are in the page, and its policy allows these two and requests to this
server; so it works offline, and behind a proxy.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shlex
from html import escape
from importlib.resources import files
from typing import Any, Final

__all__ = ["PAGE_POLICY", "page"]

_JSON: Final = "application/json"


def _read(name: str) -> str:
    return files("isoserver.http").joinpath(name).read_text(encoding="utf-8")


def _source(text: str) -> str:
    """Return how a policy names a style or script that stands in the page."""
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


_STYLE: Final = _read("page.css")
_SCRIPT: Final = _read("page.js")
PAGE_POLICY: Final = (
    f"default-src 'none'; style-src {_source(_STYLE)}; script-src {_source(_SCRIPT)}; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Allows the page its own style and script, and requests to its own server."""


def page(document: dict[str, Any], address: str) -> str:
    """Return the page.

    Args:
        document: The OpenAPI document.
        address: Where the server is, for the examples: scheme, host and port.
    """
    title = escape(f"{document['info']['title']} {document['info']['version']}")
    groups = _groups(document)
    return "".join(
        [
            "<!doctype html><html lang=en><meta charset=utf-8>",
            "<meta name=viewport content='width=device-width'>",
            f"<title>{title}</title><style>{_STYLE}</style>",
            "<a class=skip href='#main'>Skip to the routes</a>",
            _index(groups),
            f"<main id=main><h1>{title}</h1>",
            f"<p>{_prose(document['info']['description'])} The same for programs: ",
            "<a href=openapi.json>openapi.json</a>.</p>",
            _ACCESS,
            *(_group(group, address) for group in groups),
            "<section id=schemas><h2>Schemas</h2>",
            *(
                _schema(name, schema)
                for name, schema in document["components"]["schemas"].items()
            ),
            f"</section></main><script>{_SCRIPT}</script>",
        ]
    )


_ACCESS: Final = (
    "<form id=access class=access hidden>"
    "<label>API key or token, if this server asks for one "
    "<input id=key type=password autocomplete=off></label>"
    "<label>Workspace, if the key opens several "
    "<input id=workspace autocomplete=off></label></form>"
    "<noscript><p>Without JavaScript this page shows the routes, but can't call them."
    "</noscript>"
)

_Entry = tuple[str, str, dict[str, Any]]
"""A path, a method in lower case, and the operation."""
_Group = tuple[dict[str, Any], list[_Entry]]
"""A tag of the document, and its operations."""


def _groups(document: dict[str, Any]) -> list[_Group]:
    entries: list[_Entry] = [
        (path, method, operation)
        for path, item in document["paths"].items()
        for method, operation in item.items()
    ]
    return [
        (tag, [entry for entry in entries if tag["name"] in entry[2]["tags"]])
        for tag in document["tags"]
    ]


def _anchor(tag: dict[str, Any]) -> str:
    return str(tag["name"]).lower().replace(" ", "-")


def _index(groups: list[_Group]) -> str:
    parts = ["<nav aria-label=Routes><input id=filter type=search hidden "]
    parts.append("placeholder='Find a route' aria-label='Find a route'>")
    for tag, entries in groups:
        parts.append(
            f"<h2><a href='#{_anchor(tag)}'>{escape(tag['name'])}</a></h2><ul>"
        )
        for path, method, operation in entries:
            parts.append(
                f"<li title='{escape(operation['summary']).replace('`', '')}'>"
                f"<a href='#{operation['operationId']}'>{_method(method)}"
                f"<code>{_breakable(path)}</code></a></li>"
            )
        parts.append("</ul>")
    parts.append("<h2><a href='#schemas'>Schemas</a></h2></nav>")
    return "".join(parts)


def _group(group: _Group, address: str) -> str:
    tag, entries = group
    return (
        f"<section id='{_anchor(tag)}'><h2>{escape(tag['name'])}</h2>"
        f"<p class=quiet>{_prose(tag['description'])}</p>"
        + "".join(_operation(*entry, address) for entry in entries)
        + "</section>"
    )


def _prose(markdown: str) -> str:
    """Return a description, with the one mark that it may have: code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(markdown))


def _breakable(path: str) -> str:
    return escape(path).replace("/", "<wbr>/")


def _method(method: str) -> str:
    return f"<span class='method {method}'>{method}</span>"


def _operation(path: str, method: str, operation: dict[str, Any], address: str) -> str:
    rows = [
        (
            parameter["name"],
            f"{parameter['in']} <code>{_type(parameter['schema'])}</code> "
            f"{_prose(parameter['description'])}{_default(parameter['schema'])}",
        )
        for parameter in operation.get("parameters", [])
    ]
    contents = operation.get("requestBody", {}).get("content", {})
    optional = "" if operation.get("requestBody", {}).get("required") else " (optional)"
    rows += [
        ("body", f"{escape(kind)} {_type(media.get('schema', {}))}{optional}")
        for kind, media in contents.items()
    ]
    answers = []
    for status, answer in operation["responses"].items():
        kinds = [
            _type(media.get("schema", {}))
            for media in answer.get("content", {}).values()
        ]
        answers.append((status, f"{_prose(answer['description'])} {' '.join(kinds)}"))
    return (
        f"<details id='{operation['operationId']}'><summary>{_method(method)} "
        f"<code>{escape(path)}</code> <span>{_prose(operation['summary'])}</span>"
        f"</summary><div>{_table('Parameters', rows)}<h4>Example</h4>"
        f"<pre class=curl>{escape(_curl(path, method, operation, address))}</pre>"
        f"{_form(path, method, operation)}{_table('Responses', answers)}"
        "</div></details>"
    )


def _curl(path: str, method: str, operation: dict[str, Any], address: str) -> str:
    """Return the example as a command; the page's script writes the same."""
    verb = "" if method == "get" else f" -X {method.upper()}"
    lines = [f"curl -s{verb} {shlex.quote(address + path)}"]
    contents = operation.get("requestBody", {}).get("content", {})
    if "example" in contents.get(_JSON, {}):
        body = _text(contents[_JSON]["example"])
        lines += [f"-H 'Content-Type: {_JSON}'", f"--data-binary {shlex.quote(body)}"]
    elif contents:
        lines.append("--data-binary @FILE")
    return " \\\n  ".join(lines)


def _text(example: Any) -> str:
    if isinstance(example, str):
        return example
    return json.dumps(example, indent=2, ensure_ascii=False)


def _form(path: str, method: str, operation: dict[str, Any]) -> str:
    fields = [_field(parameter) for parameter in operation.get("parameters", [])]
    contents = operation.get("requestBody", {}).get("content", {})
    if _JSON in contents:
        if len(contents) > 1:
            choices = "".join(
                f"<option data-example='{escape(_text(media['example']))}'>{kind}"
                for kind, media in contents.items()
            )
            fields.append(
                f"<label>Content-Type<select name=type>{choices}</select></label>"
            )
        body = _text(contents[_JSON]["example"])
        lines = body.count("\n") + 2
        fields.append(
            f"<label>Body<textarea name=body rows={lines} spellcheck=false>\n"
            f"{escape(body)}</textarea></label>"
        )
    return (
        f"<form hidden data-method={method.upper()} data-path='{escape(path)}' "
        f"aria-label='Try {method.upper()} {escape(path)}'>{''.join(fields)}"
        "<button type=submit>Send</button><button type=button hidden>Stop</button>"
        "<p class=status role=status></p>"
        "<pre class=answer tabindex=0 aria-label=Answer hidden></pre></form>"
    )


def _field(parameter: dict[str, Any]) -> str:
    name, place, schema = parameter["name"], parameter["in"], parameter["schema"]
    required = " required" if parameter["required"] else ""
    given = f"name='{escape(name)}' data-in={place}{required}"
    if "enum" in schema:
        unset = (
            f"default: {escape(str(schema['default']))}" if "default" in schema else ""
        )
        options = "".join(f"<option>{escape(str(one))}" for one in schema["enum"])
        control = f"<select {given}><option value=''>{unset}{options}</select>"
    else:
        default = escape(str(schema.get("default", "")))
        control = f"<input {given} placeholder='{default}' autocomplete=off>"
    return f"<label>{escape(name)} {control}</label>"


def _schema(name: str, schema: dict[str, Any]) -> str:
    required = set(schema.get("required", []))
    rows = []
    for field, part in schema.get("properties", {}).items():
        star = "*" if field in required else ""
        text = _prose(part.get("description", ""))
        rows.append(
            (field + star, f"<code>{_type(part)}</code> {text}{_default(part)}")
        )
    if not rows:
        rows.append(("value", f"<code>{_type(schema)}</code>"))
    text = _prose(schema.get("description", ""))
    return (
        f"<details id='{escape(name)}'><summary><code>{escape(name)}</code></summary>"
        f"<div><p>{text}</p>{_table('Fields (* required)', rows)}</div></details>"
    )


def _default(schema: dict[str, Any]) -> str:
    default = schema.get("default")
    if default is None or default == "":
        return ""
    return f" Default: <code>{escape(json.dumps(default))}</code>."


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f"<a href='#{name}'>{name}</a>"
    for several in ("anyOf", "oneOf"):
        if several in schema:
            return " | ".join(_type(part) for part in schema[several])
    if "enum" in schema:
        return escape(" | ".join(json.dumps(value) for value in schema["enum"]))
    if "const" in schema:
        return escape(json.dumps(schema["const"]))
    if schema.get("type") == "array":
        return f"[{_type(schema.get('items', {}))}]"
    return escape(str(schema.get("type", "any")))


def _table(title: str, rows: list[tuple[str, str]]) -> str:
    cells = [
        f"<tr><th scope=row><code>{escape(str(name))}</code></th><td>{text}</td></tr>"
        for name, text in rows
    ]
    return f"<h4>{title}</h4><table>{''.join(cells)}</table>" if rows else ""
