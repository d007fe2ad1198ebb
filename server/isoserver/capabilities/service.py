"""The capabilities of all contexts: whoever provides them, and what is granted."""

from __future__ import annotations

import asyncio
import copy
import itertools
import json
import os
from collections import OrderedDict
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

from sqlalchemy import Column, String, Table, Text, delete, insert, select

from isokernel.capabilities import (
    Asked,
    CapabilityDeniedError,
    Decisions,
    Grant,
    Holder,
    Limits,
    Policy,
    read_policy,
    read_rule,
)
from isokernel.capabilities.policy import decide
from isokernel.capabilities.targets import read_pattern
from isoserver.capabilities.workspaces import Narrowed, WorkspacePolicies
from isoserver.errors import ApprovalDeniedError, DatabaseError, ToolError
from isoserver.storage.database import METADATA
from isoserver.tools.audit import Entry
from isoserver.tools.calls import Call as ToolCall
from isoserver.tools.calls import Requester
from isoserver.tools.sources.credentials import resolve

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from pathlib import Path

    from structlog.typing import FilteringBoundLogger

    from isokernel.capabilities import Answered, Noted, Providers, Tell
    from isokernel.capabilities.policy import Verdict
    from isokernel.capabilities.targets import Pattern
    from isoserver.contexts.calls import Request
    from isoserver.contexts.context import Identity, Key
    from isoserver.settings.server import ServerSettings
    from isoserver.storage.changes import Changes
    from isoserver.storage.database import Database
    from isoserver.tools.approvals import Approvals
    from isoserver.tools.audit import Audit

    Store: TypeAlias = Callable[
        [Key, str, bytes, Callable[[str], bool]], Awaitable[bool]
    ]

__all__ = ["POLICIES", "Capabilities", "ContextGrant"]

T = TypeVar("T")
POLICIES: Final = Table(
    "context_policies",
    METADATA,
    Column("workspace", String, primary_key=True),
    Column("id", String, primary_key=True),
    Column("policy", Text, nullable=False),
)

_CODES: Final = {"denied": "capability_denied", "passed": "capability_passed"}
_EVERYBODY: Final = "*"
_OWN: Final = "ISOKERNEL_"
"""Variables of the server itself, which have its keys."""
_REPORTS_MAX: Final = 10_000
_UNWRITTEN_MAX: Final = 1000
_OF_SERVER: Final = "--{capability} {pattern}, or a rule of the server,"
_NOBODY: Final = Requester(
    "", "", admin=False, asker=None, waiting=lambda _begins: None
)
"""Who has ordered code that is of no run: its approvals are decided over REST."""
_OF_CONTEXT: Final = "{capability} {pattern} in the capabilities of the context"


class ContextGrant:
    """What a context has, from the launch of its process to its end.

    Attributes:
        context_id: Names it to the providers; of no earlier process.
        identity: Which context.
        decisions: What was asked for, and what came of it.
        lock: Which versions of packages it has.
    """

    def __init__(
        self,
        context_id: str,
        identity: Identity,
        decisions: Decisions,
        lock: dict[str, Any],
    ) -> None:
        """Begin with what earlier processes of the context have asked."""
        self.context_id = context_id
        self.identity = identity
        self.decisions = decisions
        self.lock = lock


