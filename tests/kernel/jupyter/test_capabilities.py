"""Calls for what is beyond the context, answered in the Jupyter kernel's process."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import psutil
import pytest
from tests.support.kernels import Kernel, start_kernel_with_calls

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    """A kernel with a small provider, whose code can make calls."""
    folder = tmp_path_factory.mktemp("kernel")
    driver = start_kernel_with_calls(
        folder, ISOKERNEL_NET="a.com", ISOKERNEL_ENV="SEEN_*", SEEN_ONE="1"
    )
    yield driver
    driver.close()


def threads(kernel: Kernel) -> int:
    return psutil.Process(kernel.manager.provisioner.pid).num_threads()  # type: ignore[union-attr]


def test_both_forms_have_their_answers(kernel: Kernel) -> None:
    ask = "('small.echo', {a: 1}, Uint8Array.of(1, 2))"
    for form in (f"await call{ask}", f"callNow{ask}"):
        outcome = kernel.run(f"r = {form}; [r.value, r.data.byteLength]")
        assert outcome.result == "[ { a: 1 }, 2 ]"


def test_errors_and_denials_are_the_codes(kernel: Kernel) -> None:
    failing = "callNow('small.missing', {path: 'x'})"
    assert (
        kernel.run(f"try {{ {failing} }} catch (e) {{ e.code }}").result == "'ENOENT'"
    )
    denied = "await call('small.ask', {capability: 'net', target: 'https://x/'})"
    reply = kernel.run(denied).reply["content"]
    assert reply["ename"] == "CapabilityDeniedError"
    assert reply["evalue"].startswith("net: https://x/ is denied")
    reply = kernel.run("await call('other.thing')").reply["content"]
    assert reply["evalue"] == "other.thing: nobody here provides other"


def test_the_kernels_variables_are_the_policy(kernel: Kernel) -> None:
    known = "scheme: 'https', port: 443, address: '93.184.216.34', network: 'public'"
    asked = f"capability: 'net', target: `https://${{host}}/`, facts: {{host, {known}}}"
    ask = f"host => callNow('small.ask', {{{asked}}})"
    assert kernel.run(f"ask = {ask}; ask('a.com').value").result == "'done'"
    denied = kernel.run("ask('b.com')").reply["content"]["evalue"]
    assert denied == (
        "net: https://b.com/ is denied: no policy allows it; "
        "b.com among ISOKERNEL_NET would allow it"
    )
    shown = kernel.run("(await Jupyter.capabilities()).suggested.net").result
    assert shown is not None
    assert "'a.com', 'b.com'" in shown
    variables = "[process.env.SEEN_ONE, process.env.ISOKERNEL_NET]"
    assert kernel.run(variables).result == "[ '1', undefined ]"


def test_sixteen_megabytes_go_both_ways(kernel: Kernel) -> None:
    size = (16 << 20) - 2
    code = f"(await call('small.echo', {{}}, new Uint8Array({size}))).data.byteLength"
    assert kernel.run(code).result == str(size)


def test_other_requests_are_answered_while_a_call_waits(kernel: Kernel) -> None:
    request = kernel.execute(
        "console.log('begun'); await call('small.wait', {gate: 'a'})"
    )
    kernel.printed(request)
    assert kernel.ask("complete_request", {"code": "cons", "cursor_pos": 4})["matches"]
    kernel.send("interrupt_request", {}, "control")
    assert kernel.outcome(request).reply["content"]["ename"] == "KeyboardInterrupt"


def test_an_interrupt_ends_a_wait_and_the_call(kernel: Kernel) -> None:
    kernel.run("before = callNow('small.waiting').value")
    request = kernel.execute("console.log('begun'); callNow('small.wait', {gate: 'b'})")
    kernel.printed(request)
    kernel.send("interrupt_request", {}, "control")
    assert kernel.outcome(request).reply["content"]["ename"] == "KeyboardInterrupt"
    left = "callNow('small.waiting').value > before"
    code = (
        f"const end = Date.now() + 20_000; while ({left} && Date.now() < end); {left}"
    )
    assert kernel.run(code).result == "false"


def test_an_interrupt_ends_all_calls_of_its_cell(kernel: Kernel) -> None:
    kernel.run("call('small.wait', {gate: 'g'}); 0")
    kernel.run("before = callNow('small.waiting').value")
    many = "for (let i = 0; i < 100; i++) call('small.wait', {gate: 'h'});"
    request = kernel.execute(
        f"{many} console.log('begun'); await call('small.wait', {{gate: 'h'}})"
    )
    kernel.printed(request)
    kernel.send("interrupt_request", {}, "control")
    assert kernel.outcome(request).reply["content"]["ename"] == "KeyboardInterrupt"
    left = "callNow('small.waiting').value !== before"
    code = (
        f"const until = Date.now() + 20_000; while ({left} && Date.now() < until);"
        f"[{left}, (await call('small.echo', {{c: 1}})).value.c]"
    )
    # The one of an earlier cell still waits, and there is room for others.
    assert kernel.run(code).result == "[ false, 1 ]"
    kernel.run("callNow('small.open', {gate: 'g'})")


def test_answers_come_below_the_cell_that_asked(kernel: Kernel) -> None:
    first = kernel.execute(
        "call('small.wait', {gate: 'c'}).then(r => console.log(r.value)); 0"
    )
    kernel.outcome(first)
    kernel.run("callNow('small.open', {gate: 'c'})")
    kernel.printed(first)


def test_a_restored_context_has_lost_its_calls(kernel: Kernel) -> None:
    kernel.run(
        "p = call('small.wait', {gate: 'd'}); p.catch(() => 0);"
        "await Jupyter.checkpoint('waiting')"
    )
    kernel.run("Jupyter.restore('waiting')")
    code = "try { await p } catch (e) { e.code }"
    assert kernel.run(code).result == "'call_lost'"
    assert kernel.run("callNow('small.echo', {b: 1}).value").result == "{ b: 1 }"


def test_the_thread_begins_with_the_first_call_and_ends_with_the_kernel(
    tmp_path: Path,
) -> None:
    kernel = start_kernel_with_calls(tmp_path)
    try:
        kernel.run("1")
        before = threads(kernel)
        kernel.run("callNow('small.echo')")
        assert threads(kernel) == before + 1
        kernel.execute(
            "call('small.wait', {gate: 'e'}); callNow('small.wait', {gate: 'f'})"
        )
        start = time.monotonic()
        kernel.manager.shutdown_kernel()
        assert time.monotonic() - start < 10
    finally:
        kernel.close()
