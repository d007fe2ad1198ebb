"""The OpenAPI document: committed, valid, and what the server really does."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

from isoserver.app import ROUTES
from isoserver.contexts.languages import ALIASES
from isoserver.http.openapi import make_document, text

if TYPE_CHECKING:
    from tests.support.client import Client

COMMITTED = Path(__file__).parents[2] / "docs" / "openapi.json"


def test_the_committed_document_is_the_one_that_is_made() -> None:
    # To mend it: just docs
    assert COMMITTED.read_text(encoding="utf-8") == text(ROUTES)


def test_the_server_gives_the_document(client: Client) -> None:
    assert client.get("/openapi.json").json() == make_document(ROUTES)


def test_all_documented_operations_are_there() -> None:
    paths = make_document(ROUTES)["paths"]
    documented = {
        "/": {"get"},
        "/healthz": {"get"},
        "/execute": {"post"},
        "/execute/async": {"post"},
        "/contexts": {"get", "post"},
        "/contexts/{context_id}": {"get", "delete"},
    }
    for path, methods in documented.items():
        assert set(paths[path]) == methods
    assert len(paths) == len(ROUTES)


def test_references_lead_somewhere() -> None:
    document = make_document(ROUTES)
    schemas = document["components"]["schemas"]
    found: list[str] = []

    def walk(part: Any) -> None:
        if isinstance(part, dict):
            if "$ref" in part:
                found.append(part["$ref"])
            for value in part.values():
                walk(value)
        elif isinstance(part, list):
            for value in part:
                walk(value)

    walk(document)
    names = {reference.rpartition("/")[2] for reference in found}
    assert names <= set(schemas)


def test_requests_are_as_documented() -> None:
    schema = make_document(ROUTES)["components"]["schemas"]["ExecuteRequest"]
    assert schema["required"] == ["code"]
    assert schema["properties"]["timeout_ms"]["default"] == 30_000
    language = schema["properties"]["language"]["anyOf"][0]
    assert language["enum"] == list(ALIASES)
    assert not schema["additionalProperties"]


def _validate(name: str, value: Any) -> None:
    document = make_document(ROUTES)
    schema = {"$ref": f"#/components/schemas/{name}", **document}
    jsonschema.Draft202012Validator(schema).validate(value)


@pytest.mark.parametrize("language", ["javascript", "python"])
def test_answers_are_as_declared(client: Client, language: str) -> None:
    here = client.create(language)
    for code in ("1 + 1", "boom", "print(1)", "x = 1"):
        _validate("Execution", client.run(code, context_id=here))
    _validate("Context", client.show(here))
    _validate("Contexts", client.get("/contexts").json())
    _validate("Notebook", client.get(f"/contexts/{here}/notebook").json())
    _validate("LanguagesModel", client.get("/languages").json())
    _validate("ErrorResponse", client.get("/contexts/nobody").json())
    _validate("ValidationErrorResponse", client.post("/execute", json={}).json())


class _Page(HTMLParser):
    """What a page loads, and what it links to."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loads += [value or "" for name, value in attrs if name in {"src", "href"}]


def test_the_page_needs_no_network(client: Client) -> None:
    answer = client.get("/docs")
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    page = _Page()
    page.feed(answer.text)
    assert not {"script", "link", "img", "iframe"} & set(page.tags)
    assert all(link.startswith(("#", "/openapi.json")) for link in page.loads)
    document = json.loads(COMMITTED.read_text(encoding="utf-8"))
    for path in document["paths"]:
        assert path in answer.text
