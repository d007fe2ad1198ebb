"""`isokernel cluster` where Ray isn't installed."""

from __future__ import annotations

import sys

import pytest

from isoserver.cli.cluster import run


@pytest.mark.parametrize("command", ["up", "nodes", "down"])
def test_without_ray_it_says_what_to_install(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    for name in ("service", "placement"):
        monkeypatch.delitem(sys.modules, f"isoserver.ray.{name}", raising=False)
    assert run([command]) == 1
    assert capsys.readouterr().err == (
        "isokernel cluster: Ray isn't installed: pip install 'isokernel[ray]'\n"
    )
