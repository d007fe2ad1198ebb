"""Values across the border, both ways."""

from __future__ import annotations

import gc
import math
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from isokernel.v8.values import UNDEFINED, BigInt, Value

if TYPE_CHECKING:
    from tests.support.isolates import HostedIsolate

PLAIN = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**53), 2**53),
    st.floats(allow_nan=False),
    st.text(),
    st.integers(-(2**300), 2**300).map(BigInt),
)


@settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(value=PLAIN)
def test_plain_values_come_back(bench: HostedIsolate, value: Any) -> None:
    back = bench.isolate.call(bench.cell("(value) => [value]"), value)
    back = bench.isolate.get(back, "0")
    assert back == value
    assert isinstance(back, BigInt) == isinstance(value, BigInt)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("2 ** 30 - 1", 2**30 - 1),
        ("-(2 ** 30)", -(2**30)),
        ("2 ** 31", 2**31),
        ("-(2 ** 31)", -(2**31)),
        ("0.5", 0.5),
        ("Infinity", math.inf),
        ("''", ""),
        ("'a\\0b'", "a\0b"),
        ("'\\u{1F600}é'", "😀é"),
        ("'\\ud800'", "\ufffd"),
        ("0n", 0),
        ("-(2n ** 200n)", -(2**200)),
    ],
)
def test_values_come_out(bench: HostedIsolate, code: str, expected: object) -> None:
    assert bench.cell(code) == expected


def test_minus_zero_nan_and_undefined(bench: HostedIsolate) -> None:
    assert math.copysign(1, bench.cell("-0")) == -1
    assert math.isnan(bench.cell("NaN"))
    assert bench.cell("undefined") is UNDEFINED
    assert not UNDEFINED
    assert repr(UNDEFINED) == "undefined"


@pytest.mark.parametrize(
    "code",
    [
        "new Uint8Array([1, 2, 3])",
        "new Uint8Array([0, 1, 2, 3, 4]).subarray(1, 4)",
        "new DataView(new Uint8Array([1, 2, 3]).buffer)",
        "new Uint8Array([1, 2, 3]).buffer",
    ],
)
def test_bytes_come_out(bench: HostedIsolate, code: str) -> None:
    assert bench.cell(code).bytes() == b"\1\2\3"


def test_many_bytes_come_out(bench: HostedIsolate) -> None:
    value = bench.cell("new Uint8Array(1e6).fill(7)")
    assert value.bytes() == b"\7" * 1_000_000
    assert bench.cell("new Float64Array(0)").bytes() == b""
    with pytest.raises(TypeError):
        bench.cell("({})").bytes()


def test_bytes_and_lists_go_in(bench: HostedIsolate) -> None:
    show = bench.cell("(v) => `${v.constructor.name} ${Array.from(v).join()}`")
    assert bench.isolate.call(show, b"\1\2") == "Uint8Array 1,2"
    assert bench.isolate.call(show, b"") == "Uint8Array "
    assert bench.isolate.call(show, [1, "a", None]) == "Array 1,a,"


def test_what_has_no_counterpart_is_refused(bench: HostedIsolate) -> None:
    with pytest.raises(TypeError, match="object has no JavaScript counterpart"):
        bench.isolate.call(bench.cell("echo"), object())


def test_handles_are_given_back(bench: HostedIsolate) -> None:
    before = len(bench.isolate.handles)
    value = bench.cell("({ a: 1 })")
    assert isinstance(value, Value)
    assert len(bench.isolate.handles) == before + 1
    value.close()
    value.close()
    assert len(bench.isolate.handles) == before
    value = bench.cell("({ a: 1 })")
    del value
    gc.collect()
    bench.cell("1")
    assert len(bench.isolate.handles) == before
