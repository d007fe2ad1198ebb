"""The providers of many contexts, and what becomes of calls."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from tests.support.capabilities import SMALL, SmallProvider

from isokernel.capabilities import (
    Answered,
    Asked,
    CapabilityDeniedError,
    Grant,
    Holder,
    Limits,
)

LIMITS = Limits(bytes_max=1000)


async def _allow(_asked: Asked) -> None:
    pass


async def _deny(asked: Asked) -> None:
    raise CapabilityDeniedError(asked.capability, asked.target, "net = [...]")


def answer(
    name: str, arguments: Any = "{}", data: bytes | None = None, *, allow: bool = True
) -> Answered:
    """The answer to one call."""
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    defects: list[str] = []

    async def ask() -> Answered:
        holder = Holder(SMALL, lambda call, _error: defects.append(call))
        grant = Grant("c", _allow if allow else _deny, limits=LIMITS)
        return await holder.answer(name, text, data, grant)

    made = asyncio.run(ask())
    assert defects == ([name] if '"internal_error"' in made.text else [])
    return made


def test_a_provider_answers_with_value_and_data() -> None:
    assert answer("small.echo", {"a": [1, None]}, b"\0\1") == (
        "value",
        '{"a":[1,null]}',
        b"\0\1",
    )


def test_nothing_is_an_empty_text() -> None:
    assert answer("small.zeros", {"size": 3}) == ("value", "", b"\0\0\0")


@pytest.mark.parametrize(
    ("name", "arguments", "code"),
    [
        ("small.missing", {"path": "x"}, "ENOENT"),
        ("small.nothing", {}, "no_such_call"),
        ("small", {}, "no_such_call"),
        ("other.call", {}, "not_provided"),
        ("", {}, "not_provided"),
        ("small.echo", "[1]", "invalid_arguments"),
        ("small.echo", "{", "invalid_arguments"),
        ("small.echo", '{"a":' * 100_000, "invalid_arguments"),
        ("small.zeros", {"size": 1001}, "answer_too_large"),
        ("small.text", {"size": 1001}, "answer_too_large"),
        ("small.divide", {"by": 0}, "internal_error"),
        ("small.divide", {}, "internal_error"),
    ],
)
def test_failures_have_a_code(name: str, arguments: Any, code: str) -> None:
    kind, text, data = answer(name, arguments)
    assert (kind, json.loads(text)["code"], data) == ("error", code, None)


def test_an_error_has_fields_of_its_own() -> None:
    assert json.loads(answer("small.missing", {"path": "a.csv"}).text) == {
        "name": "Error",
        "message": "no such file: a.csv",
        "code": "ENOENT",
        "errno": -2,
        "syscall": "open",
    }


def test_a_denial_names_capability_target_and_setting() -> None:
    asked = {"capability": "net", "target": "https://example.com/"}
    kind, text, _ = answer("small.ask", asked, allow=False)
    assert kind == "error"
    assert json.loads(text) == {
        "name": "CapabilityDeniedError",
        "message": "net: https://example.com/ is denied: no policy allows it; "
        "net = [...] would allow it",
        "code": "capability_denied",
        "capability": "net",
        "target": "https://example.com/",
        "setting": "net = [...]",
    }


def test_a_context_that_ends_is_closed_by_those_who_were_asked() -> None:
    async def scenario() -> None:
        made: list[SmallProvider] = []

        def make() -> SmallProvider:
            made.append(SmallProvider())
            return made[-1]

        holder = Holder({"small": make, "other": make}, lambda *_: None)
        await holder.close("nobody")
        assert not made
        await holder.answer("small.echo", "{}", None, Grant("c", _allow))
        await holder.close("c")
        assert [provider.closed for provider in made] == [["c"]]

    asyncio.run(scenario())
