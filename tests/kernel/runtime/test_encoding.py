"""The web platform: encodings, Base64, URLs."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.web import CATCH

if TYPE_CHECKING:
    from collections.abc import Callable

    Run = Callable[[str], Any]


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
