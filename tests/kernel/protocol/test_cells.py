"""The cell runner with a front of the tests' own, and a real context."""

from __future__ import annotations

import select
from typing import TYPE_CHECKING, Any

import pytest

from isokernel.context import Context
from isokernel.errors import MessageError
from isokernel.protocol.cells import CellRequest, CellRunner
from isokernel.settings import ContextSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from isokernel.context.events import (
        CapabilityCall,
        CapabilityDrop,
        ExecutionDone,
        ResultJson,
    )
    from isokernel.protocol.messages import OutgoingMessage


class RecordingFront:
    """Keeps what the runner has for it, in order."""

    def __init__(self) -> None:
        self.record: list[tuple[str, Any]] = []
        self.failures: list[str] = []
        self.cells: CellRunner[str] = CellRunner(self)
        self.cells.context = Context(ContextSettings(), self.cells)

    def run(self, code: str, execution_id: int = 1, **content: Any) -> None:
        """Run a cell to its end."""
        self.begin(code, execution_id, **content)
        while self.cells.running is not None:
            context = self.cells.context
            select.select([context.wakeup], [], [], context.wait_time())
            context.step()
            self.cells.settle()

    def begin(self, code: str, execution_id: int = 1, **content: Any) -> None:
        fields = {"code": code, **content}
        cell = CellRequest("request", execution_id, fields, stop_on_error=True)
        cell.read_extensions(fields)
        self.cells.begin(cell)
        self.cells.settle()

    @property
    def kinds(self) -> list[str]:
        return [kind for kind, _ in self.record]

    def content(self, kind: str) -> Any:
        """The first content of a kind."""
        return next(content for known, content in self.record if known == kind)

    def call(self, call: CapabilityCall) -> None:
        self.record.append(("call", call.name))

    def drop(self, drop: CapabilityDrop) -> None:
        self.record.append(("drop", drop.call_id))

    def busy(self, cell: CellRequest[str]) -> None:
        self.record.append(("busy", cell.count))

    def prepare(self, cell: CellRequest[str], context: Context) -> str:
        if cell.code == "a defect":
            raise LookupError(cell.code)
        assert not context.busy
        return cell.code

    def publish(self, message: OutgoingMessage, execution_id: int) -> None:
        assert execution_id
        self.record.append((message.type, message.content))

    def finish(
        self,
        cell: CellRequest[str],
        done: ExecutionDone,
        result: ResultJson | None,
        reply: dict[str, Any],
    ) -> None:
        self.record.append(("finish", (cell.stops(done), result, reply)))

    def answer(self, request: str, reply: dict[str, Any]) -> None:
        assert request == "request"
        self.record.append(("answer", reply))

    def log_failure(self, doing: str, error: Exception) -> None:
        self.failures.append(f"{doing}: {error}")


@pytest.fixture
def front() -> Iterator[RecordingFront]:
    front = RecordingFront()
    yield front
    front.cells.context.close()


def test_a_cell_is_busy_input_outputs_finish(front: RecordingFront) -> None:
    front.run("console.log('a'); await null; 7")
    assert front.kinds == [
        "busy",
        "execute_input",
        "stream",
        "execute_result",
        "finish",
    ]
    assert front.content("execute_input")["execution_count"] == 1
    stops, result, reply = front.content("finish")
    assert (stops, result) == (False, None)
    assert (reply["status"], reply["execution_count"]) == ("ok", 1)


def test_the_end_of_an_execution_and_its_json_are_not_broadcast(
    front: RecordingFront,
) -> None:
    front.run("({ a: 1 })", result_json=True, announce=False)
    assert front.kinds == ["execute_result", "finish"]
    assert front.content("finish")[1].text == '{"a":1}'


def test_of_a_silent_cell_only_comms_are_published(front: RecordingFront) -> None:
    front.run("console.log('a'); new Jupyter.Comm('t'); 7", silent=True)
    assert front.kinds == ["busy", "comm_open", "finish"]
    front.run("1", execution_id=2)
    assert front.record[-1][1][2]["execution_count"] == 1


def test_user_expressions_are_in_the_reply(front: RecordingFront) -> None:
    front.run("let n = 1", user_expressions={"good": "n + 1", "bad": "nope"})
    values = front.content("finish")[2]["user_expressions"]
    assert values["good"]["data"] == {"text/plain": "2"}
    assert values["bad"]["ename"] == "ReferenceError"


@pytest.mark.parametrize(
    ("content", "stops"),
    [({}, True), ({"stop_on_error": False}, False), ({"silent": True}, False)],
)
def test_whether_what_waits_is_aborted(
    front: RecordingFront, content: dict[str, Any], *, stops: bool
) -> None:
    front.run("throw new Error('x')", **content)
    assert front.content("finish")[0] is stops


def test_a_defect_before_the_cell_begins_is_its_error(front: RecordingFront) -> None:
    front.run("a defect")
    assert front.kinds == ["busy", "execute_input", "error", "finish"]
    assert front.content("finish")[2]["ename"] == "LookupError"
    assert front.failures == ["beginning a cell: a defect"]
    front.run("1 + 1", execution_id=2)
    assert front.content("execute_result")["data"] == {"text/plain": "2"}


def test_an_execution_is_interrupted_before_it_begins(front: RecordingFront) -> None:
    front.cells.interrupt(2)
    front.run("globalThis.ran = 1")
    front.run("globalThis.ran = 2", execution_id=2)
    assert front.record[-1][1][2]["ename"] == "KeyboardInterrupt"
    front.cells.interrupt(2)  # it is over
    front.run("globalThis.ran", execution_id=2)
    assert front.record[-2][1]["data"] == {"text/plain": "1"}


def test_only_the_execution_that_is_named_is_interrupted(front: RecordingFront) -> None:
    front.begin("await new Promise(() => {})", execution_id=3)
    front.cells.interrupt(1)
    front.cells.context.step()
    assert front.cells.context.busy
    front.cells.interrupt(3)
    front.cells.context.step()
    front.cells.settle()
    assert front.content("finish")[2]["ename"] == "KeyboardInterrupt"


def test_an_aborted_cell_is_neither_ok_nor_an_error(front: RecordingFront) -> None:
    front.cells.abort("request")
    assert front.record == [("answer", {"status": "aborted"})]


def test_a_refused_cell_has_the_present_count(front: RecordingFront) -> None:
    front.run("1")
    front.cells.refuse("request", MessageError("no"))
    reply = front.content("answer")
    assert (reply["ename"], reply["execution_count"]) == ("MessageError", 1)


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"code": 5},
        {"code": "1", "user_expressions": [1]},
        {"code": "1", "deadline": "soon"},
        {"code": "1", "env": []},
        {"code": "1", "language": "cobol"},
        {"code": "1", "language": ["javascript"]},
        {"code": "1", "tools": {"calls_max": "many"}},
        {"code": "1", "tools": {"no_such_limit": 1}},
    ],
)
def test_a_field_of_a_wrong_type_is_refused(content: dict[str, Any]) -> None:
    with pytest.raises(MessageError):
        CellRequest("", 1, content, stop_on_error=True).read_extensions(content)


def test_what_is_null_or_absent_has_its_default() -> None:
    content = {"code": "1", "silent": None, "user_expressions": None, "deadline": None}
    cell = CellRequest("", 1, content, stop_on_error=True)
    cell.read_extensions(content)
    assert (cell.silent, cell.store_history, cell.announce) == (False, True, True)
    assert (cell.expressions, cell.deadline, cell.stop_on_error) == ({}, None, True)
