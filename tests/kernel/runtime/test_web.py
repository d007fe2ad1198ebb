from __future__ import annotations

import base64
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Callable

    Run = Callable[[str], Any]

# What the JavaScript under test may return instead of a value.
CATCH = """
const caught = async (f) => {
  try { return [await f()]; }
  catch (e) { return [e.constructor.name, e.name, e.code ?? null]; }
};
"""


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


# Encoding -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("''", []),
        ("'abc'", [97, 98, 99]),
        ("'é€😀'", [*"é€😀".encode()]),
        ("'\\ud800x'", [0xEF, 0xBF, 0xBD, 0x78]),
        ("undefined", []),
        ("12", [49, 50]),
    ],
)
def test_text_is_encoded(run_js: Run, text: str, expected: list[int]) -> None:
    assert run_js(f"return [...new TextEncoder().encode({text})]") == expected


@pytest.mark.parametrize(
    ("text", "room", "read", "written"),
    [
        ("abc", 2, 2, 2),
        ("é€😀z", 10, 5, 10),
        ("é€😀z", 8, 2, 5),
        ("é€😀z", 4, 1, 2),
        ("é€😀z", 9, 4, 9),
        ("\\ud800", 3, 1, 3),
        ("", 0, 0, 0),
    ],
)
def test_encode_into_stops_at_whole_characters(
    run_js: Run, text: str, room: int, read: int, written: int
) -> None:
    assert run_js(f"""
        const bytes = new Uint8Array({room});
        const text = "{text}";
        const done = new TextEncoder().encodeInto(text, bytes);
        const expected = new TextEncoder().encode(text.slice(0, done.read));
        return [done.read, done.written, expected.every((b, i) => b === bytes[i])];
    """) == [read, written, True]


@pytest.mark.parametrize(
    "encoding",
    [
        "utf-8", "utf-16le", "utf-16be", "windows-1252", "koi8-r", "iso-8859-2",
        "macintosh", "shift_jis", "euc-jp", "iso-2022-jp", "euc-kr", "gbk", "gb18030",
        "big5",
    ],
)  # fmt: skip
def test_bytes_are_decoded_as_python_decodes_them(run_js: Run, encoding: str) -> None:
    texts = {
        "koi8-r": "Привет",
        "windows-1252": "naïve €",
        "iso-8859-2": "Łódź",
        "macintosh": "naïve",
        "euc-kr": "한국어",
        "big5": "繁體中文",
        "gbk": "简体中文",
    }
    text = texts.get(encoding, "日本語 text")
    python = {"macintosh": "mac_roman", "euc-kr": "euc_kr"}.get(encoding, encoding)
    data = [*text.encode(python)]
    assert run_js(f"""
        const bytes = Uint8Array.of({str(data)[1:-1]});
        const decoder = new TextDecoder("{encoding}");
        const whole = decoder.decode(bytes);
        let pieces = "";
        for (const byte of bytes) {{
          pieces += decoder.decode(Uint8Array.of(byte), {{ stream: true }});
        }}
        return [decoder.encoding, whole, pieces + decoder.decode()];
    """) == [encoding, text, text]


def test_a_decoder_has_its_options(run_js: Run) -> None:
    assert run_js(
        CATCH
        + """
        const bom = Uint8Array.of(0xef, 0xbb, 0xbf, 97);
        const bad = Uint8Array.of(0xff, 97);
        return [
          new TextDecoder().decode(bom),
          new TextDecoder("utf-8", { ignoreBOM: true }).decode(bom),
          new TextDecoder().decode(bad),
          await caught(() => new TextDecoder("utf8", { fatal: true }).decode(bad)),
          await caught(() => new TextDecoder("no-such")),
          new TextDecoder("latin1").encoding,
          new TextDecoder(" ASCII ").fatal,
          new TextDecoder().decode(),
          new TextDecoder().decode(new DataView(bom.buffer, 3)),
        ];
    """
    ) == [
        "a",
        "\ufeffa",
        "\ufffda",
        ["TypeError", "TypeError", None],
        ["RangeError", "RangeError", None],
        "windows-1252",
        False,
        "",
        "a",
    ]


# Base64 -------------------------------------------------------------------------------


def forgiving_decode(text: str) -> str | None:
    """Decode as the Infra standard's "forgiving-base64 decode" is written down."""
    data = "".join(c for c in text if c not in "\t\n\f\r ")
    if len(data) % 4 == 0:
        data = data.removesuffix("=").removesuffix("=") if data[-1:] == "=" else data
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    if len(data) % 4 == 1 or any(c not in alphabet for c in data):
        return None
    bits = "".join(f"{alphabet.index(c):06b}" for c in data)
    whole = len(bits) // 8 * 8
    return "".join(chr(int(bits[i : i + 8], 2)) for i in range(0, whole, 8))


