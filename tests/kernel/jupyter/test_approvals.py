"""Approvals that a notebook's user gives, over stdin."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.support.kernels import Kernel, start_kernel_with_calls

if TYPE_CHECKING:
    from collections.abc import Iterator

FACTS = "{host: 'a.com', scheme: 'https', port: 443, method: 'GET'}"
ADDRESS = "{...facts, address: '93.184.216.34', network: 'public'}"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    folder = tmp_path_factory.mktemp("kernel")
    driver = start_kernel_with_calls(folder, ISOKERNEL_NET="ask")
    driver.run(
        f"facts = {FACTS}; ask = (path) => ['small.ask', "
        f"{{capability: 'net', target: `https://a.com/${{path}}`, facts: {ADDRESS}}}]"
    )
    yield driver
    driver.close()


def asked(kernel: Kernel, code: str, answer: str) -> str | None:
    """Run code that asks once; return what it comes to, or why it failed."""
    request = kernel.execute(code, allow_stdin=True)
    question = kernel.client.get_stdin_msg(timeout=20)["content"]["prompt"]
    assert question.startswith("Code wants net: GET https://a.com/")
    kernel.client.input(answer)
    outcome = kernel.outcome(request)
    content = outcome.reply["content"]
    return outcome.result if content["status"] == "ok" else content["evalue"]


@pytest.mark.parametrize("form", ["callNow", "await call"])
def test_the_user_decides(kernel: Kernel, form: str) -> None:
    def code(path: str) -> str:
        return f"({form}(...ask('{path}'))).value"

    name = form.replace(" ", "")
    for _ in range(2):  # once is once
        assert asked(kernel, code(f"{name}-once"), "o") == "'done'"
    denied = asked(kernel, code(f"{name}-denied"), "no")
    assert denied is not None
    assert "the user denied it" in denied
    assert "ISOKERNEL_NET" in denied
    assert asked(kernel, code(f"{name}-always"), "always") == "'done'"
    assert kernel.run(code(f"{name}-always"), allow_stdin=True).result == "'done'"


def test_many_that_ask_for_the_same_are_answered_by_one(kernel: Kernel) -> None:
    code = "(await Promise.all([1, 2, 3].map(() => call(...ask('many'))))).length"
    assert asked(kernel, code, "a") == "3"


def test_a_front_end_that_cannot_ask_denies(kernel: Kernel) -> None:
    reply = kernel.run("await call(...ask('nobody'))").reply["content"]
    assert reply["ename"] == "CapabilityDeniedError"
    assert "the front end doesn't take input" in reply["evalue"]
    assert "ISOKERNEL_NET" in reply["evalue"]


def test_what_a_cell_left_behind_is_not_asked(kernel: Kernel) -> None:
    first = kernel.execute(
        "call('small.wait', {gate: 'late'}).then(() => call(...ask('late')))"
        ".catch(e => { late = e; console.log('denied') }); 0",
        allow_stdin=True,
    )
    kernel.outcome(first)
    kernel.run("callNow('small.open', {gate: 'late'})", allow_stdin=True)
    kernel.printed(first)
    reason = kernel.run("late.message").result
    assert reason is not None
    assert "the cell that asks is over" in reason or "doesn't take input" in reason


def test_an_interrupt_ends_a_question(kernel: Kernel) -> None:
    for form in ("callNow", "await call"):
        request = kernel.execute(f"{form}(...ask('stop'))", allow_stdin=True)
        kernel.client.get_stdin_msg(timeout=20)
        kernel.send("interrupt_request", {}, "control")
        reply = kernel.outcome(request).reply["content"]
        assert reply["status"] == "error"
    assert kernel.run("1 + 1").result == "2"
