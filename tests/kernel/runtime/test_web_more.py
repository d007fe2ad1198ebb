"""The web platform beside the basics: compression, digests, messages, URL patterns."""

from __future__ import annotations

import base64
import gzip
import hashlib
import zlib
from typing import TYPE_CHECKING, Any

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
    ],
    ids=["cut", "longer", "other"],
)
def test_damaged_data_is_told(context: LocalContext, data: bytes, error: str) -> None:
    context.run(PACK)
    packed = base64.b64encode(data).decode()
    outcome = context.run(
        f"await bytes(Uint8Array.fromBase64({packed!r}), "
        "new DecompressionStream('gzip'))"
    )
    assert outcome.error
    assert (outcome.error.ename, outcome.error.evalue) == ("TypeError", error)


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