@given(texts=st.lists(st.text("ABab+/=-_ \n\v0", max_size=12), min_size=20))
@settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_atob_is_forgiving_as_the_standard_says(run_js: Run, texts: list[str]) -> None:
    found = run_js(f"""
        return {texts!r}.map((text) => {{
          try {{ return atob(text); }}
          catch (e) {{ if (e.name !== "InvalidCharacterError") throw e; return null; }}
        }});
    """)
    assert found == [forgiving_decode(text) for text in texts]


def test_btoa_and_atob_are_inverse_for_all_bytes(run_js: Run) -> None:
    data = bytes(range(256)) * 100
    assert run_js("""
        const text = String.fromCharCode(...Array(256).keys()).repeat(100);
        return [btoa(text), atob(btoa(text)) === text];
    """) == [base64.b64encode(data).decode(), True]


@pytest.mark.parametrize("call", ["btoa('€')", "atob('a')", "atob('a=')", "atob('é')"])
def test_what_is_no_base64_is_an_invalid_character(run_js: Run, call: str) -> None:
    assert run_js(f"{CATCH} return caught(() => {call})") == [
        "DOMException",
        "InvalidCharacterError",
        5,
    ]


# URL ----------------------------------------------------------------------------------


def test_a_url_has_its_parts(run_js: Run) -> None:
    assert run_js("""
        const url = new URL("../b?x=1&y=é#top", "https://me:pw@EXAMPLE.com:8080/a/c/d");
        url.searchParams.append("z", "a b");
        return [url.href, url.origin, url.host, url.pathname, url.search, url.hash,
                `${url}` === url.toJSON(), URL.canParse("nope"), URL.parse("nope"),
                URL.parse("x:y").protocol];
    """) == [
        "https://me:pw@example.com:8080/a/b?x=1&y=%C3%A9&z=a+b#top",
        "https://example.com:8080",
        "example.com:8080",
        "/a/b",
        "?x=1&y=%C3%A9&z=a+b",
        "#top",
        True,
        False,
        None,
        "x:",
    ]


def test_only_international_hosts_load_the_unicode_tables(run_js: Run) -> None:
    assert run_js("""
        const hosts = ["http://EXAMPLE.com", "http://127.1", "http://a_b.c"];
        const plain = hosts.map((url) => new URL(url).host);
        const before = internals.loaded.includes("vendor/idna");
        const idn = new URL("http://Bücher.example/").host;
        return [plain, before, idn, internals.loaded.includes("vendor/idna"),
                new URL("http://XN--BCHER-KVA.example").host,
                URL.canParse("http://\u00ad"), URL.canParse("http://a b")];
    """) == [
        ["example.com", "127.0.0.1", "a_b.c"],
        False,
        "xn--bcher-kva.example",
        True,
        "xn--bcher-kva.example",
        False,
        False,
    ]


def test_a_url_that_cannot_be_parsed_is_a_type_error(run_js: Run) -> None:
    assert run_js(f"{CATCH} return caught(() => new URL('nope'))") == [
        "TypeError",
        "TypeError",
        None,
    ]


def test_search_params_are_a_list_and_a_map(run_js: Run) -> None:
    assert run_js("""
        const p = new URLSearchParams([["a", "1"], ["b", "2"], ["a", "3"]]);
        p.sort();
        p.set("b", "&=");
        return [`${p}`, p.get("a"), p.getAll("a"), p.has("a", "3"), p.size,
                [...p.keys()], `${new URLSearchParams({ q: "x y" })}`];
    """) == ["a=1&a=3&b=%26%3D", "1", ["1", "3"], True, 3, ["a", "a", "b"], "q=x+y"]


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


# Events and abort ---------------------------------------------------------------------


def test_listeners_are_called_as_registered(run_js: Run) -> None:
    assert run_js("""
        const seen = [];
        const target = new EventTarget();
        const twice = () => seen.push("twice");
        target.addEventListener("x", twice);
        target.addEventListener("x", twice);
        target.addEventListener("x", () => seen.push("once"), { once: true });
        target.addEventListener("x", { handleEvent(e) { seen.push(e.type); } });
        target.addEventListener("x", function () { seen.push(this === target); }, true);
        target.dispatchEvent(new Event("x"));
        target.removeEventListener("x", twice);
        target.dispatchEvent(new Event("x"));
        return seen;
    """) == [True, "twice", "once", "x", True, "x"]


