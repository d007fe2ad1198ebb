"""The web platform beside the basics: compression, digests, messages, URL patterns."""

from __future__ import annotations

import base64
import gzip
import hashlib
import zlib
from typing import TYPE_CHECKING, Any

import brotli
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.local_contexts import LocalContext

    Run = Callable[[str], Any]

TEXT = "all work and no play " * 500
PACK = f"""
async function bytes(data, transform) {{
  const out = [];
  for await (const chunk of new Blob([data]).stream().pipeThrough(transform)) {{
    out.push(chunk);
  }}
  return new Blob(out).bytes();
}}
const text = {TEXT!r};
"""


def decode_raw(data: bytes) -> bytes:
    return zlib.decompress(data, wbits=-15)


@pytest.mark.parametrize(
    ("form", "decode"),
    [
        ("gzip", gzip.decompress),
        ("deflate", zlib.decompress),
        ("deflate-raw", decode_raw),
        ("brotli", brotli.decompress),
    ],
)
def test_what_is_compressed_is_read_by_zlib(
    context: LocalContext, form: str, decode: Callable[[bytes], bytes]
) -> None:
    context.run(PACK)
    code = f"(await bytes(text, new CompressionStream({form!r}))).toBase64()"
    packed = base64.b64decode(context.value(code).strip("'"))
    assert len(packed) < len(TEXT) / 10
    assert decode(packed).decode() == TEXT


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (
            gzip.compress(b"x" * 100, mtime=0)[:-3],
            "The compressed data ends too early.",
        ),
        (gzip.compress(b"x", mtime=0) + b"more", "There is data after the end."),
        (
            b"no gzip at all",
            "The compressed data was not valid: incorrect header check.",
        ),
        (brotli.compress(b"x" * 100)[:-1], "The compressed data ends too early."),
        (brotli.compress(b"x") + b"more", "There is data after the end."),
        (b"\xff no brotli", "The compressed data was not valid."),
    ],
    ids=["cut", "longer", "other", "brotli-cut", "brotli-longer", "brotli-other"],
)
def test_damaged_data_is_told(
    context: LocalContext, data: bytes, error: str, request: pytest.FixtureRequest
) -> None:
    context.run(PACK)
    packed = base64.b64encode(data).decode()
    form = "brotli" if "brotli" in request.node.callspec.id else "gzip"
    outcome = context.run(
        f"await bytes(Uint8Array.fromBase64({packed!r}), "
        f"new DecompressionStream({form!r}))"
    )
    assert outcome.error
    assert (outcome.error.ename, outcome.error.evalue) == ("TypeError", error)


def test_brotli_gives_what_it_has_before_the_end(context: LocalContext) -> None:
    encoder = brotli.Compressor()
    first = encoder.process(b"first") + encoder.flush()
    code = f"""
        const unpacking = new DecompressionStream("brotli");
        const writer = unpacking.writable.getWriter();
        const reader = unpacking.readable.getReader();
        void writer.write(new Uint8Array({list(first)}));
        new TextDecoder().decode((await reader.read()).value)
    """
    assert context.value(code) == "'first'"


def test_many_brotli_streams_go_on_side_by_side(context: LocalContext) -> None:
    """More than decoders are kept: those that were dropped are made again."""
    encoder = brotli.Compressor()
    parts = [encoder.process(b"some words, ") + encoder.flush() for _ in range(3)]
    parts.append(encoder.finish())
    code = f"""
        const parts = {[list(part) for part in parts]};
        const streams = parts.concat(parts, parts, parts, parts)
          .map(() => new DecompressionStream("brotli"));
        const texts = streams.map((each) => Array.fromAsync(each.readable));
        const writers = streams.map((each) => each.writable.getWriter());
        for (const part of parts) {{
          for (const writer of writers) await writer.write(new Uint8Array(part));
        }}
        for (const writer of writers) await writer.close();
        const ends = [];
        for (const text of texts) ends.push(await new Blob(await text).text());
        [ends.length, new Set(ends)]
    """
    assert context.value(code) == (
        "[ 20, Set(1) { 'some words, some words, some words, ' } ]"
    )


def test_a_large_brotli_stream_comes_in_parts(context: LocalContext) -> None:
    packed = base64.b64encode(brotli.compress(bytes(5 << 20))).decode()
    code = f"""
        const sizes = [];
        const unpacking = new DecompressionStream("brotli");
        const reading = (async () => {{
          for await (const chunk of unpacking.readable) sizes.push(chunk.length);
        }})();
        const writer = unpacking.writable.getWriter();
        void writer.write(Uint8Array.fromBase64({packed!r}));
        await writer.close();
        await reading;
        [sizes.length > 2, sizes.reduce((one, other) => one + other) === 5 * 2 ** 20]
    """
    assert context.value(code) == "[ true, true ]"


@pytest.mark.parametrize("name", ["sha1", "sha256", "sha384", "sha512"])
def test_digests_are_those_of_hashlib(context: LocalContext, name: str) -> None:
    algorithm = f"SHA-{name[3:]}"
    code = (
        f"new Uint8Array(await crypto.subtle.digest({algorithm!r}, "
        "new TextEncoder().encode('message'))).toHex()"
    )
    assert context.value(code) == f"'{hashlib.new(name, b'message').hexdigest()}'"


