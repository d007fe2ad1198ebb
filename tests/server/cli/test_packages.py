"""`isokernel packages`: fetched, listed, carried to another folder, removed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.registry import PackageRegistry, serve_registry

from isoserver.cli.packages import run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def registry() -> Iterator[PackageRegistry]:
    with serve_registry() as registry:
        registry.publish("a", "1.2.0", {"index.js": ""}, dependencies={"b": "^1"})
        registry.publish("b", "1.1.0", {"index.js": ""})
        registry.publish("@jsr/own__c", "2.0.0", {"mod.js": ""})
        registry.publish("lost", files={}, dependencies={"nosuch": "1"})
        yield registry


@pytest.fixture
def command(
    registry: PackageRegistry,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., Any]:
    """Runs `isokernel packages`; status, output, errors."""
    npmrc = tmp_path / "npmrc"
    npmrc.write_text(f"registry={registry.url}\n@jsr:registry={registry.url}\n")
    monkeypatch.setenv("ISOKERNEL_PACKAGE_NPMRC", str(npmrc))
    monkeypatch.setenv("ISOKERNEL_PACKAGE_CACHE_DIR", str(tmp_path / "cache"))

    def call(*arguments: str) -> tuple[int, str, str]:
        status = run(list(arguments))
        said = capsys.readouterr()
        return status, said.out, said.err

    return call


def test_packages_are_carried_to_another_machine(
    command: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "x.isopacks"
    status, out, err = command("export", str(file), "a@1", "jsr:@own/c")
    assert (status, out.splitlines()[:-1]) == (
        0,
        ["@jsr/own__c@2.0.0", "a@1.2.0", "b@1.1.0"],
    ), err
    monkeypatch.setenv("ISOKERNEL_PACKAGE_CACHE_DIR", str(tmp_path / "other"))
    monkeypatch.setenv("ISOKERNEL_PACKAGE_OFFLINE", "on")
    assert command("add", str(file))[:2] == (0, f"{file}: 3 packages\n")
    assert command("add", "a@1")[:2] == (0, "a@1.2.0\nb@1.1.0\n")
    listed = command("list")[1]
    assert all(name in listed for name in ("a@1.2.0", "b@1.1.0"))
    assert command("gc", "--bytes-max", "0")[:2] == (0, "removed 3 packages\n")
    status, _, err = command("add", "a@1")
    assert status == 1
    assert "nothing may be fetched" in err


def test_what_files_import_is_fetched(
    command: Callable[..., Any], tmp_path: Path
) -> None:
    script = 'import x from "a"; import "./local.js"; const f = require("node:fs")'
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "x.ts").write_text(script)
    cells = [
        {"cell_type": "code", "source": ['const c = await import("jsr:@own/c@2/x")\n']},
        {"cell_type": "markdown", "source": "import 'nosuch'"},
    ]
    (tmp_path / "code" / "n.ipynb").write_text(json.dumps({"cells": cells}))
    status, out, err = command("prefetch", str(tmp_path / "code"))
    assert (status, out) == (0, "@jsr/own__c@2.0.0\na@1.2.0\nb@1.1.0\n"), err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("add", "nosuch"), "check its spelling"),
        (("add", "a@1", "lost"), "check its spelling (which lost@1.0.0 depends on)"),
        (("add", "a@9"), "no version '9'"),
        (("add", "nowhere.isopacks"), "No such file"),
        (("add", "npm:"), "isn't of the form"),
    ],
)
def test_what_goes_wrong_is_one_line(
    command: Callable[..., Any], arguments: tuple[str, ...], says: str
) -> None:
    status, _, err = command(*arguments)
    assert status == 1
    assert says in err.splitlines()[-1]


def test_only_archives_are_read(command: Callable[..., Any], tmp_path: Path) -> None:
    import tarfile  # noqa: PLC0415 - this test alone

    file = tmp_path / "x.isopacks"
    with tarfile.open(file, "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("packs/1/../../../x"))
    status, _, err = command("add", str(file))
    assert status == 1
    assert "isn't an archive of packages" in err


def test_settings_are_checked(
    command: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ISOKERNEL_PACKAGE_FILES_MAX", "many")
    status, _, err = command("list")
    assert status == 1
    assert "ISOKERNEL_PACKAGE_FILES_MAX=many: expected a number" in err