class Capabilities:
    """Answers the calls of contexts; used from the event loop only."""

    def __init__(  # noqa: PLR0913 - the parts of a server that decide
        self,
        settings: ServerSettings,
        providers: Providers,
        log: FilteringBoundLogger,
        *,
        database: Database | None = None,
        changes: Changes | None = None,
        approvals: Approvals | None = None,
        audit: Audit | None = None,
        folder: Callable[[Key], Path] | None = None,
        store: Store | None = None,
    ) -> None:
        """Read the policies of the settings.

        Args:
            settings: Limits and policies, and whether servers share the database.
            providers: What the server holds.
            log: Told of defects.
            database: Holds the policies of contexts.
            changes: Tells when what narrows a workspace is changed; without, nothing
                does.
            approvals: Where approvals are asked for; without, they are denied.
            audit: Notes what was decided.
            folder: Returns where a context's files are.
            store: Writes a file of a context, if its path is allowed; tells whether
                that is so.
        """
        self._limits = Limits(
            settings.capability_calls_max, settings.capability_call_bytes_max
        )
        self._log = log
        self._approvals = approvals
        self._audit = audit
        self._folder = folder
        self._store = store
        self._holder = Holder(providers, self._report)
        self._numbers = itertools.count(1)
        self._settings = settings
        self._database = database
        self._narrowed: WorkspacePolicies | None = None
        if database is not None and changes is not None:
            self._narrowed = WorkspacePolicies(database, changes, audit)
        self._contexts: dict[Key, Policy] = {}
        self._environments: dict[str, dict[str, str]] = {}
        self._given: dict[Key, dict[str, Any]] = {}
        self._workspaces: dict[str, Policy] = {}
        self._secrets: dict[str, list[tuple[list[Pattern], str, str]]] = {}
        # What was asked for outlives a process: the report is read afterwards.
        self._decisions: OrderedDict[Key, Decisions] = OrderedDict()
        self._locks: OrderedDict[Key, dict[str, Any]] = OrderedDict()
        self._writing: set[asyncio.Future[Any]] = set()

    def _report(self, name: str, error: Exception) -> None:
        self._log.error("a call of a capability failed", call=name, exc_info=error)

    # -- policies ----------------------------------------------------------------------

    def of_workspace(self, workspace: str) -> Policy:
        """Return the policy that the settings have for a workspace."""
        found = self._workspaces.get(workspace)
        if found is None:
            made = read_policy(
                self._settings.chosen(),
                setting=_OF_SERVER,
                public_only=True,
                mode=self._settings.capability_mode,
            )
            rules = tuple(
                read_rule(rule.as_rule(), f"capability-{number}")
                for number, rule in enumerate(self._settings.capability_rules, 1)
                if rule.workspace in {workspace, _EVERYBODY}
            )
            found = made._replace(rules=made.rules + rules)
            self._workspaces[workspace] = found
        return found

    def of_context(self, key: Key) -> Policy | None:
        """Return what narrows a context's workspace's policy, if anything does."""
        return self._contexts.get(key)

    def given(self, key: Key) -> dict[str, Any]:
        """Return a context's policy as it was given."""
        return self._given.get(key, {})

    async def narrowed(self, workspace: str, *, unheard: bool = False) -> Narrowed:
        """Return what narrows a workspace's policy; its administrator has set it.

        Args:
            workspace: The workspace.
            unheard: Also if it was set through another server that hasn't told yet.

        Raises:
            DatabaseError: It can't be read.
        """
        if self._narrowed is None:
            return Narrowed()
        return await self._narrowed.current(workspace, unheard=unheard)

    async def narrow(self, workspace: str, given: dict[str, Any], by: str) -> Narrowed:
        """Narrow a workspace's policy, for what runs as well.

        Args:
            workspace: The workspace.
            given: As `read_policy` takes it; empty takes back what there was.
            by: Who wants that.

        Raises:
            SettingsError: It can't be understood.
            DatabaseError: It can't be kept.
        """
        if self._narrowed is None:
            return Narrowed()
        return await self._narrowed.set(workspace, given, by)

    async def _in_force(
        self, workspace: str, narrowing: Sequence[Policy]
    ) -> tuple[Policy, ...]:
        """Return the policies that decide now: the workspace's, and what narrows it."""
        narrowed = (await self.narrowed(workspace)).policy
        of_workspace = () if narrowed is None else (narrowed,)
        return (self.of_workspace(workspace), *of_workspace, *narrowing)

    async def start(self) -> None:
        """Read what earlier servers have left: what narrows workspaces and contexts.

        Where servers share a database, a context is another's until it is taken, and
        its policy is read then: it is changed, or dropped with the context, unheard.
        """
        if self._narrowed is not None:
            await self._narrowed.start()
        if self._database is None or self._settings.cluster:
            return
        async with self._database.connect() as connection:
            for row in await connection.execute(select(POLICIES)):
                self._keep((row.workspace, row.id), json.loads(row.policy))

    def _keep(self, key: Key, given: dict[str, Any]) -> None:
        if given:
            self._contexts[key] = read_policy(given, setting=_OF_CONTEXT)
            self._given[key] = given
        else:
            self._contexts.pop(key, None)
            self._given.pop(key, None)

    async def set(self, key: Key, given: dict[str, Any]) -> None:
        """Give a context a policy, which narrows its workspace's from now on.

        Args:
            key: The context's.
            given: As `read_policy` takes it; empty takes back what there was.

        Raises:
            SettingsError: It can't be understood.
            DatabaseError: It can't be kept.
        """
        if not given and key not in self._given:
            return
        self._keep(key, given)
        if self._database is None:
            return
        of_context = (POLICIES.c.workspace == key[0]) & (POLICIES.c.id == key[1])
        async with self._database.begin(self._database.held(key)) as connection:
            await connection.execute(delete(POLICIES).where(of_context))
            if given:
                row = {"workspace": key[0], "id": key[1], "policy": json.dumps(given)}
                await connection.execute(insert(POLICIES).values(row))

    async def load(self, key: Key) -> None:
        """Read the policy of a context that another server had until now."""
        await self.drop(key)
        if self._database is None:
            return
        of_context = (POLICIES.c.workspace == key[0]) & (POLICIES.c.id == key[1])
        async with self._database.connect() as connection:
            found = await connection.scalar(select(POLICIES.c.policy).where(of_context))
        if found is not None:
            self._keep(key, json.loads(found))

    async def drop(self, key: Key) -> None:
        """Know nothing of a context that is another server's from now on."""
        self._decisions.pop(key, None)
        self._locks.pop(key, None)
        self._keep(key, {})

    async def forget(self, key: Key) -> None:
        """Drop what is kept of a context, which is deleted."""
        self._decisions.pop(key, None)
        self._locks.pop(key, None)
        await self.set(key, {})

    def workspace_answer(self, workspace: str) -> dict[str, Any]:
        """Return a workspace's policy, as the settings have it, as plain data."""
        rules = [
            rule.as_rule()
            for rule in self._settings.capability_rules
            if rule.workspace in {workspace, _EVERYBODY}
        ]
        return {**self._settings.chosen(), "rules": rules}

    def _known(self, workspace: str) -> Narrowed:
        return Narrowed() if self._narrowed is None else self._narrowed.known(workspace)

    def shown(self, key: Key) -> dict[str, Any]:
        """Return what a context's code may do, and what it has asked for."""
        decisions = self.seen(key)
        return {
            "context": self.given(key),
            "narrowed": self._known(key[0]).given,
            "workspace": self.workspace_answer(key[0]),
            "mode": self._settings.capability_mode,
            **decisions.shown(),
        }

    def lock(self, key: Key) -> dict[str, Any]:
        """Return a copy of a context's lock; empty if it has no packages."""
        return copy.deepcopy(self._locks.get(key, {}))

    def set_lock(self, key: Key, lock: Mapping[str, Any]) -> None:
        """Have a context begin with a lock, before it makes a call."""
        self._locks.pop(key, None)
        if lock:
            _kept(self._locks, key, lambda: copy.deepcopy(dict(lock)))

    def seen(self, key: Key) -> Decisions:
        """Return what a context has asked for."""
        return _kept(self._decisions, key, lambda: Decisions(partial(self._note, key)))

    # -- calls -------------------------------------------------------------------------

    def grant(self, identity: Identity) -> ContextGrant:
        """Return what a context has, from the launch of its process to its end."""
        context_id = f"{identity.workspace}/{identity.id}/{next(self._numbers)}"
        key = identity.workspace, identity.id
        lock = _kept(self._locks, key, dict)
        return ContextGrant(context_id, identity, self.seen(key), lock)

    async def answer(
        self,
        request: Request,
        granted: ContextGrant,
        narrowing: Callable[[], Sequence[Policy]],
        waiting: Callable[[bool], None],
        tell: Tell,
    ) -> Answered:
        """Answer a call. Raises nothing but CancelledError.

        Args:
            request: The call.
            granted: What `grant` returned.
            narrowing: Returns the policies that narrow the workspace's now.
            waiting: Told when the wait for an approval begins, and when it ends.
            tell: Told how far something has come that takes long.
        """
        identity = granted.identity
        key = identity.workspace, identity.id

        async def approve(asked: Asked, verdict: Verdict) -> bool:
            holds = await self._approve(identity, request, waiting, asked, verdict)
            # What was forbidden while somebody thought about it stays forbidden.
            policies = await self._in_force(identity.workspace, narrowing())
            now, _ = decide(policies, asked)
            if now.effect == "deny":
                setting, reason = now.setting(asked), now.reason
                raise CapabilityDeniedError(
                    asked.capability, asked.target, setting, reason=reason
                )
            return holds

        async def checked(asked: Asked) -> None:
            usable = None if self._approvals is None else approve
            policies = await self._in_force(identity.workspace, narrowing())
            await granted.decisions.decide(policies, asked, usable)

        grant = Grant(
            granted.context_id,
            checked,
            key=key,
            folder=None if self._folder is None else self._folder(key),
            limits=self._limits,
            lock=granted.lock,
            secrets=partial(self.secrets, identity.workspace),
            show=partial(self.shown, key),
            tell=tell,
        )
        return await self._holder.answer(
            request.name, request.arguments, request.data, grant
        )

    async def allow_packages(
        self, identity: Identity, lock: Mapping[str, Any], policies: Sequence[Policy]
    ) -> None:
        """Return if a context may have all packages of a lock; see `CallHolder`.

        Raises:
            CapabilityDeniedError: It may not have one of them.
        """
        from isokernel.packages.supplies import (  # noqa: PLC0415 - httpx
            decide_lock,
        )

        seen = self.seen((identity.workspace, identity.id))
        in_force = await self._in_force(identity.workspace, policies)

        async def check(target: str, facts: Mapping[str, Any]) -> None:
            await seen.decide(in_force, Asked("modules", target, facts), None)

        await decide_lock(lock, check)

    async def store(
        self, key: Key, narrowing: Sequence[Policy], path: str, data: bytes
    ) -> bool:
        """Write a file of a context, if its code may do so; see `CallHolder`."""
        if self._store is None:
            return False
        policies = await self._in_force(key[0], narrowing)

        def allowed(path: str) -> bool:
            verdict, _ = decide(policies, Asked("files", path, {"access": "write"}))
            return verdict.effect == "allow"

        return await self._store(key, path, data, allowed)

    async def close(self, granted: ContextGrant) -> None:
        """End what is held for a context, whose process has ended."""
        await self._holder.close(granted.context_id)

    async def settle(self) -> None:
        """Wait until what was noted is written."""
        if self._narrowed is not None:
            await self._narrowed.close()
        if self._writing:
            await asyncio.wait(self._writing)

    def secrets(self, workspace: str, asked: Asked) -> dict[str, str]:
        """Return the values of a workspace's secrets for a request, by placeholder.

        A host counts as the URL names it: where a name leads is said by whoever owns
        it, so an address among a secret's hosts fits no name.
        """
        return {
            placeholder: value
            for hosts, placeholder, value in self._secrets_of(workspace)
            if any(host.fit(asked).certain for host in hosts)
        }

    def environment(
        self, workspace: str, narrowing: Sequence[Policy]
    ) -> Mapping[str, str]:
        """Return the variables that code sees: allowed ones, and secrets' names."""
        found = self._environments.get(workspace)
        if found is None:
            policy = self.of_workspace(workspace)
            found = self._environments[workspace] = {
                name: value
                for name, value in os.environ.items()
                if not name.startswith(_OWN) and _shows(policy, name)
            }
            found.update(
                (secret.name, _placeholder(secret.name))
                for secret in self._settings.secrets
                if secret.workspace == workspace
            )
        if not found:
            return found
        narrowed = self._known(workspace).policy
        if narrowed is not None:
            narrowing = (narrowed, *narrowing)
        if not narrowing:
            return found
        return {
            name: value
            for name, value in found.items()
            if all(_shows(policy, name) for policy in narrowing)
        }

    def _secrets_of(self, workspace: str) -> list[tuple[list[Pattern], str, str]]:
        found = self._secrets.get(workspace)
        if found is None:
            found = self._secrets[workspace] = [
                (
                    [read_pattern("net", host) for host in secret.hosts],
                    _placeholder(secret.name),
                    resolve(secret.value),
                )
                for secret in self._settings.secrets
                if secret.workspace == workspace
            ]
        return found

    # -- approvals and the audit -----------------------------------------------------

    async def _approve(
        self,
        identity: Identity,
        request: Request,
        waiting: Callable[[bool], None],
        asked: Asked,
        verdict: Verdict,
    ) -> bool:
        assert self._approvals is not None  # noqa: S101 - else nobody calls this
        requester = request.requester or _NOBODY
        call = ToolCall(
            identity.workspace,
            session=identity.id,
            client=requester.client,
            task_id=requester.run_id,
            call_id=f"{identity.id}.{request.call_id}",
        )
        subject = _Subject(asked.capability, f"{request.name}: {asked.target}")
        shown = json.dumps({"target": asked.target, **asked.facts}, default=str)
        waiting(True)  # noqa: FBT003 - the interface of those who wait
        try:
            approval = await self._approvals.request(call, subject, verdict.rule, shown)
            decides = self._approvals.may_decide(admin=requester.admin)
            await self._approvals.wait(approval, requester.asker, decides=decides)
            return True  # noqa: TRY300 - as long as the context lives
        except ApprovalDeniedError as error:
            setting = verdict.setting(asked)
            raise CapabilityDeniedError(
                asked.capability, asked.target, setting, reason=error.reason
            ) from error
        except ToolError as error:
            raise CapabilityDeniedError(
                asked.capability, asked.target, "an approval", reason=str(error)
            ) from error
        finally:
            waiting(False)  # noqa: FBT003

    async def _note(self, key: Key, noted: Noted) -> None:
        """Have a decision written; what is allowed needn't wait for that."""
        if self._audit is None:
            return
        asked, verdict, outcome = noted
        if asked.capability == "files" and outcome == "allowed":
            return  # a context's own folder
        done = asked.facts.get("method") or asked.facts.get("access") or ""
        entry = Entry(
            key[0],
            "capability",
            "",
            asked.capability,
            session=key[1],
            input=json.dumps({"target": asked.target, **asked.facts}, default=str),
            decision=verdict.effect,
            rule=verdict.rule,
            reason=f"{done} {asked.target}".strip(),
            outcome="denied" if outcome == "denied" else "completed",
            code=_CODES.get(outcome),
        )
        await self._write(self._audit.add(entry))

    async def _write(self, adding: Awaitable[str]) -> None:
        writing = asyncio.ensure_future(_unless_it_fails(adding))
        self._writing.add(writing)
        writing.add_done_callback(self._writing.discard)
        if len(self._writing) > _UNWRITTEN_MAX:
            await asyncio.shield(writing)


def _kept(store: OrderedDict[Key, T], key: Key, make: Callable[[], T]) -> T:
    """Return what is kept of a context, made if there is nothing; the oldest goes."""
    found = store.get(key)
    if found is None:
        found = store[key] = make()
        if len(store) > _REPORTS_MAX:
            store.popitem(last=False)
    return found


def _placeholder(name: str) -> str:
    return f"{{{{secret:{name}}}}}"


def _shows(policy: Policy, name: str) -> bool:
    return policy.decide(Asked("env", name)).effect == "allow"


class _Subject:
    """What an approval is about."""

    def __init__(self, path: str, description: str) -> None:
        self.path = path
        self.description = description


async def _unless_it_fails(adding: Awaitable[str]) -> None:
    with suppress(DatabaseError):  # the log has it
        await adding
