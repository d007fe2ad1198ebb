from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import nbformat
import pytest
from tests.support.packages import registry_file
from typer.testing import CliRunner

from isokernel._version import __version__
from isoserver.cli.commands import application

if TYPE_CHECKING:
    from pathlib import Path

RUNNER = CliRunner()


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "isokernel", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def written(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def test_version_names_isokernel_and_v8() -> None:
    done = RUNNER.invoke(application, ["version"])
    assert f"isokernel {__version__}, V8 14." in done.output


def test_install_tells_where(tmp_path: Path) -> None:
    done = RUNNER.invoke(application, ["install", "--prefix", str(tmp_path)])
    assert done.exit_code == 0
    folder = tmp_path / "share" / "jupyter" / "kernels" / "v8-typescript"
    assert f"wrote {folder}" in done.output
    assert json.loads((folder / "kernel.json").read_text())["language"] == "typescript"


def test_places_to_install_exclude_each_other(tmp_path: Path) -> None:
    arguments = ["install", "--user", "--prefix", str(tmp_path)]
    assert RUNNER.invoke(application, arguments).exit_code == 2


def test_doctor_finds_this_installation_well() -> None:
    done = run("doctor")
    assert done.returncode == 0, done.stdout
    assert "all is well" in done.stdout


def test_doctor_says_how_to_mend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ISOKERNEL_HISTORY", str(tmp_path / "file" / "history.sqlite"))
    (tmp_path / "file").touch()
    done = run("doctor")
    assert done.returncode == 1
    assert "WRONG history" in done.stdout
    assert "to fix it: make its folder writable" in done.stdout


def test_a_script_is_run_to_its_last_timer(tmp_path: Path) -> None:
    code = (
        "console.log('a'); setTimeout(() => console.log('b'), 20); console.error('c')"
    )
    done = run("run", written(tmp_path / "x.js", code))
    assert (done.returncode, done.stdout, done.stderr) == (0, "a\nb\n", "c\n")


def test_a_typescript_file_is_run(tmp_path: Path) -> None:
    code = "const n: number = await Promise.resolve(4)\nconsole.log(n)"
    assert run("run", written(tmp_path / "x.ts", code)).stdout == "4\n"


def test_a_script_that_throws_fails(tmp_path: Path) -> None:
    done = run("run", written(tmp_path / "x.js", "throw new TypeError('no')"))
    assert done.returncode == 1
    assert "TypeError: no" in done.stderr


def test_a_notebook_is_run_with_its_kernel(tmp_path: Path) -> None:
    notebook = nbformat.v4.new_notebook()
    notebook.metadata.kernelspec = {"name": "v8-javascript", "display_name": "x"}
    notebook.cells = [nbformat.v4.new_code_cell("6 * 7")]
    nbformat.write(notebook, tmp_path / "in.ipynb")
    out = tmp_path / "out.ipynb"
    done = run("run", str(tmp_path / "in.ipynb"), "--output", str(out))
    assert done.returncode == 0, done.stderr
    cells = nbformat.read(out, as_version=4).cells
    assert cells[0].outputs[0].data["text/plain"] == "42"
    assert done.stdout == "42\n"


def test_a_notebook_s_error_is_printed_without_colors(tmp_path: Path) -> None:
    notebook = nbformat.v4.new_notebook()
    notebook.metadata.kernelspec = {"name": "v8-javascript", "display_name": "x"}
    notebook.cells = [nbformat.v4.new_code_cell("throw new TypeError('no')")]
    nbformat.write(notebook, tmp_path / "in.ipynb")
    out = tmp_path / "out.ipynb"
    done = run("run", str(tmp_path / "in.ipynb"), "--output", str(out))
    assert done.returncode == 1
    assert done.stderr.startswith("TypeError: no\n    at cell 1:1:7\n     1 | throw")
    assert "\x1b" not in done.stderr
    [error] = nbformat.read(out, as_version=4).cells[0].outputs
    assert error.traceback[0] == "\x1b[1;31mTypeError\x1b[0m: no"


@pytest.mark.parametrize("name", ["x.py", "x"])
def test_other_files_are_refused(tmp_path: Path, name: str) -> None:
    done = run("run", written(tmp_path / name, ""))
    assert done.returncode == 2
    assert ".ipynb" in done.stderr


def test_a_script_may_what_a_notebook_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = """
    import { sum } from 'npm:sums@1';
    import { half } from './half.ts';
    import { readFileSync } from 'node:fs';
    console.log(sum(1, half(4)), require('other'), readFileSync('a.txt', 'utf8'));
    import('other').then(({ default: other }) => console.log('late', other));
    """
    (tmp_path / "half.ts").write_text("export const half = (n: number) => n / 2")
    (tmp_path / "a.txt").write_text("text")
    script = written(tmp_path / "x.mjs", code)
    with registry_file(tmp_path) as npmrc:
        monkeypatch.setenv("ISOKERNEL_PACKAGE_NPMRC", str(npmrc))
        monkeypatch.setenv("ISOKERNEL_PACKAGE_CACHE_DIR", str(tmp_path / "cache"))
        done = run("run", script)
        assert (done.stdout, done.stderr) == ("3 other text\nlate other\n", "")
        done = run("run", script, "--modules", "npm:sums", "--files", "read")
    assert done.returncode == 1
    assert "--modules npm:other would allow it" in done.stderr
    done = run("run", script, "--modules", "allow")
    assert done.returncode == 2
    assert "means nothing for modules" in done.stderr
    done = run(
        "run", written(tmp_path / "e.js", "await fetch('http://127.0.0.1:8099')")
    )
    assert "--net 127.0.0.1" in done.stderr
