"""Loading, and what the checks say."""

from __future__ import annotations

import importlib.util
import mmap
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from isokernel.errors import EngineCheckError, EngineNotFoundError
from isokernel.v8 import library, symbols
from isokernel.v8.selfcheck import check_engine

if TYPE_CHECKING:
    from tests.support.isolates import HostedIsolate


def test_every_symbol_is_there() -> None:
    loaded = library.load()
    for name in symbols.PROTOTYPES:
        assert callable(getattr(loaded, name))
    for symbol in symbols.WASM_FUNCTIONS:
        assert loaded.address(symbol)


def test_the_self_check_passes() -> None:
    checks = list(check_engine())
    assert len(checks) == 11
    assert all(check.passed for check in checks), checks


def test_an_absent_library_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(
        EngineNotFoundError, match=r"mini-racer==0\.14\.1 is not installed"
    ):
        library.find()


def test_another_platform_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "plan9")
    with pytest.raises(EngineNotFoundError, match="no library for this platform"):
        library.find()


def test_a_missing_symbol_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(symbols.PROTOTYPES, "absent", ("_ZN2v87Missing", "-", ""))
    with pytest.raises(EngineCheckError, match="missing absent"):
        library.Library(library.find())


def test_a_fatal_error_is_told_before_the_process_ends(tmp_path: Path) -> None:
    """V8 ends the process at once; its words come first, the signal says the rest."""
    script = tmp_path / "fatal.py"
    script.write_text(
        "from isokernel.v8.isolate import Isolate\n"
        "tell = lambda reason: print('told:', reason, flush=True)\n"
        "isolate = Isolate(on_fatal=tell)\n"
        "isolate.evaluate('`x`.repeat(2 ** 28).split(``)', 'cell-1')\n"
        "print('alive')\n"
    )
    done: Any = subprocess.run(
        [sys.executable, script],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert "told: out of memory" in done.stdout
    assert "alive" not in done.stdout
    assert done.returncode < 0


@pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc")
def test_the_data_of_icu_is_the_files(bench: HostedIsolate) -> None:
    """Processes share its pages; V8 reads them as it read its own."""
    maps = Path("/proc/self/maps").read_text(encoding="utf-8")
    [line] = [line for line in maps.splitlines() if line.endswith("/icudtl.dat")]
    start, end = (int(part, 16) for part in line.split()[0].split("-"))
    data = Path(line.split(maxsplit=5)[5])
    assert 0 <= data.stat().st_size - (end - start) < mmap.PAGESIZE
    code = "new Intl.DateTimeFormat('ja', { dateStyle: 'full', timeZone: 'UTC' })"
    assert bench.cell(f"{code}.format(0)") == "1970年1月1日木曜日"
