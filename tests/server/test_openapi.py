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

    from isoserver.http.routes import Operation

COMMITTED = Path(__file__).parents[2] / "docs" / "openapi.json"


def test_the_committed_document_is_the_one_that_is_made() -> None:
    # To mend it: just openapi
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
    there = {
        f"#/components/{kind}/{name}"
        for kind, named in document["components"].items()
        for name in named
    }
    assert {*found} <= there


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


@pytest.mark.parametrize(
    ("path", "operation"),
    [
        (route.path, operation)
        for route in ROUTES
        for operation in route.operations
        if operation.request is not None
    ],
)
def test_every_body_has_an_example_that_is_one(path: str, operation: Operation) -> None:
    assert operation.request is not None
    operation.request.model_validate(operation.example)
    described = make_document(ROUTES)["paths"][path][operation.method.lower()]
    content = described["requestBody"]["content"]["application/json"]
    assert content["example"] == operation.example


def test_examples_work(client: Client) -> None:
    here = client.create("typescript")
    for route in ROUTES:
        for operation in route.operations:
            if operation.example and route.path.startswith(("/execute", "/contexts")):
                place = route.path.replace("{context_id}", here)
                method = operation.method
                answer = client.request(method, place, json=operation.example)
                assert answer.status_code in {200, 201}, answer.text
                assert '"error":{' not in answer.text


def test_every_operation_is_in_one_group_and_has_an_id_of_its_own() -> None:
    document = make_document(ROUTES)
    operations = [one for item in document["paths"].values() for one in item.values()]
    groups = {tag["name"] for tag in document["tags"]}
    assert {group for one in operations for group in one["tags"]} == groups
    assert all(len(one["tags"]) == 1 for one in operations)
    assert len({one["operationId"] for one in operations}) == len(operations)


class _Page(HTMLParser):
    """What a page loads, and what it links to."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        links = self.links if tag == "a" else self.loads
        links += [given[name] for name in ("src", "href") if name in given]
        self.ids += [given["id"]] if "id" in given else []
        assert "style" not in given


def test_the_page_needs_nothing_from_elsewhere(client: Client) -> None:
    answer = client.get("/docs")
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    page = _Page()
    page.feed(answer.text)
    assert page.loads == []
    assert "<code>error</code>" in answer.text
    assert "`" not in answer.text.partition("<script>")[0]
    anchors = {link[1:] for link in page.links if link.startswith("#")}
    assert {link for link in page.links if link[0] != "#"} == {"openapi.json"}
    assert anchors <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    document = json.loads(COMMITTED.read_text(encoding="utf-8"))
    for item in document["paths"].values():
        assert {operation["operationId"] for operation in item.values()} <= anchors


def test_the_page_may_do_only_what_it_needs(client: Client) -> None:
    policy = dict(
        part.strip().split(" ", 1)
        for part in client.get("/docs").headers["Content-Security-Policy"].split(";")
    )
    assert policy["default-src"] == policy["form-action"] == "'none'"
    assert policy["base-uri"] == policy["frame-ancestors"] == "'none'"
    assert policy["connect-src"] == "'self'"
    for part in ("script-src", "style-src"):
        assert policy[part].startswith("'sha256-")


def test_the_page_shows_what_clients_send_as_text(client: Client) -> None:
    answer = client.get("/docs", headers={"Host": "127.0.0.1:1"})
    assert "curl -s -X POST http://127.0.0.1:1/execute " in answer.text
