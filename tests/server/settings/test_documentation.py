"""Every setting is in the documents for users, as a flag or by its name."""

from __future__ import annotations

from pathlib import Path

import pytest

from isoserver.settings.server import ServerSettings

FOLDER = Path(__file__).parents[3] / "docs"
TABLES = {"sources", "policies", "workspaces", "capability_rules", "secrets"}
"""Of the configuration file; they have no flags."""


@pytest.mark.parametrize("name", sorted({*ServerSettings.fields} - TABLES))
def test_the_documents_name_the_setting(name: str) -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in FOLDER.glob("*.md"))
    assert f"--{name.replace('_', '-')}" in text or name in text
