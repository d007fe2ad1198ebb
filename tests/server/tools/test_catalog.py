"""Tools are found by words, over more than a thousand; types for odd schemas."""

from __future__ import annotations

import json
from typing import Any

import pytest

from isokernel.typescript.transpiler import Transpiled, transpiler
from isoserver.tools.catalog import Catalog
from isoserver.tools.declarations import declare, explain
from isoserver.tools.schemas import Checker
from isoserver.tools.tool import Tool


def make(path: str, description: str = "", **fields: Any) -> Tool:
    """A tool."""
    fields.setdefault("input_schema", {"type": "object"})
    return Tool(
        source=path.partition(".")[0],
        path=path,
        original=path.rpartition(".")[2],
        description=description,
        reads=True,
        **fields,
    )


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    """More than a thousand tools, of which most are alike."""
    nouns = ["repos", "teams", "gists", "hooks", "keys", "runs", "orgs", "users"]
    verbs = ["list", "get", "create", "update", "delete", "check"]
    tools = [
        make(f"github.{noun}.{verb}_{number}", f"{verb.title()} some of the {noun}.")
        for noun in nouns
        for verb in verbs
        for number in range(25)
    ]
    tools += [
        make("github.issues.create", "Create an issue"),
        make("github.issues.list", "List issues of a repository"),
        make("github.issues.create_comment", "Create a comment on an issue"),
        make("slack.chat.post_message", "Sends a message to a channel"),
        make("calendar.events.insert", "Creates an event, also a recurring one"),
        make("weather.forecast", "The weather of the next days in a city"),
    ]
    assert len(tools) > 1200
    return Catalog(tools, "1")


QUERIES = [
    ("create issue", "github.issues.create"),
    ("create an issue", "github.issues.create"),
    ("creating issues", "github.issues.create"),
    ("createIssue", "github.issues.create"),
    ("github.issues.list", "github.issues.list"),
    ("comment on issue", "github.issues.create_comment"),
    ("send slack message", "slack.chat.post_message"),
    ("post message to channel", "slack.chat.post_message"),
    ("recurring event", "calendar.events.insert"),
    ("forec", "weather.forecast"),
    ("weather city", "weather.forecast"),
]
"""Query, the best tool for it."""


def test_the_best_is_first(catalog: Catalog) -> None:
    seen = [(query, catalog.search(query)[0].tool.path) for query, _ in QUERIES]
    assert seen == QUERIES


def test_what_is_nowhere_finds_nothing(catalog: Catalog) -> None:
    for query in ("", "the of", "zzzzzz", "♥", "a" * 10_000):
        assert catalog.search(query) == []


def test_all_spellings_lead_to_the_tool(catalog: Catalog) -> None:
    for path in (
        "slack.chat.post_message",
        "slack.chat.postMessage",
        "Slack.chat.PostMessage",
        "slack.chat.post-message",
    ):
        found = catalog.find(path)
        assert found is not None
        assert found.path == "slack.chat.post_message"
    assert catalog.find("slack.chat.post") is None


def strip(text: str) -> str:
    """What is left of TypeScript without its types."""
    made = transpiler().transpile(text)
    assert isinstance(made, Transpiled), made
    return made.code


