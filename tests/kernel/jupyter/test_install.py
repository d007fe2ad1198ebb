from __future__ import annotations

import json
import struct
import sys
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.manager import KernelManager

from isokernel.errors import InstallationError
from isokernel.jupyter.install import KERNELS, LOGOS, find, install, specification

SHARE = Path(__file__).parents[3] / "share" / "jupyter" / "kernels"


def kernel_json(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "kernel.json").read_text())
    return content


@pytest.mark.parametrize("name", KERNELS)
def test_the_shipped_kernelspec_is_the_one_that_is_written(name: str) -> None:
    assert kernel_json(SHARE / name) == specification(KERNELS[name], "python")


@pytest.mark.parametrize("name", KERNELS)
def test_interrupts_come_as_messages(name: str) -> None:
    assert kernel_json(SHARE / name)["interrupt_mode"] == "message"


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("size", [32, 64])
def test_logos_have_the_size_that_they_are_named_for(name: str, size: int) -> None:
    data = (SHARE / name / f"logo-{size}x{size}.png").read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", data[16:24]) == (size, size)


def test_a_prefix_gets_both_kernelspecs(tmp_path: Path) -> None:
    written = install(prefix=tmp_path)
    assert [folder.name for folder in written] == list(KERNELS)
    for folder in written:
        assert folder.parent == tmp_path / "share" / "jupyter" / "kernels"
        assert kernel_json(folder)["argv"][0] == sys.executable
        assert {path.name for path in folder.iterdir()} == {"kernel.json", *LOGOS}


def test_installing_again_replaces(tmp_path: Path) -> None:
    folder = install(prefix=tmp_path)[0]
    (folder / "kernel.json").write_text("{}")
    install(prefix=tmp_path)
    assert kernel_json(folder)["argv"]


def test_a_place_that_cant_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "share").touch()
    with pytest.raises(InstallationError, match="v8-javascript"):
        install(prefix=tmp_path)


def test_what_jupyter_finds_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(prefix=tmp_path)
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "share" / "jupyter"))
    found = {spec.name: spec for spec in find()}
    assert set(found) == set(KERNELS)
    assert found["v8-javascript"].folder.is_relative_to(tmp_path)
    assert found["v8-javascript"].interpreter == sys.executable


def test_jupyter_puts_its_own_python_into_the_shipped_kernelspec() -> None:
    manager = KernelManager(kernel_name="v8-javascript")
    assert manager.format_kernel_cmd()[0] == sys.executable
