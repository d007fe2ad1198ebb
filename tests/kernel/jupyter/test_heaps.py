"""Saved heaps in notebooks, with Jupyter's own client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.kernels import Kernel


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ISOKERNEL_HEAPS_DIR", str(tmp_path / "heaps"))
    return tmp_path / "heaps"


@pytest.fixture
def kernel(folder: Path, start: Callable[..., Kernel]) -> Kernel:
    assert not folder.exists()
    return start()


def _value(kernel: Kernel, code: str) -> Any:
    outcome = kernel.run(code)
    errors = outcome.contents("error")
    return f"{errors[0]['ename']}: {errors[0]['evalue']}" if errors else outcome.result


def test_a_heap_is_saved_and_restored(kernel: Kernel, folder: Path) -> None:
    kernel.run("let n = 1; const next = () => ++n; function fail() { nope }")
    assert _value(kernel, "(await Jupyter.checkpoint('first')).name") == "'first'"
    assert [path.name for path in folder.iterdir()] == ["first.heap"]
    assert _value(kernel, "next(); next()") == "3"
    outcome = kernel.run("await Jupyter.restore('first'); 'asked ' + n")
    assert outcome.result == "'asked 3'"
    reply = kernel.run("next()").reply
    assert reply["content"]["execution_count"] == 3, "it is the restored heap's"
    assert _value(kernel, "[n, In[1].slice(0, 9), _]") == "[ 2, 'let n = 1', 2 ]"
    [error] = kernel.run("fail()").contents("error")
    assert "at fail (cell 1:1:" in "\n".join(error["traceback"])


def test_it_can_be_restored_again_and_in_another_kernel(
    kernel: Kernel, start: Callable[..., Kernel]
) -> None:
    kernel.run("class A { #p = 5; get p() { return this.#p } }; const a = new A()")
    kernel.run("Jupyter.checkpoint('k')")
    other = start("v8-typescript")
    for driver in (kernel, other, other):
        assert driver.run("Jupyter.restore('k')").contents("error") == []
        assert _value(driver, "a.p") == "5"
        driver.run("a = null")
    assert _value(other, "(a as A).p") == "5"


def test_interrupts_and_input_reach_the_restored_context(kernel: Kernel) -> None:
    kernel.run("Jupyter.checkpoint('k')")
    kernel.run("Jupyter.restore('k')")
    request = kernel.execute("for (;;);")
    kernel.begun(request)
    kernel.manager.interrupt_kernel()
    [error] = kernel.outcome(request).contents("error")
    assert error["ename"] == "KeyboardInterrupt"
    assert kernel.run("console.log('later')").text() == "later\n"


def test_timers_go_on(kernel: Kernel) -> None:
    kernel.run("let fire; const fired = new Promise(r => { fire = r }); let n = 1;")
    kernel.run("setTimeout(() => fire(n), 200); await Jupyter.checkpoint('k')")
    assert _value(kernel, "await fired") == "1"
    kernel.run("n = 2; Jupyter.restore('k')")
    assert _value(kernel, "await fired") == "1"


def test_what_cannot_be_saved_is_told(kernel: Kernel, folder: Path) -> None:
    kernel.run("const words = new Intl.Segmenter().segment('a')")
    said = _value(kernel, "await Jupyter.checkpoint('k')")
    assert said.startswith("Error: the heap can't be saved: ")
    assert said.endswith("(words is a Intl.Segments)")
    assert not folder.exists()
    assert _value(kernel, "[...words].length") == "1"


def test_heaps_are_listed(kernel: Kernel) -> None:
    assert _value(kernel, "Jupyter.checkpoints()") == "[]"
    kernel.run("await Jupyter.checkpoint('a'); await Jupyter.checkpoint('b-2')")
    names = _value(kernel, "Jupyter.checkpoints().map(c => c.name).sort()")
    assert names == "[ 'a', 'b-2' ]"
    code = "Jupyter.checkpoints().every(c => c.size > 1e4 && new Date(c.saved) > 0)"
    assert _value(kernel, code) == "true"


def test_bad_names_and_files_are_refused(kernel: Kernel, folder: Path) -> None:
    for name in ("../up", "", ".hidden", "a/b", "x" * 200):
        said = _value(kernel, f"Jupyter.checkpoint('{name}')")
        assert "is no name" in said, name
    assert "there is no heap 'absent'" in _value(kernel, "Jupyter.restore('absent')")
    kernel.run("await Jupyter.checkpoint('k')")
    file = folder / "k.heap"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0xFF
    file.write_bytes(bytes(data))
    assert "the heap 'k' can't be used" in _value(kernel, "Jupyter.restore('k')")
    file.write_bytes(b"nonsense")
    assert "the heap 'k' can't be used" in _value(kernel, "Jupyter.restore('k')")
    assert _value(kernel, "1 + 1") == "2"
