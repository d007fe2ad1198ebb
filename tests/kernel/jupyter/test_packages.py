"""Packages and modules in a notebook's kernel."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from tests.support.kernels import Kernel, start_kernel
from tests.support.packages import FILES, FROM_FILES, IMPORT, registry_file
from tests.support.registry import PackageRegistry, held_for, serve_registry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The notebook's."""
    return tmp_path_factory.mktemp("notebook")


@pytest.fixture(scope="module")
def notebook(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Kernel]:
    beside = tmp_path_factory.mktemp("npmrc")
    with registry_file(beside) as npmrc:
        kernel = start_kernel(
            "v8-javascript",
            folder,
            "off",
            ISOKERNEL_PACKAGE_NPMRC=str(npmrc),
            ISOKERNEL_PACKAGE_CACHE_DIR=str(beside / "cache"),
            ISOKERNEL_MODULES="on",
        )
        yield kernel
        kernel.close()


def test_a_notebook_imports(notebook: Kernel) -> None:
    outcome = notebook.run(IMPORT)
    assert outcome.result == "3", outcome.reply
    names = notebook.run("Jupyter.packages().map((p) => p.name).join()").result
    assert names == "'sums,zero'"
    assert notebook.run("require('other')").result == "'other'"


def test_a_notebook_imports_files_beside_it(notebook: Kernel, folder: Path) -> None:
    for path, text in FILES.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    outcome = notebook.run(FROM_FILES)
    assert outcome.result == "'b,local,1'", outcome.reply
    (folder / "out.mjs").symlink_to("/etc/passwd")
    for specifier in ("./out.mjs", "../x.mjs", "./nosuch.mjs"):
        assert notebook.run(f"import '{specifier}'").reply["content"]["ename"]


def test_a_long_download_is_shown(tmp_path: Path, registry: PackageRegistry) -> None:
    npmrc = registry.write_npmrc(tmp_path)
    registry.publish(
        "first",
        files={"index.js": "import 'later'; export default 1"},
        type="module",
        dependencies={"later": "1"},
    )
    registry.publish("later", files={"index.js": "", "pad.txt": "later" * 1000})
    kernel = start_kernel(
        "v8-javascript",
        tmp_path,
        "off",
        ISOKERNEL_PACKAGE_NPMRC=str(npmrc),
        ISOKERNEL_PACKAGE_CACHE_DIR=str(tmp_path / "cache"),
        ISOKERNEL_MODULES="on",
    )
    path = "/later/-/later-1.0.0.tgz"
    with closing(kernel):
        with held_for(registry, path, 0.6):
            outcome = kernel.run("import 'first'; 1")
        again = kernel.run("await import('npm:first@*'); require('later'); 2")
    [begun] = outcome.contents("display_data")
    updates = outcome.contents("update_display_data")
    name = begun["transient"]["display_id"]
    assert "<progress" in begun["data"]["text/html"]
    texts = [one["data"]["text/plain"] for one in (begun, *updates)]
    assert any("of 2, " in text for text in texts), texts
    assert {one["transient"]["display_id"] for one in updates} == {name}
    last = updates[-1]["data"]
    assert set(last) == {"text/plain"}
    assert last["text/plain"].startswith("Downloaded 2 packages (0.0 MB) in ")
    assert again.result == "2", again.reply
    assert not again.contents("display_data")


@pytest.fixture
def registry() -> Iterator[PackageRegistry]:
    with serve_registry() as registry:
        yield registry


def test_a_restored_heap_has_its_versions(
    tmp_path: Path, registry: PackageRegistry
) -> None:
    npmrc = registry.write_npmrc(tmp_path)

    def start(offline: str) -> Kernel:
        return start_kernel(
            "v8-javascript",
            tmp_path,
            "off",
            ISOKERNEL_PACKAGE_NPMRC=str(npmrc),
            ISOKERNEL_PACKAGE_CACHE_DIR=str(tmp_path / "cache"),
            ISOKERNEL_PACKAGE_METADATA_FRESH_SECONDS="0",
            ISOKERNEL_MODULES="on",
            ISOKERNEL_HEAPS_DIR=str(tmp_path / "heaps"),
            ISOKERNEL_PACKAGE_OFFLINE=offline,
        )

    def publish(version: str) -> None:
        files = {"index.js": f"exports.v = '{version}'", "b.js": "exports.b = 1"}
        registry.publish("moving", version, files)

    publish("1.0.0")
    code = "(await import('npm:moving@1')).v"
    with closing(start("off")) as first:
        assert first.run(code).result == "'1.0.0'"
        assert first.run("(await Jupyter.checkpoint('k')).name").result == "'k'"
    publish("1.1.0")
    for offline in ("off", "on"):
        with closing(start(offline)) as later:
            later.run("Jupyter.restore('k')")
            assert later.run(code).result == "'1.0.0'"
            assert later.run("require('moving/b.js').b").result == "1"
            later.run("await Jupyter.checkpoint('k')")
            shown = later.run("Jupyter.packages()[0].ranges.join(' and ')")
            assert shown.result == "'1 and '"
