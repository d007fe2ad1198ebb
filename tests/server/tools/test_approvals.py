"""Approvals: decided once, from anywhere, by whoever is first; and the audit of it."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.tools import Asked, decided, deny, tools_on

from isoserver.errors import (
    ApprovalDecidedError,
    ApprovalDeniedError,
    ApprovalMissingError,
    ToolError,
)
from isoserver.settings.tools import read_source
from isoserver.tools.calls import Decision

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.postgresql import PostgreSQL
    from tests.support.services import Services
    from tests.support.tools import World

WRITE = {"owner": "o", "body": {"title": "t"}, "X-Trace": "a"}


def service(services: Services) -> list[dict[str, Any]]:
    return [services.openapi()]


def create(world: World, **fields: Any) -> asyncio.Task[Any]:
    """Begin a call that has to be approved."""
    given = {"owner": "o", "body": {"title": "t", "api_token": "hunter2"}}
    return asyncio.create_task(world.call("github.issues.create", given, **fields))


async def denied(task: asyncio.Task[Any]) -> ApprovalDeniedError:
    with pytest.raises(ApprovalDeniedError) as caught:
        await task
    return caught.value


def test_approved(run: Callable[..., None]) -> None:
    async def scenario(world: World) -> None:
        task = create(world, task_id="task-9", session="s1")
        waiting = await world.pending()
        assert len(waiting.id) >= 32
        assert waiting.path == "github.issues.create"
        assert (waiting.task_id, waiting.session) == ("task-9", "s1")
        assert json.loads(waiting.input)["body"] == {
            "title": "t",
            "api_token": "[redacted: text of 7 characters]",
        }
        assert world.waits == [True]
        approvals = world.tools.approvals
        made = await approvals.decide(
            "default", waiting.id, decided("approved", "ok"), "eve"
        )
        assert (made.state, made.reason, made.decided_by) == ("approved", "ok", "eve")
        assert (await task)["path"] == "/repos/o/issues"
        assert world.waits == [True, False]
        assert await approvals.pending("default") == ([], 0)

    run(scenario, sources=service)


def test_what_a_reviewer_can_not_see_is_not_asked(run: Callable[..., None]) -> None:
    async def scenario(world: World) -> None:
        body: dict[str, Any] = {"title": "t" * 5000, "api_token": "a"}
        task = asyncio.create_task(
            world.call("github.issues.create", {"body": body, "owner": "mallory"})
        )
        waiting = await world.pending()
        assert len(waiting.input) <= 2000
        # Behind what is long and what is hidden.
        assert json.loads(waiting.input)["owner"] == "mallory"
        approvals = world.tools.approvals
        await approvals.decide("default", waiting.id, decided("denied", "no"), "eve")
        await denied(task)
        many = {**body, **{f"field{number}": "" for number in range(1000)}}
        with pytest.raises(ToolError, match="send less") as caught:
            await world.call("github.issues.create", {"body": many, "owner": "o"})
        assert caught.value.code == "input_not_reviewable"
        entry = (await world.audit())[-1]
        assert (entry["outcome"], entry["code"]) == ("failed", "input_not_reviewable")
        assert await approvals.pending("default") == ([], 0)

    run(scenario, sources=service)


def test_denied_with_the_reason(run: Callable[..., None]) -> None:
    async def scenario(world: World) -> None:
        task = create(world)
        waiting = await world.pending()
        approvals = world.tools.approvals
        await approvals.decide(
            "default", waiting.id, decided("denied", "not today"), "eve"
        )
        error = await denied(task)
        assert error.reason == "not today"
        told = error.as_data()
        assert told["name"] == "ApprovalDeniedError"
        assert (told["denied"], told["code"]) == (True, "approval_denied")
        assert told["reason"] == "not today"

    run(scenario, sources=service)


def test_a_decision_is_final(run: Callable[..., None]) -> None:
    async def scenario(world: World) -> None:
        approvals = world.tools.approvals
        task = create(world)
        waiting = await world.pending()
        first = await approvals.decide(
            "default", waiting.id, decided("denied", "no"), "eve"
        )
        again = await approvals.decide(
            "default", waiting.id, decided("denied", "NO"), "mallory"
        )
        assert again == first
        with pytest.raises(ApprovalDecidedError, match="already denied"):
            await approvals.decide(
                "default", waiting.id, decided("approved"), "mallory"
            )
        await denied(task)
        # Replayed, it approves nothing: the next call has an approval of its own.
        task = create(world)
        other = await world.pending()
        assert other.id != waiting.id
        with pytest.raises(ApprovalDecidedError):
            await approvals.decide(
                "default", waiting.id, decided("approved"), "mallory"
            )
        assert (await approvals.get("default", other.id)).state == "pending"
        await approvals.decide("default", other.id, decided("denied"), "eve")
        assert (await denied(task)).reason == "the reviewer gave no reason"
        with pytest.raises(ApprovalMissingError):
            await approvals.decide("default", "guess", decided("approved"), "mallory")

    run(scenario, sources=service)


def test_only_one_of_many_wins(run: Callable[..., None]) -> None:
    async def scenario(world: World) -> None:
        task = create(world)
        waiting = await world.pending()
        results = await asyncio.gather(
            *(
                world.tools.approvals.decide(
                    "default",
                    waiting.id,
                    decided("approved" if number % 2 else "denied", f"reason {number}"),
                    f"reviewer {number}",
                )
                for number in range(12)
            ),
            return_exceptions=True,
        )
        good = [made for made in results if not isinstance(made, BaseException)]
        assert len(set(good)) == 1
        assert len(good) == 6
        assert all(
            isinstance(made, ApprovalDecidedError)
            for made in results
            if made not in good
        )
        if good[0].state == "approved":
            assert await task
        else:
            assert (await denied(task)).reason == good[0].reason
        entries = [e for e in await world.audit() if e["kind"] == "approval.decided"]
        assert [entry["client"] for entry in entries] == [good[0].decided_by]

    run(scenario, sources=service)


def test_clients_are_asked_at_the_same_time(run: Callable[..., None]) -> None:
    async def scenario(world: World) -> None:
        yes = Asked(Decision(approved=True, reason="fine"))
        assert await create(world, asker=yes)
        (question,) = yes.questions
        assert question.path == "github.issues.create"
        assert "hunter2" not in question.shown
        error = await denied(create(world, asker=Asked(Decision(approved=False))))
        assert error.code == "approval_denied"
        # One that can't be asked, or fails, leaves it to the others.
        for useless in (None, RuntimeError("no elicitation")):
            task = create(world, asker=Asked(useless))
            waiting = await world.pending()
            await world.tools.approvals.decide(
                "default", waiting.id, decided("approved"), "eve"
            )
            assert await task
        # One that never answers is let go as soon as somebody else has.
        never = Asked(asyncio.get_running_loop().create_future())
        task = create(world, asker=never)
        waiting = await world.pending()
        await world.tools.approvals.decide(
            "default", waiting.id, decided("denied"), "eve"
        )
        await denied(task)
        assert never.let_go
        by = [e["client"] for e in await world.audit() if e["kind"] != "call"]
        assert by == ["client:tester", "client:tester", "eve", "eve", "eve"]

    run(scenario, sources=service)


@pytest.mark.parametrize(
    ("elicitation", "asked"),
    [("admin", [True]), ("always", [True, False]), ("never", [])],
)
def test_who_is_asked_about_calls_of_its_own(
    run: Callable[..., None], elicitation: str, asked: list[bool]
) -> None:
    async def scenario(world: World) -> None:
        for admin in (True, False):
            yes = Asked(Decision(approved=True, reason="I approve of myself"))
            task = create(world, asker=yes, admin=admin)
            if admin in asked:
                assert await task
                continue
            waiting = await world.pending()
            await world.tools.approvals.decide(
                "default", waiting.id, decided("denied", "no"), "eve"
            )
            assert (await denied(task)).reason == "no"
            # It is told what is waited for, and that it needn't ask anybody.
            assert [question.decides for question in yes.questions] == [False]

    run(scenario, sources=service, approval_elicitation=elicitation)


def test_nobody_decides(run: Callable[..., None]) -> None:
    async def scenario(world: World) -> None:
        task = create(world)
        waiting = await world.pending()
        error = await denied(task)
        assert error.reason == "nobody decided within 0.3 seconds"
        assert error.code == "approval_expired"
        with pytest.raises(ApprovalDecidedError, match="already expired"):
            await world.tools.approvals.decide(
                "default", waiting.id, decided("approved"), "eve"
            )

    run(scenario, sources=service, approval_timeout_seconds=0.3)


def test_the_end_of_a_task_or_call_withdraws(run: Callable[..., None]) -> None:
    async def scenario(world: World) -> None:
        approvals = world.tools.approvals
        task = create(world, task_id="over")
        waiting = await world.pending()
        await world.tools.end_task("other", "over")
        assert (await approvals.get("default", waiting.id)).state == "pending"
        await world.tools.end_task("default", "over")
        assert (await denied(task)).code == "approval_withdrawn"
        task = create(world)
        waiting = await world.pending()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await approvals.get("default", waiting.id)).state == "withdrawn"
        assert await approvals.pending("default") == ([], 0)
        outcomes = [e["outcome"] for e in await world.audit() if e["kind"] == "call"]
        assert outcomes == ["denied", "cancelled"]

    run(scenario, sources=service)


def test_another_server_decides(
    run: Callable[..., None], postgresql: PostgreSQL
) -> None:
    url = postgresql.database()

    async def scenario(world: World) -> None:
        async with tools_on(world.folder, url) as other:
            for decision in ("approved", "denied"):
                task = create(world)
                waiting = await world.pending()
                await other.approvals.decide(
                    "default", waiting.id, decided(decision), "e"
                )
                if decision == "approved":
                    assert await task
                else:
                    await denied(task)

    run(scenario, sources=service, url=url)


def test_another_server_changes_rules_and_sources(
    run: Callable[..., None], postgresql: PostgreSQL
) -> None:
    url = postgresql.database()

    async def scenario(world: World) -> None:
        async with tools_on(world.folder, url, sources_private=True) as other:
            read_only = {"owner": "o"}
            assert await world.call("github.issues.list", read_only)
            made = await other.policies.add("default", deny("github.**"), "eve")
            while await _succeeds(world, "github.issues.list", read_only):
                pass
            await other.policies.delete("default", made.rule.id, "eve")
            while not await _succeeds(world, "github.issues.list", read_only):
                pass
            fields = {**world.services.openapi(name="added"), "workspace": "default"}
            await other.sources.add(read_source(fields), "eve")
            while not await _succeeds(world, "added.odd", {"kind": "text"}):
                pass
            await other.sources.delete("default", "added", "eve")
            while await _succeeds(world, "added.odd", {"kind": "text"}):
                pass

    run(scenario, sources=service, sources_private=True, url=url)


async def _succeeds(world: World, path: str, given: Any) -> bool:
    try:
        await world.call(path, given)
    except ToolError as error:
        if error.code not in {"policy_denied", "tool_not_found"}:
            raise
        return False
    return True


def test_over_postgresql(run: Callable[..., None], postgresql: PostgreSQL) -> None:
    async def scenario(world: World) -> None:
        tools = world.tools
        task = create(world, session="s" * 500, client="c" * 500)
        waiting = await world.pending()
        decisions = await asyncio.gather(
            *(
                tools.approvals.decide("default", waiting.id, decided(state), "eve")
                for state in ("approved", "denied", "approved", "denied")
            ),
            return_exceptions=True,
        )
        lost = [made for made in decisions if isinstance(made, BaseException)]
        assert len(lost) == 2
        assert all(isinstance(made, ApprovalDecidedError) for made in lost)
        await asyncio.gather(task, return_exceptions=True)
        with pytest.raises(ApprovalMissingError):
            await tools.approvals.get("default", "\x00")
        with pytest.raises(ToolError):
            await world.call("odd\x00\ud800", {"a": "\x00\ud800"})
        rule = await tools.policies.add("default", deny("github.**"), "eve")
        assert (await denied(create(world))).code == "policy_denied"
        await tools.policies.delete("default", rule.rule.id, "eve")
        fields = {**world.services.openapi(name="added"), "workspace": "a"}
        await tools.sources.add(read_source(fields), "eve")
        await tools.sources.delete("a", "added", "eve")
        await tools.end_task("default", "task-1")
        assert len(await world.audit()) == 6
        await tools.audit.prune()
        await tools.approvals.prune()

    run(scenario, sources=service, url=postgresql.database())


def test_a_rule_that_comes_while_waiting_counts(run: Callable[..., None]) -> None:
    async def scenario(world: World) -> None:
        task = create(world)
        waiting = await world.pending()
        await world.tools.policies.add("default", deny("github.**"), "eve")
        await world.tools.approvals.decide(
            "default", waiting.id, decided("approved"), "eve"
        )
        assert (await denied(task)).code == "policy_denied"

    run(scenario, sources=service)


def test_there_is_a_bound(run: Callable[..., None]) -> None:
    async def scenario(world: World) -> None:
        first = create(world)
        waiting = await world.pending()
        with pytest.raises(ToolError) as caught:
            await create(world)
        assert caught.value.code == "too_many_approvals"
        await world.tools.approvals.decide(
            "default", waiting.id, decided("denied"), "eve"
        )
        await denied(first)

    run(scenario, sources=service, workspace_approvals_max=1)


def test_the_audit_has_everything(run: Callable[..., None]) -> None:
    async def scenario(world: World) -> None:
        await world.call("github.issues.list", {"owner": "o"}, task_id="t1")
        with pytest.raises(ToolError):
            await world.call("github.odd", {"kind": "none"})
        with pytest.raises(ToolError):
            await world.call("github.nothing", {"password": "hunter2"})
        with pytest.raises(ToolError):
            await world.call("odd\x00\ud800", {"a": "\x00\ud800"})
        with pytest.raises(ApprovalDeniedError):
            await world.call("github.post_form", {})
        task = create(world)
        waiting = await world.pending()
        running = (await world.audit())[-1]
        assert (running["outcome"], running["decision"]) == (
            "running",
            "require_approval",
        )
        await world.tools.approvals.decide(
            "default", waiting.id, decided("approved", "yes"), "eve"
        )
        await task
        entries = await world.audit()
        seen = [(e["path"], e["decision"], e["outcome"], e["code"]) for e in entries]
        assert seen == [
            ("github.issues.list", "allow", "completed", None),
            ("github.odd", "allow", "failed", "http_error"),
            ("github.nothing", "", "failed", "tool_not_found"),
            ("odd\ufffd\ufffd", "", "failed", "tool_not_found"),
            ("github.post_form", "deny", "denied", "policy_denied"),
            ("github.issues.create", "require_approval", "completed", None),
            ("github.issues.create", "approved", "completed", None),
        ]
        assert entries[4]["rule"] == "config-1"
        assert entries[5]["approval_id"] == waiting.id
        assert entries[6]["reason"] == "yes"
        assert all(entry["ms"] is not None for entry in (entries[0], entries[5]))
        assert "hunter2" not in json.dumps(entries)

    policies = [{"workspace": "default", "effect": "deny", "tool": "github.post_form"}]
    run(scenario, sources=service, policies=policies)


def test_the_audit_forgets(run: Callable[..., None]) -> None:
    async def scenario(world: World) -> None:
        await world.call("github.issues.list", {"owner": "o"})
        await world.tools.audit.prune()  # the sweeper does it at the start, then hourly
        assert await world.audit() == []

    run(scenario, sources=service, audit_ttl_seconds=1e-6)
