"""The web platform: globals, cloning, performance, randomness, blobs, streams."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.web import CATCH

if TYPE_CHECKING:
    from collections.abc import Callable

    Run = Callable[[str], Any]


# Globals ------------------------------------------------------------------------------


def test_nothing_is_loaded_before_it_is_touched(run_js: Run) -> None:
    assert run_js("return internals.loaded") == ["web/index", "web/microtask"]


def test_touching_a_global_loads_only_what_it_needs(run_js: Run) -> None:
    loaded = run_js("TextEncoder; return internals.loaded")
    assert "vendor/encoding" in loaded
    assert not {"vendor/url", "vendor/encoding_multibyte"} & set(loaded)


def test_a_touched_global_is_a_plain_hidden_property(run_js: Run) -> None:
    assert run_js("""
        const before = Object.getOwnPropertyDescriptor(globalThis, "URL");
        URL;
        const after = Object.getOwnPropertyDescriptor(globalThis, "URL");
        return [typeof before.get, before.enumerable, before.configurable,
                after.value === URL, after.writable, after.enumerable,
                after.configurable];
    """) == ["function", False, True, True, True, False, True]


def test_assigning_replaces_a_global_without_loading_it(run_js: Run) -> None:
    assert run_js("""
        globalThis.URL = 5;
        return [URL, internals.loaded.includes("vendor/url")];
    """) == [5, False]


def test_every_lazy_name_exists_and_has_its_own_name(run_js: Run) -> None:
    assert (
        run_js("""
        return internals.lazyNames.filter((name) => {
          const value = globalThis[name];
          return /^[A-Z]/.test(name)
            ? value.name !== name || value.prototype[Symbol.toStringTag] !== name
            : value === undefined;
        });
    """)
        == []
    )


def test_nothing_enumerable_is_added_to_the_global_object(run_js: Run) -> None:
    assert (
        run_js("""
        for (const name of internals.lazyNames) globalThis[name];
        const ours = [...internals.lazyNames, "queueMicrotask", "reportError"];
        return Object.keys(globalThis).filter((key) => ours.includes(key));
    """)
        == []
    )


def test_instances_belong_to_their_base_classes(run_js: Run) -> None:
    assert run_js("""
        return [
          new AbortController().signal instanceof EventTarget,
          performance instanceof EventTarget,
          new CustomEvent("x") instanceof Event,
          new File([], "x") instanceof Blob,
          new DOMException() instanceof Error,
          Error.isError(new DOMException()),
          new QuotaExceededError() instanceof DOMException,
          new TextEncoderStream().readable instanceof ReadableStream,
        ].every(Boolean);
    """)


@pytest.mark.parametrize("name", ["AbortSignal", "Crypto", "Performance"])
def test_some_classes_cannot_be_constructed(run_js: Run, name: str) -> None:
    assert run_js(f"{CATCH} return caught(() => new {name}())") == [
        "TypeError",
        "TypeError",
        None,
    ]


def test_what_objects_show_of_themselves_is_their_attributes(run_js: Run) -> None:
    assert run_js("""
        const show = (object) =>
          object[Symbol.for("nodejs.util.inspect.custom")](2, { depth: 2 }, (value) =>
            JSON.stringify(value));
        return [
          show(new File(["abc"], "n.txt", { type: "text/plain", lastModified: 1 })),
          show(new URLSearchParams("a=1&b=2")),
          show(new AbortController().signal),
          show(new ReadableStream()),
          show(URL.prototype),
        ];
    """) == [
        'File {"size":3,"type":"text/plain","name":"n.txt","lastModified":1}',
        'URLSearchParams { "a" => "1", "b" => "2" }',
        'AbortSignal {"aborted":false}',
        'ReadableStream {"locked":false}',
        "URL {}",
    ]


# structuredClone, microtasks, exceptions ----------------------------------------------


def test_a_clone_keeps_cycles_and_identity(run_js: Run) -> None:
    assert run_js("""
        const value = { list: [1, { deep: true }], when: new Date(0) };
        value.self = value;
        const copy = structuredClone(value);
        return [copy !== value, copy.self === copy, copy.list, copy.when.getTime()];
    """) == [True, True, [1, {"deep": True}], 0]


def test_transferred_buffers_are_detached(run_js: Run) -> None:
    assert run_js("""
        const bytes = Uint8Array.of(1, 2, 3);
        const inner = structuredClone({ bytes }, { transfer: [bytes.buffer] });
        const [outer, values] = [inner.bytes.buffer, [...inner.bytes]];
        const moved = structuredClone(outer, { transfer: [outer] });
        return [values, bytes.byteLength, outer.detached, [...new Uint8Array(moved)]];
    """) == [[1, 2, 3], 0, True, [1, 2, 3]]


@pytest.mark.parametrize(
    "call",
    [
        "structuredClone(() => 1)",
        "structuredClone(Symbol())",
        "structuredClone({ f() {} })",
        "structuredClone(new URL('x:y'))",
        "structuredClone(new Event('x'))",
        "structuredClone({}, { transfer: [{}] })",
        "structuredClone(1, { transfer: [b, b] })",
        "structuredClone(1, { transfer: [(b.transfer(), b)] })",
    ],
)
def test_what_cannot_be_cloned_or_moved(run_js: Run, call: str) -> None:
    source = f"{CATCH} const b = new ArrayBuffer(8); return caught(() => {call})"
    assert run_js(source) == ["DOMException", "DataCloneError", 25]


def test_platform_objects_are_cloned_as_what_they_are(run_js: Run) -> None:
    assert run_js("""
        const file = structuredClone(new File(["abc"], "n", { type: "x/y" }));
        const blob = structuredClone(new Blob(["abc"]));
        const error = structuredClone(new DOMException("m", "AbortError"));
        const quota = structuredClone(new QuotaExceededError("m", { quota: 5 }));
        return [file.constructor.name, file.name, await file.text(), file.type,
                blob.constructor.name, blob.size, error.constructor.name, error.code,
                quota.constructor.name, quota.quota];
    """) == [
        "File", "n", "abc", "x/y", "Blob", 3, "DOMException", 20,
        "QuotaExceededError", 5,
    ]  # fmt: skip


def test_microtasks_run_in_order_and_report_their_errors(run_js: Run) -> None:
    assert run_js("""
        const order = [];
        queueMicrotask(() => { order.push(1); throw new Error("lost"); });
        queueMicrotask(() => order.push(2));
        order.push(0);
        await null; await null;
        return [order, internals.host.errors];
    """) == [[0, 1, 2], ["Error: lost"]]


def test_an_exception_has_name_code_and_stack(run_js: Run) -> None:
    assert run_js("""
        function thrower() { return new DOMException("gone", "NotFoundError"); }
        const e = thrower();
        const own = new DOMException("m", { name: "AbortError", cause: 7 });
        return [e.name, e.message, e.code, e.stack.split("\\n").slice(0, 2).join("|"),
                `${e}`, Object.keys(e), own.cause, new DOMException().name,
                DOMException.ABORT_ERR, Object.prototype.toString.call(e),
                Object.getPrototypeOf(DOMException) === Function.prototype];
    """) == [
        "NotFoundError",
        "gone",
        8,
        "NotFoundError: gone|    at thrower (<anonymous>:2:37)",
        "NotFoundError: gone",
        [],
        7,
        "Error",
        20,
        "[object DOMException]",
        True,
    ]


# Performance and crypto ---------------------------------------------------------------


def test_marks_and_measures(run_js: Run) -> None:
    assert run_js(
        CATCH
        + """
        performance.mark("a", { startTime: 10, detail: { x: 1 } });
        performance.mark("b", { startTime: 30 });
        const m = performance.measure("m", "a", "b");
        const n = performance.measure("n", { start: "a", duration: 5 });
        const all = performance.getEntries().map((e) => e.name);
        const missing = await caught(() => performance.measure("z", "no"));
        performance.clearMarks("a");
        performance.clearMeasures();
        return [m.duration, m.startTime, n.duration, all, missing,
                performance.getEntriesByType("mark").map((e) => e.name),
                performance.getEntriesByName("m").length, m.toJSON().entryType];
    """
    ) == [
        20, 10, 5, ["a", "m", "n", "b"], ["DOMException", "SyntaxError", 12], ["b"], 0,
        "measure",
    ]  # fmt: skip


def test_time_goes_on_from_the_origin(run_js: Run) -> None:
    assert (
        run_js("""
        const [a, b] = [performance.now(), performance.now()];
        const wall = performance.timeOrigin + performance.now();
        return [a >= 0, b >= a, Math.abs(wall - Date.now()) < 1000,
                performance.toJSON().timeOrigin === performance.timeOrigin];
    """)
        == [True] * 4
    )


def test_time_does_not_go_back_with_the_clock(run_js: Run) -> None:
    assert run_js("""
        internals.host.now = () => 100;
        performance;
        internals.host.now = () => 5100;
        const before = performance.now();
        internals.host.now = () => 3;
        const restored = performance.now();
        internals.host.now = () => 5;
        return [before, restored, performance.now()];
    """) == [5000, 5000, 5002]


def test_random_uuids_are_version_4(run_js: Run) -> None:
    ids = run_js("return Array.from({ length: 50 }, () => crypto.randomUUID())")
    parsed = [uuid.UUID(each) for each in ids]
    assert {each.version for each in parsed} == {4}
    assert {each.variant for each in parsed} == {uuid.RFC_4122}
    assert len(set(ids)) == 50


def test_random_values_fill_the_view_alone(run_js: Run) -> None:
    assert run_js("""
        const buffer = new ArrayBuffer(1024);
        const view = new Uint32Array(buffer, 256, 128);
        const same = crypto.getRandomValues(view) === view;
        const bytes = new Uint8Array(buffer);
        return [same, bytes.slice(0, 256).every((b) => b === 0),
                bytes.slice(256, 768).some((b) => b !== 0),
                bytes.slice(768).every((b) => b === 0),
                crypto.getRandomValues(new BigInt64Array(0)).length];
    """) == [True, True, True, True, 0]


@pytest.mark.parametrize(
    ("array", "name"),
    [
        ("new Uint8Array(65537)", "QuotaExceededError"),
        ("new Float64Array(1)", "TypeMismatchError"),
        ("new DataView(new ArrayBuffer(1))", "TypeMismatchError"),
        ("[1]", "TypeError"),
    ],
)
def test_random_values_have_limits(run_js: Run, array: str, name: str) -> None:
    source = f"{CATCH} return caught(() => crypto.getRandomValues({array}))"
    assert run_js(source)[1] == name


# Blob and streams ---------------------------------------------------------------------


def test_a_blob_is_made_of_parts(run_js: Run) -> None:
    assert run_js("""
        const bytes = Uint8Array.of(0, 98, 99, 0);
        const blob = new Blob(["a", bytes.subarray(1, 3), new Blob(["é"]), 7],
                              { type: "Text/Plain" });
        bytes.fill(0);
        return [blob.size, blob.type, await blob.text(), await blob.slice(1, -3).text(),
                await blob.slice(-1).text(), blob.slice(2, 1).size,
                (await blob.arrayBuffer()).byteLength, [...await blob.bytes()].length,
                await new Blob(["a\\r\\nb\\rc"], { endings: "native" }).text(),
                new Blob([], { type: "é" }).type];
    """) == [6, "text/plain", "abcé7", "bc", "7", 0, 6, 6, "a\nb\nc", ""]


def test_a_blob_streams_its_bytes(run_js: Run) -> None:
    assert run_js("""
        const blob = new Blob([new Uint8Array(150000).fill(7)]);
        const sizes = [];
        for await (const chunk of blob.stream()) sizes.push(chunk.length);
        let empty = 0;
        for await (const chunk of new Blob([]).stream()) empty++;
        const reader = blob.stream().getReader({ mode: "byob" });
        const { value } = await reader.read(new Uint8Array(10));
        return [sizes, empty, [...value]];
    """) == [[65536, 65536, 18928], 0, [7] * 10]


def test_a_file_has_a_name_and_a_time(run_js: Run) -> None:
    assert run_js("""
        const file = new File(["x"], "n.txt", { lastModified: 5, type: "text/plain" });
        return [file.name, file.lastModified, file.type, file.size,
                Math.abs(new File([], "m").lastModified - Date.now()) < 5000];
    """) == ["n.txt", 5, "text/plain", 1, True]


def test_a_blob_reads_its_arguments_in_order(run_js: Run) -> None:
    assert run_js(f"""{CATCH}
        const seen = [];
        const note = (name, text) => ({{ toString: () => (seen.push(name), text) }});
        const blob = new Blob([note("part", "a\\nb")], {{
          get type() {{ seen.push("get type"); return note("type", "T/X"); }},
          get endings() {{
            seen.push("get endings");
            return note("endings", "native");
          }},
        }});
        return [seen, blob.type, await blob.text(),
                await caught(() => new File(undefined, "n"))];
    """) == [
        ["part", "get endings", "endings", "get type", "type"],
        "t/x",
        "a\nb",
        ["TypeError", "TypeError", None],
    ]


def test_streams_pipe_through_transforms(run_js: Run) -> None:
    assert run_js("""
        const upper = new TransformStream({
          transform: (chunk, controller) => controller.enqueue(chunk.toUpperCase()),
        });
        const out = ReadableStream.from(["é", "\\ud83d", "\\ude00b"])
          .pipeThrough(new TextEncoderStream())
          .pipeThrough(new TextDecoderStream())
          .pipeThrough(upper);
        const chunks = [];
        for await (const chunk of out) chunks.push(chunk);
        return chunks.join("");
    """) == ("É😀B")


def test_a_pipe_stops_at_its_signal(run_js: Run) -> None:
    assert run_js(
        CATCH
        + """
        const controller = new AbortController();
        const never = new ReadableStream({ pull: () => new Promise(() => {}) });
        const sink = new WritableStream();
        const pipe = never.pipeTo(sink, { signal: controller.signal });
        controller.abort();
        return caught(() => pipe);
    """
    ) == ["DOMException", "AbortError", 20]
