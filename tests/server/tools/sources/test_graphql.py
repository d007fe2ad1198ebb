"""Tools of GraphQL endpoints: fields, selections, raw documents under the policy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.support.services import SDL, Services
from tests.support.tools import refused

from isoserver.errors import ApprovalDeniedError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.tools import World


def people(services: Services) -> list[dict[str, Any]]:
    return [services.graphql()]


def test_fields_are_tools(run: Callable[..., None]) -> None:
    async def scenario(world: World) -> None:
        boss = {"id": "2", "name": "Bob"}
        ada = {"id": "1", "name": "Ada", "boss": boss}
        assert await world.call("people.query.person", {"id": "1"}) == ada
        assert await world.call("people.query.person", {"id": 1}) == ada
        assert await world.call("people.query.person", {"id": "9"}) is None
        assert await world.call("people.query.people") == [ada]
        assert await world.call("people.query.version") == "1"
        assert await world.call("people.query.secretPlan") == "none"
        change = {"name": "Eve", "tags": ["x"], "kind": "GOOD"}
        given = {"id": "1", "change": change, "_select": "name"}
        assert await world.call("people.mutation.rename", given) == {"name": "Eve"}
        assert await world.call("people.mutation.wipe") is True

    run(scenario, sources=lambda s: [s.graphql(writes="allow")])


def test_another_selection(run: Callable[..., None]) -> None:
    async def scenario(world: World) -> None:
        given = {"id": "1", "_select": "n: name boss { boss { id } }"}
        seen = await world.call("people.query.person", given)
        assert seen == {"n": "Ada", "boss": {"boss": None}}
        for select in (
            "name } wipe { x",
            "name } } mutation { wipe",
            "}",
            "",
            "nothing",
            "name " * 3000,
        ):
            given = {"id": "1", "_select": select}
            told = await refused(world, "people.query.person", given)
            assert told["code"] == "invalid_arguments", select
            assert told["details"]["problems"][0]["field"] == "_select"

    run(scenario, sources=people)


def test_inputs_are_checked(run: Callable[..., None]) -> None:
    async def scenario(world: World) -> None:
        for given in (
            {},
            {"id": None},
            {"id": "1", "x": 1},
            {"id": "1", "change": {}},
            {"id": "1", "change": {"name": "a", "kind": "UGLY"}},
            {"id": "1", "change": {"name": "a", "tags": "x"}},
        ):
            told = await refused(world, "people.mutation.rename", given)
            assert told["code"] == "invalid_arguments", given

    run(scenario, sources=people)


def test_errors(run: Callable[..., None]) -> None:
    async def scenario(world: World) -> None:
        told = await refused(world, "people.query.broken")
        assert told["code"] == "graphql_error"
        assert "it is broken" in told["message"]
        assert told["details"]["errors"][0]["path"] == ["broken"]
        both = await world.call("people.graphql", {"query": "{ broken version }"})
        assert both["data"] == {"broken": None, "version": "1"}
        assert len(both["errors"]) == 1

    run(scenario, sources=people)


def test_raw_documents(run: Callable[..., None]) -> None:
    async def scenario(world: World) -> None:
        async def raw(query: str, **fields: Any) -> Any:
            return await world.call("people.graphql", {"query": query, **fields})

        query = (
            "query A($id: ID!) { person(id: $id) { ...F } } fragment F on Person { id }"
        )
        made = await raw(query, variables={"id": "1"}, operationName="A")
        assert made == {"data": {"person": {"id": "1"}}}
        assert (await raw("{ __schema { queryType { name } } }"))["data"]
        for query in (
            "{ nothing }",
            "{",
            "query A { version } query B { version }",
            "{ version " + "a: version " * 3000 + "}",
            "{" * 500,
        ):
            told = await refused(world, "people.graphql", {"query": query})
            assert told["code"] == "invalid_arguments"

    run(scenario, sources=people)


def test_raw_documents_are_held_to_what_their_fields_are_held_to(
    run: Callable[..., None],
) -> None:
    async def scenario(world: World) -> None:
        denied = (
            "{ version secretPlan }",
            "{ a: secretPlan }",
            "{ ...F } fragment F on Query { ... on Query { secretPlan } }",
            'query { person(id: "2") { id } }',
            "query A { version } query B { secretPlan }",
        )
        for query in denied:
            given = {"query": query, "operationName": "B"} if " B " in query else query
            given = given if isinstance(given, dict) else {"query": given}
            with pytest.raises(ApprovalDeniedError) as caught:
                await world.call("people.graphql", given)
            assert caught.value.code == "policy_denied"
        given = {"query": denied[3].replace('"2"', "$id").replace("query", "query Q")}
        given["query"] = "query Q($id: ID!) { person(id: $id) { id } }"
        with pytest.raises(ApprovalDeniedError):
            await world.call("people.graphql", {**given, "variables": {"id": "2"}})
        assert await world.call("people.graphql", {**given, "variables": {"id": "1"}})
        other = {"query": denied[4], "operationName": "A"}
        assert await world.call("people.graphql", other)
        # Mutations wait for an approval, raw or not.
        for path, body in (
            ("people.graphql", {"query": "mutation { wipe }"}),
            ("people.mutation.wipe", {}),
        ):
            with pytest.raises(ApprovalDeniedError) as caught:
                await world.call(path, body)
            assert caught.value.code == "approval_expired"
        assert not any("wipe" in str(body) for body in world.services.seen)

    two = {"key": "id", "operator": "equals", "value": "2"}
    policies = [
        {
            "workspace": "default",
            "effect": "deny",
            "tool": "people.query.secretPlan",
        },
        {
            "workspace": "default",
            "effect": "deny",
            "tool": "people.query.person",
            "conditions": [two],
        },
        {"workspace": "default", "effect": "allow", "tool": "people.graphql"},
    ]
    run(scenario, sources=people, policies=policies, approval_timeout_seconds=0.2)


def test_a_schema_from_a_file(run: Callable[..., None], tmp_path: Path) -> None:
    path = tmp_path / "people.graphql"
    path.write_text(SDL)

    async def scenario(world: World) -> None:
        assert await world.call("people.query.version") == "1"
        (bad,) = [
            source
            for source in await world.tools.sources.list("default")
            if source.name == "bad"
        ]
        await bad.settled()
        assert (bad.state, bad.reason) == ("failed", "the file /nowhere can't be read")

    run(
        scenario,
        sources=lambda s: [
            s.graphql(schema=str(path)),
            s.graphql(name="bad", schema="/nowhere"),
        ],
    )