def test_other_algorithms_and_methods_are_refused(context: LocalContext) -> None:
    outcome = context.run("await crypto.subtle.digest('MD5', new Uint8Array(1))")
    assert outcome.error
    assert "Unrecognized algorithm name: MD5" in outcome.error.evalue
    outcome = context.run("await crypto.subtle.generateKey({}, true, [])")
    assert outcome.error
    assert "digest is" in outcome.error.evalue


def test_messages_arrive_in_order_and_later(context: LocalContext) -> None:
    assert (
        context.value("""
            const { port1, port2 } = new MessageChannel();
            const seen = [];
            port2.onmessage = (event) => seen.push(event.data.n);
            port1.postMessage({ n: 1 });
            port1.postMessage({ n: 2 });
            seen.push("sent");
            await new Promise((resolve) => setTimeout(resolve, 5));
            seen
        """)
        == "[ 'sent', 1, 2 ]"
    )


def test_a_port_that_is_sent_goes_on_elsewhere(context: LocalContext) -> None:
    assert (
        context.value("""
            const outer = new MessageChannel();
            const inner = new MessageChannel();
            const got = new Promise((resolve) => {
              outer.port2.onmessage = ({ ports: [port] }) => {
                port.onmessage = ({ data }) => resolve(data);
              };
            });
            outer.port1.postMessage(0, [inner.port2]);
            inner.port1.postMessage("through");
            await got
        """)
        == "'through'"
    )


def test_url_patterns_match(context: LocalContext) -> None:
    assert (
        context.value(
            "new URLPattern({ pathname: '/books/:id' })"
            ".exec('https://example.com/books/7').pathname.groups.id"
        )
        == "'7'"
    )


@pytest.mark.parametrize(
    ("pattern", "url"),
    [
        ("{ pathname: '/:\U00020000' }", "'https://a/foo'"),
        ("{ pathname: '/([[a-z]--a])' }", "'https://a/z'"),
        ("{ hostname: 'a.b/ignored', port: '80 ' }", "'https://a.b:80/'"),
        ("{ port: '80' }", "{ port: '8\\t0x' }"),
    ],
)
def test_url_patterns_are_read_as_urls_are(
    context: LocalContext, pattern: str, url: str
) -> None:
    assert context.value(f"new URLPattern({pattern}).test({url})") == "true"


def test_what_is_enqueued_is_piped_in_a_later_turn(context: LocalContext) -> None:
    assert (
        context.value("""
            const seen = [];
            let source;
            const start = (controller) => { source = controller; };
            const done = new ReadableStream({ start }, { highWaterMark: 0 }).pipeTo(
              new WritableStream({ write: (chunk) => { seen.push(chunk); } }));
            await null;
            source.enqueue("chunk");
            seen.push("enqueued");
            source.close();
            await done;
            seen
        """)
        == "[ 'enqueued', 'chunk' ]"
    )


def test_a_blob_streams_text(context: LocalContext) -> None:
    assert (
        context.value(
            "const parts = []; for await (const part of new Blob(['é']).textStream()) "
            "parts.push(part); parts"
        )
        == "[ 'é' ]"
    )


def test_the_global_object_is_an_event_target(context: LocalContext) -> None:
    assert (
        context.value(
            "let told = 0; addEventListener('mine', () => told++);"
            "dispatchEvent(new Event('mine')); told"
        )
        == "1"
    )


def test_platform_objects_within_a_value_are_cloned(context: LocalContext) -> None:
    assert (
        context.value("""
            const blob = new Blob(["ab"], { type: "x/y" });
            const bytes = new Uint8Array([1, 2, 3, 4]);
            const value = {
              blob, list: [blob, , new File(["c"], "n")],
              map: new Map([[blob, { blob }]]),
              set: new Set([blob]), bytes, tail: bytes.subarray(2), when: new Date(5),
              get computed() { return new DOMException("m", "AbortError"); },
            };
            value.self = value;
            const copy = structuredClone(value);
            copy.bytes[2] = 9;
            [copy.blob !== blob, copy.blob === copy.list[0], 1 in copy.list,
             copy.list[2].name, await copy.list[2].text(),
             copy.map.get(copy.blob).blob.type,
             copy.set.has(copy.blob), copy.tail[0], bytes[2], copy.when.getTime(),
             copy.computed.name, copy.self === copy].join()
        """)
        == "'true,true,false,n,c,x/y,true,9,3,5,AbortError,true'"
    )


@pytest.mark.parametrize(
    "value",
    [
        "{ a: new URL('x:y') }",
        "[new Blob([]), () => 1]",
        "new Map([[1, new Headers()]])",
    ],
)
def test_what_cannot_be_cloned_is_found_within(
    context: LocalContext, value: str
) -> None:
    assert context.run(f"structuredClone({value})").failure.ename == "DataCloneError"


def test_ports_within_a_message_arrive(context: LocalContext) -> None:
    assert (
        context.value("""
            const { port1, port2 } = new MessageChannel();
            const other = new MessageChannel();
            const got = new Promise((done) => { port2.onmessage = done; });
            port1.postMessage({ port: other.port2, n: 1 }, [other.port2]);
            const { data, ports } = await got;
            [data.port === ports[0], data.port instanceof MessagePort, data.n]
        """)
        == "[ true, true, 1 ]"
    )


def test_what_a_getter_throws_passes_through_a_clone(context: LocalContext) -> None:
    code = "structuredClone({ get a() { throw new RangeError('mine'); } })"
    assert context.run(code).failure.evalue == "mine"
