"""Promises that nobody handles: V8's reports, the log of them, who is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.support.isolates import HostedIsolate

from isokernel.v8 import linkage

if TYPE_CHECKING:
    from collections.abc import Iterator

MANY = 5000


@pytest.fixture(params=["machine code", "Python"])
def bench(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[HostedIsolate]:
    """An isolate in which V8 calls the one or the other."""
    if request.param == "Python":
        monkeypatch.setattr(linkage, "machine_code", lambda *_instructions: None)
    elif linkage.machine_code() is None:
        pytest.skip("this processor or system has no such code")
    made = HostedIsolate()
    yield made
    made.isolate.close()


def _reasons(bench: HostedIsolate) -> list[str]:
    return [bench.text(reason) for reason, _ in bench.isolate.rejections.take()]


@pytest.mark.parametrize("count", [1, 63, 64, 65, 200, 1000])
def test_all_are_there_in_their_order(bench: HostedIsolate, count: int) -> None:
    bench.cell(f"for (let i = 0; i < {count}; i++) Promise.reject(i)")
    assert bench.isolate.rejections.pending
    assert _reasons(bench) == [str(number) for number in range(count)]
    assert not bench.isolate.rejections.pending


@pytest.mark.parametrize(
    ("code", "reasons"),
    [
        ("Promise.reject(1).catch(() => {})", []),
        ("a = Promise.reject(1), b = Promise.reject(2); a.catch(() => {})", ["2"]),
        ("a = Promise.reject(1), b = Promise.reject(2); b.catch(() => {})", ["1"]),
        ("try { await (async () => { throw 1 })() } catch {} Promise.reject(2)", ["2"]),
        ("const all = []; for (let i = 0; i < 300; i++) all.push(Promise.reject(i));"
         "all.forEach((one, i) => i === 7 || one.catch(() => {}))", ["7"]),
        ("new Promise((done, fail) => { fail(1); fail(2); done(3) })", ["1"]),
    ],
)  # fmt: skip
def test_those_with_a_handler_are_not(
    bench: HostedIsolate, code: str, reasons: list[str]
) -> None:
    bench.cell(code)
    assert _reasons(bench) == reasons


def test_they_survive_garbage_collection(bench: HostedIsolate) -> None:
    bench.cell("for (let i = 0; i < 100; i++) Promise.reject({ text: `r${i}` })")
    bench.isolate.collect_garbage()
    taken = bench.isolate.rejections.take()
    texts = [bench.isolate.get(reason, "text") for reason, _ in taken]
    assert texts == [f"r{number}" for number in range(100)]


def test_too_many_are_dropped_and_counted(bench: HostedIsolate) -> None:
    rejections = bench.isolate.rejections
    bench.cell(f"for (let i = 0; i < {MANY}; i++) Promise.reject(i).catch(() => {{}})")
    assert not rejections.pending
    assert rejections.dropped == 0
    bench.cell(f"for (let i = 0; i < {MANY}; i++) Promise.reject(i)")
    assert _reasons(bench) == [str(number) for number in range(1000)]
    assert rejections.dropped == MANY - 1000


def test_no_handle_is_left(bench: HostedIsolate) -> None:
    bench.cell("1")
    isolate = bench.isolate
    held = len(isolate.handles)
    bench.cell("for (let i = 0; i < 100; i++) Promise.reject(i)")
    isolate.rejections.clear()
    bench.cell("for (let i = 0; i < 100; i++) Promise.reject(i).catch(() => {})")
    assert isolate.rejections.take() == []
    bench.cell("1")
    assert len(isolate.handles) == held
