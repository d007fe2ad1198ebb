from __future__ import annotations

import pytest

from isokernel.context.events import (
    ClearOutput,
    CommEvent,
    DisplayData,
    ErrorInfo,
    ExecuteResult,
    ExecutionDone,
    ExecutionError,
    Stream,
)
from isokernel.protocol.messages import (
    PublishedEvent,
    event_message,
    execute_reply_content,
    expression_content,
)

ERROR = ErrorInfo("TypeError", "no", ("TypeError: no", "  at cell 1"))
BUNDLE = {"text/plain": "1"}


@pytest.mark.parametrize(
    ("event", "kind", "content"),
    [
        (Stream(1, "stderr", "a\n"), "stream", {"name": "stderr", "text": "a\n"}),
        (ClearOutput(1, wait=True), "clear_output", {"wait": True}),
        (
            ExecuteResult(1, 7, BUNDLE, {}),
            "execute_result",
            {"execution_count": 7, "data": BUNDLE, "metadata": {}},
        ),
        (
            DisplayData(1, BUNDLE, {"a": 1}),
            "display_data",
            {"data": BUNDLE, "metadata": {"a": 1}, "transient": {}},
        ),
        (
            DisplayData(1, BUNDLE, {}, "id"),
            "display_data",
            {"data": BUNDLE, "metadata": {}, "transient": {"display_id": "id"}},
        ),
        (
            DisplayData(1, BUNDLE, {}, "id", update=True),
            "update_display_data",
            {"data": BUNDLE, "metadata": {}, "transient": {"display_id": "id"}},
        ),
        (
            ExecutionError(1, ERROR),
            "error",
            {
                "ename": "TypeError",
                "evalue": "no",
                "traceback": ["TypeError: no", "  at cell 1"],
            },
        ),
    ],
)
def test_each_event_has_its_message(
    event: PublishedEvent, kind: str, content: dict[str, object]
) -> None:
    message = event_message(event)
    assert message is not None
    assert (message.type, message.content) == (kind, content)


def test_a_comm_event_carries_metadata_and_buffers() -> None:
    event = CommEvent(1, "comm_msg", "c", {"x": 1}, {"m": 2}, "", (b"b",))
    message = event_message(event)
    assert message == (
        "comm_msg",
        {"comm_id": "c", "data": {"x": 1}},
        {"m": 2},
        (b"b",),
    )


def test_only_opening_a_comm_names_the_target() -> None:
    message = event_message(CommEvent(1, "comm_open", "c", {}, {}, "target"))
    assert message is not None
    assert message.content["target_name"] == "target"


def test_the_reply_to_a_failed_cell_names_the_error() -> None:
    content = execute_reply_content(ExecutionDone(1, 3, ERROR), {})
    assert content["status"] == "error"
    assert content["ename"] == "TypeError"
    assert content["execution_count"] == 3
    assert content["payload"] == []


def test_the_reply_to_a_cell_that_succeeded_names_no_error() -> None:
    content = execute_reply_content(ExecutionDone(1, 3, None), {"a": {"status": "ok"}})
    assert content == {
        "status": "ok",
        "execution_count": 3,
        "payload": [],
        "user_expressions": {"a": {"status": "ok"}},
    }


def test_a_user_expression_is_a_bundle_or_an_error() -> None:
    assert expression_content((BUNDLE, {}))["data"] == BUNDLE
    assert expression_content(ERROR)["ename"] == "TypeError"
