"""The OpenAPI document as one HTML page: no scripts, nothing from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import json
from html import escape
from typing import Any, Final

__all__ = ["STYLE_POLICY", "page"]

_STYLE: Final = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 56rem; margin: 2rem auto;
  padding: 0 1rem; color: #1c1e21; background: #fff }
h2 { margin-top: 2.5rem; border-top: 1px solid #ddd; padding-top: 1rem }
code, pre { font: 14px/1.45 ui-monospace, monospace }
pre { background: #f5f6f8; padding: .75rem; overflow-x: auto; border-radius: 6px }
table { border-collapse: collapse; width: 100% }
td, th { text-align: left; vertical-align: top; padding: .3rem .6rem .3rem 0;
  border-bottom: 1px solid #eee }
@media (prefers-color-scheme: dark) {
  body { color: #e6e6e6; background: #16181c } pre { background: #22252b }
  td, th, h2 { border-color: #333 } a { color: #8ab4f8 } }
"""
_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
STYLE_POLICY: Final = (
    f"default-src 'none'; style-src 'sha256-{_HASH}'; frame-ancestors 'none'"
)
"""Allows the page its own style and nothing else."""


def page(document: dict[str, Any]) -> str:
    """Return the page.

    Args:
        document: The OpenAPI document.
    """
    title = escape(f"{document['info']['title']} {document['info']['version']}")
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8>",
        "<meta name=viewport content='width=device-width'>",
        f"<title>{title}</title><style>{_STYLE}</style><h1>{title}</h1>",
        f"<p>{escape(document['info']['description'])}</p>",
        "<p>The same for programs: <a href=/openapi.json>openapi.json</a></p>",
    ]
    for path, item in document["paths"].items():
        parts += [
            _operation(path, method, operation) for method, operation in item.items()
        ]
    parts.append("<h2>Schemas</h2>")
    schemas = document["components"]["schemas"]
    parts += [_schema(name, schema) for name, schema in schemas.items()]
    return "".join(parts)


def _operation(path: str, method: str, operation: dict[str, Any]) -> str:
    rows = []
    for parameter in operation.get("parameters", []):
        text = f"{parameter['in']}: {parameter.get('description', '')}"
        rows.append((parameter["name"], escape(text)))
    bodies = operation.get("requestBody", {}).get("content", {}).values()
    rows += [("body", _type(media.get("schema", {}))) for media in bodies]
    for status, answer in operation["responses"].items():
        kinds = [
            _type(media.get("schema", {}))
            for media in answer.get("content", {}).values()
        ]
        rows.append((status, f"{escape(answer['description'])} {' '.join(kinds)}"))
    return (
        f"<h2><code>{method.upper()} {escape(path)}</code></h2>"
        f"<p>{escape(operation['summary'])}</p>{_table(rows)}"
    )


def _schema(name: str, schema: dict[str, Any]) -> str:
    required = set(schema.get("required", []))
    rows = []
    for field, part in schema.get("properties", {}).items():
        star = "*" if field in required else ""
        text = escape(part.get("description", ""))
        rows.append((field + star, f"<code>{_type(part)}</code> {text}"))
    text = escape(schema.get("description", ""))
    return f"<h3 id='{escape(name)}'>{escape(name)}</h3><p>{text}</p>{_table(rows)}"


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f"<a href='#{name}'>{name}</a>"
    if "anyOf" in schema:
        return " | ".join(_type(part) for part in schema["anyOf"])
    if "enum" in schema:
        return escape(" | ".join(json.dumps(value) for value in schema["enum"]))
    if schema.get("type") == "array":
        return f"[{_type(schema.get('items', {}))}]"
    return escape(str(schema.get("type", schema.get("const", "any"))))


def _table(rows: list[tuple[str, str]]) -> str:
    cells = [
        f"<tr><th><code>{escape(str(name))}</code></th><td>{text}</td></tr>"
        for name, text in rows
    ]
    return f"<table>{''.join(cells)}</table>"
