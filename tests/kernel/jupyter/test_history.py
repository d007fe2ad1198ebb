from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

import pytest

from isokernel.errors import MessageError
from isokernel.jupyter.history import History

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def opened(path: Path | None, rows_max: int = 1000) -> History:
    return History(str(path) if path else None, "javascript", rows_max=rows_max)


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    """A history with three cells, in a file."""
    history = opened(tmp_path / "folder" / "history.sqlite")
    for line, source in enumerate(["a = 1", "b = 2", "a = 1"], start=1):
        history.add(line, source, f"result {line}")
    yield history
    history.close()


def inputs(history: History, **request: Any) -> list[object]:
    return [row[2] for row in history.answer(request)]


def test_tail_gives_the_last_in_their_order(history: History) -> None:
    assert inputs(history, hist_access_type="tail", n=2) == ["b = 2", "a = 1"]


def test_range_takes_lines_of_this_session(history: History) -> None:
    request = {"hist_access_type": "range", "session": 0, "start": 2, "stop": 3}
    assert history.answer(request) == [(1, 2, "b = 2")]


def test_output_comes_with_the_input_on_request(history: History) -> None:
    rows = history.answer({"hist_access_type": "tail", "n": 1, "output": True})
    assert rows == [(1, 3, ("a = 1", "result 3"))]


def test_search_takes_a_glob(history: History) -> None:
    found = inputs(history, hist_access_type="search", pattern="a*")
    assert found == ["a = 1", "a = 1"]
    assert inputs(history, hist_access_type="search", pattern="b") == []


def test_search_can_leave_out_repetitions(history: History) -> None:
    request = {"hist_access_type": "search", "pattern": "*", "unique": True}
    assert inputs(history, **request) == ["b = 2", "a = 1"]
    assert inputs(history, **request, n=1) == ["a = 1"]


def test_sessions_follow_one_another(tmp_path: Path) -> None:
    path = tmp_path / "history.sqlite"
    first = opened(path)
    first.add(1, "first", None)
    first.close()
    second = opened(path)
    second.add(1, "second", None)
    assert inputs(second, hist_access_type="tail", n=9) == ["first", "second"]
    last = {"hist_access_type": "range", "session": -1}
    assert second.answer(last) == [(1, 1, "first")]
    second.close()


def test_several_kernels_write_at_once(tmp_path: Path) -> None:
    kernels = [opened(tmp_path / "history.sqlite") for _ in range(5)]
    for number, kernel in enumerate(kernels):
        kernel.add(1, f"{number}", None)
        kernel.write()
    found = inputs(kernels[0], hist_access_type="tail", n=99)
    assert found == ["0", "1", "2", "3", "4"]
    for kernel in kernels:
        kernel.close()


def test_a_locked_file_keeps_the_cells_for_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("isokernel.jupyter.history._LOCK_SECONDS", 0.01)
    path = tmp_path / "history.sqlite"
    history = opened(path)
    history.add(1, "a", None)
    history.write()
    other = sqlite3.connect(path)
    other.execute("BEGIN IMMEDIATE")
    history.add(2, "b", None)
    history.write()
    assert "locked" in capsys.readouterr().err
    assert history.wait_time() is not None
    other.rollback()
    other.close()
    history.write()
    assert inputs(history, hist_access_type="tail", n=9) == ["a", "b"]
    history.close()


def test_a_damaged_file_costs_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "history.sqlite"
    path.write_bytes(b"not a database" * 100)
    history = opened(path)
    history.add(1, "kept", None)
    history.write()
    assert "kept in memory only" in capsys.readouterr().err
    assert inputs(history, hist_access_type="tail", n=9) == ["kept"]
    history.close()
    assert path.read_bytes().startswith(b"not a database")


def test_a_folder_that_cant_be_made_costs_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    history = opened(tmp_path / "file" / "history.sqlite")
    history.add(1, "kept", None)
    history.write()
    assert "kept in memory only" in capsys.readouterr().err
    history.close()


def test_without_a_file_history_lives_in_memory(tmp_path: Path) -> None:
    history = opened(None)
    history.add(1, "a", None)
    assert inputs(history, hist_access_type="tail", n=9) == ["a"]
    history.close()
    assert not list(tmp_path.iterdir())


def test_the_file_is_for_its_owner_alone(history: History, tmp_path: Path) -> None:
    history.write()
    path = tmp_path / "folder" / "history.sqlite"
    assert path.stat().st_mode & 0o077 == 0


def test_the_oldest_cells_are_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "history.sqlite"
    history = opened(path, rows_max=10)
    for line in range(25):
        history.add(line, f"{line}", None)
    history.close()
    again = opened(path)
    found = inputs(again, hist_access_type="tail", n=99)
    assert found == [f"{line}" for line in range(15, 25)]
    again.close()


def test_nothing_is_written_before_it_is_time(tmp_path: Path) -> None:
    history = opened(tmp_path / "history.sqlite")
    assert history.wait_time() is None
    history.add(1, "a", None)
    wait = history.wait_time()
    assert wait is not None
    assert wait > 0
    assert not (tmp_path / "history.sqlite").exists()
    history.close()


def test_halves_of_surrogate_pairs_are_stored(tmp_path: Path) -> None:
    history = opened(tmp_path / "history.sqlite")
    history.add(1, "'\ud800'", "\udfff")
    history.write()
    assert inputs(history, hist_access_type="tail", n=1) == ["'\ufffd'"]
    history.close()


@pytest.mark.parametrize(
    "request_content",
    [
        {"hist_access_type": "sideways"},
        {"hist_access_type": "tail", "n": "three"},
        {"hist_access_type": "search", "pattern": 3},
        {"hist_access_type": "range", "session": []},
    ],
)
def test_a_malformed_request_is_refused(
    history: History, request_content: dict[str, Any]
) -> None:
    with pytest.raises(MessageError):
        history.answer(request_content)