TREE: dict[str, Any] = {
    "type": "object",
    "properties": {"root": {"$ref": "#/$defs/Node"}},
    "$defs": {
        "Node": {
            "type": "object",
            "properties": {
                "children": {"type": "array", "items": {"$ref": "#/$defs/Node"}},
                "self": {"$ref": "#"},
            },
        }
    },
}
ODD: list[Any] = [
    TREE,
    {},
    True,
    False,
    {"type": "object", "properties": {"a b": {}, "class": {}, "*/": {}, "ok": {}}},
    {"type": "object", "additionalProperties": {"type": "integer"}},
    {"type": ["string", "null", "array"], "items": {"enum": [1, "a", None, True]}},
    {"anyOf": [{"type": "string"}, {"const": {"a": 1}}, {"type": "integer"}]},
    {"oneOf": []},
    {
        "allOf": [{"properties": {"a": {"type": "string"}}}, {"required": ["a"]}],
        "properties": {"b": {"oneOf": [{"type": "null"}, {"type": "number"}]}},
    },
    {"$ref": "#/$defs/A", "$defs": {"A": {"$ref": "#/$defs/B"}, "B": {"$ref": "#"}}},
    {
        "$ref": "#/$defs/A",
        "$defs": {
            "A": {"anyOf": [{"type": "string"}, {"$ref": "#/$defs/B"}]},
            "B": {"allOf": [{"$ref": "#/$defs/A"}, {"type": "object"}]},
            "C": {"type": "object", "additionalProperties": {"$ref": "#/$defs/C"}},
        },
        "properties": {"c": {"$ref": "#/$defs/C"}},
    },
    {
        "type": "object",
        "additionalProperties": {"$ref": "#"},
    },
    {"enum": []},
    {"enum": ["a" * 1000]},
    {"enum": list(range(500))},
    {"$ref": "#/$defs/missing"},
    {"$ref": "https://example.org/schema.json"},
    {"$ref": "#/$defs/self", "$defs": {"self": {"$ref": "#/$defs/self"}}},
    {"$ref": "#/properties/a~1b/items", "properties": {"a/b": {"items": TREE}}},
    {"type": "array", "prefixItems": [{"type": "string"}, {}]},
    {"type": "array", "items": [{"type": "string"}]},
    {"type": "strange"},
    {"type": "object", "properties": {"a": {"description": "ends */ here\nand more"}}},
    {"type": "object", "properties": [], "required": "all", "anyOf": 3, "enum": 4},
    {"not": {"type": "string"}},
    json.loads('{"items":' * 100 + "{}" + "}" * 100),
]


def test_types_of_odd_schemas_can_be_parsed() -> None:
    for schema in ODD:
        _parse(schema)


def _parse(schema: Any) -> None:
    root = schema if isinstance(schema, dict) else {"properties": {"a": schema}}
    tools = [
        make("a.b", "ends */ here", input_schema=root, output_schema=schema),
        make("a.b.c-d", input_schema=root),
        make("a.toString", input_schema=root, output_schema=schema),
    ]
    # What isn't TypeScript has a syntax error; what is has nothing left to run.
    assert "Promise" not in strip(declare(tools))
    explained = explain(tools[0])
    text = "\n".join(explained["definitions"].values())
    text += f"\ntype In = {explained['inputTypeScript']};"
    text += f"\ntype Out = {explained['outputTypeScript']};"
    strip(text)


def test_types_say_what_the_schemas_say() -> None:
    schema = {
        "type": "object",
        "properties": {
            "kind": {"enum": ["a", "b"], "description": "Which kind."},
            "tree": {"$ref": "#/$defs/Node"},
            "count": {"type": ["integer", "null"]},
        },
        "required": ["kind"],
        "$defs": TREE["$defs"],
    }
    explained = explain(make("a.b", input_schema=schema))
    assert explained["inputTypeScript"] == (
        "{\n"
        "  /** Which kind. */\n"
        '  kind: "a" | "b";\n'
        "  tree?: Node;\n"
        "  count?: number | null;\n"
        "}"
    )
    assert "children?: Node[];" in explained["definitions"]["Node"]


def test_a_thousand_tools_are_declared_with_both_spellings(catalog: Catalog) -> None:
    text = declare(catalog.tools)
    assert "  github: ToolsGithub;" in text
    assert 'postMessage: ToolsSlackChat["post_message"];' in text
    strip(text)


def test_inputs_are_checked_by_odd_schemas_as_well() -> None:
    for schema in ODD:
        root = schema if isinstance(schema, dict) else {"properties": {"a": schema}}
        problems = Checker(make("a.b", input_schema=root)).problems({"a": "b"})
        assert all(set(problem) == {"field", "error"} for problem in problems)


def test_definitions_of_the_source_are_found() -> None:
    shared = {"Name": {"type": "string", "pattern": "^[a-z]+$"}, "Other": {}}
    schema = {"type": "object", "properties": {"name": {"$ref": "#/$defs/Name"}}}
    checker = Checker(make("a.b", input_schema=schema, definitions=shared))
    assert checker.problems({"name": "ada"}) == []
    (problem,) = checker.problems({"name": "ADA"})
    assert problem["field"] == "name"


def test_a_pattern_of_a_schema_takes_no_time() -> None:
    for pattern in ("^(a+)+$", "^(?=a)(a+)+$"):
        schema = {"properties": {"a": {"type": "string", "pattern": pattern}}}
        checker = Checker(make("a.b", input_schema=schema))
        assert checker.problems({"a": "a" * 5000 + "b"})
