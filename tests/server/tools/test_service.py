"""Bounds of calls, and workspaces that don't see each other."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.tools import decided, deny
from tests.support.waiting import POLL_SECONDS

from isoserver.errors import (
    ApprovalDecidedError,
    ApprovalMissingError,
    PolicyMissingError,
    SourceError,
    SourceExistsError,
    SourceMissingError,
    ToolError,
)
from isoserver.settings.tools import read_source
from isoserver.tools.audit import Filter

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.services import Services
    from tests.support.tools import World


def service(services: Services) -> list[dict[str, Any]]:
    return [services.openapi()]


async def code(world: World, path: str, given: Any = None, **fields: Any) -> str:
    """The code of the error that a call fails with."""
    with pytest.raises(ToolError) as caught:
        await world.call(path, given, **fields)
    return caught.value.code


async def running(world: World) -> int:
    """How many calls are under way."""
    entries = await world.audit()
    return len([entry for entry in entries if entry["outcome"] == "running"])


def test_calls_of_one_task_are_bounded(run: Callable[..., None]) -> None:
    async def scenario(world: World) -> None:
        await world.call("github.odd", {"kind": "text"})
        hanging = [
            asyncio.create_task(
                world.call("github.odd", {"kind": "hang"}, task_id="busy")
            )
            for _ in range(3)
        ]
        while await running(world) < 3:  # noqa: ASYNC110 - nobody is told
            await asyncio.sleep(POLL_SECONDS)
        assert await code(world, "github.odd", {"kind": "text"}, task_id="busy") == (
            "too_many_calls"
        )
        # Another task has places of its own.
        assert await world.call("github.odd", {"kind": "text"}, task_id="other")
        for task in hanging:
            task.cancel()
        await asyncio.gather(*hanging, return_exceptions=True)
        assert await world.call("github.odd", {"kind": "text"}, task_id="busy")

    run(
        scenario, sources=service, task_calls_running_max=2, task_calls_unfinished_max=3
    )


def test_calls_of_one_source_are_bounded(run: Callable[..., None]) -> None:
    async def scenario(world: World) -> None:
        hanging = [
            asyncio.create_task(world.call("github.odd", {"kind": "hang"}))
            for _ in range(4)
        ]
        while len(world.services.hanging) < 2:  # noqa: ASYNC110 - nobody is told
            await asyncio.sleep(POLL_SECONDS)
        # Those that have a place would be there by now: another source's are.
        assert await world.call("other.odd", {"kind": "text"})
        assert await running(world) == 4
        assert len(world.services.hanging) == 2
        hanging[0].cancel()
        while len(world.services.hanging) < 3:  # noqa: ASYNC110 - nobody is told
            await asyncio.sleep(POLL_SECONDS)
        for task in hanging:
            task.cancel()
        await asyncio.gather(*hanging, return_exceptions=True)

    run(scenario, sources=lambda s: [s.openapi(concurrency=2), s.openapi(name="other")])


def test_inputs_are_bounded(run: Callable[..., None]) -> None:
    async def scenario(world: World) -> None:
        assert (
            await code(world, "github.odd", {"kind": "x" * 2000}) == "input_too_large"
        )

    run(scenario, sources=service, tool_input_bytes_max=1000)


def test_denied_tools_are_hidden(run: Callable[..., None]) -> None:
    async def scenario(world: World) -> None:
        assert await code(world, "github.issues.create") == "invalid_arguments"
        await world.tools.policies.add("default", deny("github.issues.*"), "eve")
        for path in ("discover", "search", "catalog.tools"):
            found = await world.call(path, {"query": "issue"})
            items = found.get("items", found.get("results"))
            assert not [item for item in items if "issues" in item["path"]]
        assert await code(world, "describe", "github.issues.list") == "tool_not_found"
        names = await world.call("catalog.namespaces")
        assert names["namespaces"] == [
            {
                "namespace": "github",
                "toolCount": 2,
                "samplePaths": ["github.odd", "github.post_form"],
            }
        ]
        assert "issues" not in await world.tools.describe("default")
        with pytest.raises(ToolError) as caught:
            await world.call("github.issues.lst")
        assert "issues" not in str(caught.value.details)
        call = {"owner": "o"}
        assert await code(world, "github.issues.list", call) == "policy_denied"

    run(scenario, sources=service)


def test_pages(run: Callable[..., None]) -> None:
    async def scenario(world: World) -> None:
        seen: list[str] = []
        offset: int | None = 0
        while offset is not None:
            page = await world.call("search", {"limit": 3, "offset": offset})
            seen += [item["path"] for item in page["items"]]
            assert page["total"] == 4
            assert page["hasMore"] is (page["nextOffset"] is not None)
            offset = page["nextOffset"]
        assert seen == sorted(seen)
        assert len(set(seen)) == 4
        for path, given in (
            ("discover", {}),
            ("discover", {"query": 1}),
            ("discover", {"query": "a", "limit": 0}),
            ("search", {"offset": -1}),
            ("search", {"namespace": 1}),
            ("describe", []),
        ):
            assert await code(world, path, given) == "invalid_arguments"
        page = await world.call("catalog.tools", {"namespace": "github.issues"})
        assert page["total"] == 2
        assert (await world.call("catalog.tools", {"namespace": "git"}))["total"] == 0

    run(scenario, sources=service)


def test_two_workspaces(run: Callable[..., None]) -> None:
    async def scenario(world: World) -> None:
        tools = world.tools
        given = {"owner": "o", "body": {"title": "t"}}
        task = asyncio.create_task(
            world.call("mine.issues.create", given, workspace="a", task_id="same")
        )
        waiting = await world.pending("a")
        await tools.policies.add("a", deny("mine.odd"), "eve")
        (rule,) = await tools.policies.list("a")

        # Sources: not listed, found, refreshed, deleted, called or discovered.
        assert [source.name for source in await tools.sources.list("b")] == ["theirs"]
        for work in (tools.sources.get("b", "mine"),):
            with pytest.raises(SourceMissingError):
                await work
        with pytest.raises(SourceMissingError):
            await tools.sources.delete("b", "mine", "mallory")
        read_only = {"owner": "o"}
        missing = await code(world, "mine.issues.list", read_only, workspace="b")
        assert missing == "tool_not_found"
        found = await world.call("search", {"query": ""}, workspace="b")
        assert {item["source"] for item in found["items"]} == {"theirs"}
        assert "mine" not in await tools.describe("b")

        # Approvals: not listed, read, decided or withdrawn.
        assert await tools.approvals.pending("b") == ([], 0)
        with pytest.raises(ApprovalMissingError):
            await tools.approvals.get("b", waiting.id)
        for decision in ("approved", "denied"):
            with pytest.raises(ApprovalMissingError):
                await tools.approvals.decide(
                    "b", waiting.id, decided(decision), "mallory"
                )
        await tools.end_task("b", "same")
        assert (await tools.approvals.get("a", waiting.id)).state == "pending"

        # Rules: of no effect, not listed, not deleted.
        assert await world.call("theirs.odd", {"kind": "text"}, workspace="b")
        assert await tools.policies.list("b") == []
        with pytest.raises(PolicyMissingError):
            await tools.policies.delete("b", rule.rule.id, "mallory")

        # The audit: their own entries only, whatever is asked for.
        for wanted in (Filter(), Filter(task_id="same"), Filter(path="mine.odd")):
            entries, _ = await tools.audit.page("b", wanted, 100, 0)
            assert all(
                "theirs" in e["path"] or e["client"] == "tester" for e in entries
            )
            assert not [e for e in entries if e["approval_id"] == waiting.id]
        (entry,) = [e for e in await world.audit("a") if e["outcome"] == "running"]
        tools.audit._complete("b", entry["id"], {"outcome": "completed"})
        await tools.audit.settle()
        (entry,) = [e for e in await world.audit("a") if e["kind"] == "call"]
        assert entry["outcome"] == "running"

        await tools.approvals.decide("a", waiting.id, decided("approved"), "eve")
        assert await task

    def two(services: Services) -> list[dict[str, Any]]:
        return [
            services.openapi(name="mine", workspace="a"),
            services.openapi(name="theirs", workspace="b"),
        ]

    run(scenario, sources=two)


def test_discovery_counts_as_well(run: Callable[..., None]) -> None:
    async def scenario(world: World) -> None:
        found = await asyncio.gather(
            *(world.call("discover", {"query": "a"}, task_id="t") for _ in range(3)),
            return_exceptions=True,
        )
        refused = [one for one in found if isinstance(one, ToolError)]
        assert [one.code for one in refused] == ["too_many_calls"] * 2
        assert await world.call("discover", {"query": "a"}, task_id="t") is not None

    run(scenario, sources=service, task_calls_unfinished_max=1)


def test_sources_of_the_database(run: Callable[..., None]) -> None:
    async def scenario(world: World) -> None:
        sources = world.tools.sources
        fields = world.services.openapi(name="added", workspace="a")
        source = await sources.add(read_source(fields), "eve")
        assert source.state == "ready"
        assert await world.call("added.odd", {"kind": "text"}, workspace="a")
        with pytest.raises(SourceExistsError):
            await sources.add(read_source(fields), "eve")
        for local in (
            {"document": "/etc/passwd"},
            {"auth": {"type": "bearer", "token": {"env": "HOME"}}},
            {"headers": {"X": {"file": "/etc/passwd"}}},
        ):
            with pytest.raises(SourceError, match="configuration file"):
                await sources.add(read_source({**fields, "name": "b", **local}), "eve")
        command = {"type": "mcp", "name": "c", "workspace": "a", "command": "sh"}
        with pytest.raises(SourceError, match="configuration file"):
            await sources.add(read_source(command), "eve")
        short = {"type": "bearer", "token": "abc"}
        with pytest.raises(SourceError, match="fewer than 4"):
            await sources.add(
                read_source({**fields, "name": "d", "auth": short}), "eve"
            )
        await sources.add(read_source({**fields, "name": "second"}), "eve")
        with pytest.raises(SourceError, match="limit of 2 sources"):
            await sources.add(read_source({**fields, "name": "third"}), "eve")
        with pytest.raises(SourceExistsError):
            await sources.delete("default", "github", "eve")
        await sources.delete("a", "added", "eve")
        gone = await code(world, "added.odd", {"kind": "text"}, workspace="a")
        assert gone == "tool_not_found"
        kinds = [(e["kind"], e["path"]) for e in await world.audit("a")]
        assert ("source.added", "added") in kinds
        assert ("source.deleted", "added") in kinds

    run(scenario, sources=service, workspace_sources_max=2, sources_private=True)


def test_an_expired_approval_of_a_dead_server_can_not_be_decided(
    run: Callable[..., None],
) -> None:
    async def scenario(world: World) -> None:
        from isoserver.tools.calls import Call  # noqa: PLC0415

        catalog = await world.tools.sources.catalog("default")
        tool = catalog.find("github.odd")
        assert tool is not None
        call = Call("default", None, "", "t", "c", "github.odd", {})
        # Asked for by a process that was gone before anybody waited.
        made = await world.tools.approvals.request(call, tool, "", "{}")
        get = world.tools.approvals.get
        while (await get("default", made.id)).state == "pending":  # noqa: ASYNC110
            await asyncio.sleep(POLL_SECONDS)
        with pytest.raises(ApprovalDecidedError, match="already expired"):
            await world.tools.approvals.decide(
                "default", made.id, decided("approved"), "e"
            )

    run(scenario, sources=service, approval_timeout_seconds=0.1)