def test_an_event_knows_its_target_only_while_dispatched(run_js: Run) -> None:
    assert run_js("""
        const target = new EventTarget();
        const event = new CustomEvent("x", { detail: 7, cancelable: true });
        let during;
        target.addEventListener("x", (e) => {
          during = [e.target === target, e.currentTarget === target, e.eventPhase,
                    e.composedPath().length, e.isTrusted];
          e.preventDefault();
        });
        const result = target.dispatchEvent(event);
        return [during, result, event.defaultPrevented, event.target === target,
                event.currentTarget, event.eventPhase, event.detail];
    """) == [[True, True, 2, 1, False], False, True, True, None, 0, 7]


def test_stopping_passive_and_removed_listeners(run_js: Run) -> None:
    assert run_js("""
        const seen = [];
        const target = new EventTarget();
        const controller = new AbortController();
        const late = () => seen.push("late");
        const passive = { passive: true };
        target.addEventListener("x", (e) => {
          e.preventDefault(); seen.push(e.defaultPrevented);
        }, passive);
        target.addEventListener("x", () => target.removeEventListener("x", late));
        target.addEventListener("x", late);
        target.addEventListener("x", () => seen.push("signal"), {
          signal: controller.signal });
        target.addEventListener("x", (e) => e.stopImmediatePropagation());
        target.addEventListener("x", () => seen.push("never"));
        target.dispatchEvent(new Event("x", { cancelable: true }));
        controller.abort();
        target.dispatchEvent(new Event("x"));
        return seen;
    """) == [False, "signal", False]


def test_a_failing_listener_is_reported_and_the_others_run(run_js: Run) -> None:
    assert run_js("""
        let ran = false;
        const target = new EventTarget();
        target.addEventListener("x", () => { throw new TypeError("oops"); });
        target.addEventListener("x", () => { ran = true; });
        target.dispatchEvent(new Event("x"));
        return [ran, internals.host.errors];
    """) == [True, ["TypeError: oops"]]


def test_dispatching_twice_at_once_is_refused(run_js: Run) -> None:
    assert run_js("""
        const target = new EventTarget();
        let name;
        target.addEventListener("x", (e) => {
          try { target.dispatchEvent(e); } catch (error) { name = error.name; }
        });
        target.dispatchEvent(new Event("x"));
        return name;
    """) == ("InvalidStateError")


def test_aborting_tells_the_listeners_once(run_js: Run) -> None:
    assert run_js("""
        const seen = [];
        const controller = new AbortController();
        const { signal } = controller;
        signal.onabort = (e) => seen.push([e.type, e.isTrusted, signal.aborted]);
        signal.addEventListener("abort", () => seen.push("listener"));
        controller.abort();
        controller.abort("again");
        let thrown;
        try { signal.throwIfAborted(); } catch (e) { thrown = e === signal.reason; }
        return [seen, signal.reason.name, thrown, AbortSignal.abort(5).reason];
    """) == [[["abort", True, True], "listener"], "AbortError", True, 5]


def test_a_handler_can_be_replaced_and_removed(run_js: Run) -> None:
    assert run_js("""
        const seen = [];
        const controller = new AbortController();
        controller.signal.onabort = () => seen.push("first");
        controller.signal.addEventListener("abort", () => seen.push("listener"));
        controller.signal.onabort = () => seen.push("second");
        controller.abort();
        const other = new AbortController();
        other.signal.onabort = () => seen.push("never");
        other.signal.onabort = null;
        other.abort();
        return [seen, other.signal.onabort];
    """) == [["second", "listener"], None]


def test_any_follows_its_sources_through_others(run_js: Run) -> None:
    assert run_js("""
        const [a, b] = [new AbortController(), new AbortController()];
        const inner = AbortSignal.any([a.signal, b.signal]);
        const outer = AbortSignal.any([inner]);
        const seen = [];
        inner.addEventListener("abort", () => seen.push(["inner", outer.aborted]));
        outer.addEventListener("abort", () => seen.push(["outer", inner.aborted]));
        b.abort("why");
        a.abort("too late");
        return [seen, inner.reason, outer.reason, AbortSignal.any([]).aborted,
                AbortSignal.any([b.signal]).reason];
    """) == [[["inner", True], ["outer", True]], "why", "why", False, "why"]


def test_a_signal_times_out(run_js: Run) -> None:
    assert run_js("""
        const signal = AbortSignal.timeout(1);
        await new Promise((resolve) => signal.addEventListener("abort", resolve));
        return [signal.reason.name, signal.reason.code];
    """) == ["TimeoutError", 23]


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
