"""Comms in both directions, and questions to the person at the front end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from isokernel.context.events import CommEvent, Stream
from isokernel.errors import InputUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.local_contexts import LocalContext


def said(context: LocalContext, code: str) -> list[CommEvent]:
    """The comm messages that a cell sends."""
    outcome = context.run(code)
    assert outcome.error is None, outcome.error
    return [e for e in outcome.events if isinstance(e, CommEvent)]


def printed(context: LocalContext) -> str:
    return "".join(e.text for e in context.events if isinstance(e, Stream))


def test_outgoing(context: LocalContext) -> None:
    """A cell opens a comm, sends on it with buffers, and closes it."""
    opened, message, closed = said(
        context,
        "const options = {id: 'x', data: {a: 1}, metadata: {v: 2}};"
        "const c = new Jupyter.Comm('widget', options);"
        "const bytes = (...b) => new Uint8Array(b);"
        "c.send({b: 2}, {buffers: [bytes(1, 2), bytes(3).buffer]});"
        "c.close({c: 3}); c.close(); [c.commId, c.targetName, c.isDisposed]",
    )
    assert (opened.kind, opened.comm_id, opened.target_name) == (
        "comm_open",
        "x",
        "widget",
    )
    assert (opened.data, opened.metadata) == ({"a": 1}, {"v": 2})
    assert (message.kind, message.data) == ("comm_msg", {"b": 2})
    assert [bytes(b) for b in message.buffers] == [b"\x01\x02", b"\x03"]
    assert (closed.kind, closed.data) == ("comm_close", {"c": 3})
    assert context.context.comms.targets() == {}
    assert context.run("c.send({})").error


def test_incoming(context: LocalContext) -> None:
    """The front end opens a comm; messages reach the callbacks, buffers too."""
    context.run(
        "Jupyter.comms.registerTarget('t', (comm, message) => {"
        "  console.log('open', message.data, comm.commId);"
        "  comm.onMsg = (m) => {"
        "    console.log(m.data, m.content.data.n, [...m.buffers[0]]);"
        "    comm.send({back: 1}) };"
        "  comm.onClose = () => console.log('closed') })"
    )
    comms = context.context.comms
    assert comms.open("c1", "t", {"hi": 1})
    assert comms.targets() == {"c1": "t"}
    comms.message("c1", {"n": 5}, buffers=(b"\x07",))
    comms.close("c1", {})
    assert comms.targets() == {}
    assert "open { hi: 1 } c1\n{ n: 5 } 5 [ 7 ]\n" in printed(context)
    assert "closed\n" in printed(context)
    (back,) = (e for e in context.events if isinstance(e, CommEvent))
    assert (back.kind, back.data) == ("comm_msg", {"back": 1})


def test_unknown_target(context: LocalContext) -> None:
    """A comm for a target that nobody registered is refused."""
    assert not context.context.comms.open("c1", "nope", {})
    context.run("Jupyter.comms.registerTarget('t', () => {})")
    context.run("Jupyter.comms.unregisterTarget('t')")
    assert not context.context.comms.open("c1", "t", {})


def test_failing_callbacks(context: LocalContext) -> None:
    """An error in a callback is shown; a target that fails to open refuses."""
    context.run(
        "Jupyter.comms.registerTarget('bad', () => { throw new Error('no') });"
        "Jupyter.comms.registerTarget('good', (c) => { c.onMsg = () => null.x })"
    )
    assert not context.context.comms.open("c1", "bad", {})
    assert context.context.comms.open("c2", "good", {})
    context.context.comms.message("c2", {})
    assert "Error: no" in printed(context)
    assert "TypeError" in printed(context)


@pytest.mark.parametrize(
    ("code", "answer", "question", "text"),
    [
        ("prompt('Name?')", "Ada", "Name? ", "'Ada'"),
        ("prompt('Name?')", "", "Name? ", "null"),
        ("prompt('Name?', 'Bob')", "", "Name? [Bob] ", "'Bob'"),
        ("prompt()", "x", "", "'x'"),
        ("confirm('Sure?')", "Y", "Sure? [y/N] ", "true"),
        ("confirm('Sure?')", "no", "Sure? [y/N] ", "false"),
        ("alert('Note')", "", "Note [Enter] ", None),
        ("Jupyter.getpass('Key:')", "s3", "Key: ", "'s3'"),
    ],
)
def test_dialogs(
    sessions: Callable[..., LocalContext],
    code: str,
    answer: str,
    question: str,
    text: str | None,
) -> None:
    """Dialogs ask, wait, and give the answer as in a browser."""
    asked: list[tuple[str, bool]] = []

    def read_input(prompt: str, password: bool) -> str:  # noqa: FBT001 - the interface
        asked.append((prompt, password))
        return answer

    context = sessions(read_input)
    outcome = context.run(f"console.log('first'); {code}")
    assert outcome.text == text
    assert asked == [(question, "getpass" in code)]


def test_nobody_to_ask(sessions: Callable[..., LocalContext]) -> None:
    """Where nobody can be asked, the cell fails."""

    def read_input(*_: object) -> str:
        raise InputUnavailableError

    error = sessions(read_input).run("prompt('?')").error
    assert error
    assert error.ename == "Error"


def test_data_in_place_of_the_options_is_refused(context: LocalContext) -> None:
    error = context.run("new Jupyter.Comm('target', { hello: 1 })").error
    assert error is not None
    assert error.ename == "TypeError"
    assert "there is no option hello" in error.evalue
