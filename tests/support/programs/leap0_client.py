"""Drives a server with the published client library `leap0`; run by Python 3.12+."""

from __future__ import annotations

import json
import sys
from typing import Any

import leap0
from leap0._sync import code_interpreter as module


def main(url: str) -> dict[str, Any]:
    """Use contexts, execute, stream and errors; what came of it."""
    # The library can't be told of an address without TLS in another way.
    module.sandbox_base_url = lambda *_args, **_options: url
    client = leap0.Leap0Client(api_key="any")
    interpreter = client._code_interpreter
    here = interpreter.create_context("box", language="typescript")
    first = interpreter.execute(
        "box", code="let a: number = 6", language="typescript", context_id=here.id
    )
    second = interpreter.execute(
        "box",
        code="console.log('printed'); a * 7",
        language="typescript",
        context_id=here.id,
    )
    failed = interpreter.execute("box", code="1/0", language="python")
    events = [
        [event.type.value, event.data, event.code]
        for event in interpreter.execute_stream(
            "box", code="console.log(a)", language="typescript", context_id=here.id
        )
    ]
    listed = [context.id for context in interpreter.list_contexts("box")]
    problems = [
        _problem(interpreter, here.id, "python"),
        _problem(interpreter, "nobody", "typescript"),
    ]
    shown = interpreter.get_context("box", here.id)
    for context_id in listed:
        interpreter.delete_context("box", context_id)
    return {
        "kept": shown.id == here.id and here.id in listed,
        "counts": [first.execution_count, second.execution_count],
        "text": second.main_text,
        "stdout": list(second.logs.stdout),
        "error": failed.error.name,
        "events": events,
        "problems": problems,
        "left": len(interpreter.list_contexts("box")),
    }


def _problem(interpreter: Any, context_id: str, language: str) -> list[Any]:
    """What the library says about a request that is refused."""
    try:
        interpreter.execute("box", code="1", language=language, context_id=context_id)
    except leap0.Leap0Error as error:
        return [type(error).__name__, error.error_message]
    return []


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(sys.argv[1])))
