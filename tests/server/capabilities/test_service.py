"""The capabilities of a server, without one around them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from isokernel.errors import SettingsError
from isoserver.capabilities.service import Capabilities
from isoserver.settings.logs import make_log
from isoserver.settings.reading import read_settings
from isoserver.storage.database import Database

if TYPE_CHECKING:
    from pathlib import Path

KEY = ("default", "c")


def made(database: Database | None = None, **given: Any) -> Capabilities:
    settings = read_settings(**given)
    return Capabilities(settings, {}, make_log("error", None), database=database)


def test_policies_of_contexts_outlive_the_server(tmp_path: Path) -> None:
    async def scenario() -> None:
        database = Database(f"sqlite+aiosqlite:///{tmp_path}/test.sqlite")
        await database.start()
        try:
            first = made(database)
            await first.set(KEY, {"net": ["a.com"]})
            await first.set(("other", "c"), {"net": "off"})
            await first.set(KEY, {"net": ["b.com"]})
            await first.forget(("other", "c"))
            second = made(database)
            await second.start()
            assert second.given(KEY) == {"net": ["b.com"]}
            assert second.of_context(KEY) == first.of_context(KEY)
            assert second.of_context(("other", "c")) is None
        finally:
            await database.close()

    asyncio.run(scenario())


def test_a_policy_that_cant_be_understood_changes_nothing() -> None:
    async def scenario() -> None:
        capabilities = made()
        await capabilities.set(KEY, {"net": ["a.com"]})
        with pytest.raises(SettingsError):
            await capabilities.set(KEY, {"net": ["a b"]})
        assert capabilities.given(KEY) == {"net": ["a.com"]}

    asyncio.run(scenario())


def test_rules_are_of_workspaces() -> None:
    rule = {"effect": "deny", "capability": "net"}
    capabilities = made(
        capability_rules=[
            {**rule, "target": "a.com", "workspace": "red"},
            {**rule, "target": "b.com", "workspace": "*"},
        ]
    )
    found = {
        workspace: [one.id for one in capabilities.of_workspace(workspace).rules]
        for workspace in ("red", "blue")
    }
    assert found == {"red": ["capability-1", "capability-2"], "blue": ["capability-2"]}


def test_variables_of_the_server_itself_are_never_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ISOKERNEL_API_KEY", "the key")
    monkeypatch.setenv("SEEN", "1")
    seen = made(env=["on"]).environment("default", [])
    assert "SEEN" in seen
    assert not [name for name in seen if name.startswith("ISOKERNEL_")]
    assert not made().environment("default", [])
