"""URLs, methods and headers that a context sends, which may be any at all."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isokernel.errors import CapabilityError
from isokernel.network.targets import read_headers, read_method, read_url

HEAD_BYTES = 1000


@pytest.mark.parametrize(
    ("url", "canonical", "address"),
    [
        ("http://example.com", "http://example.com/", None),
        ("https://EXAMPLE.com:443/a?b=c%20d", "https://example.com/a?b=c%20d", None),
        ("http://example.com.:8080/", "http://example.com:8080/", None),
        ("http://b\u00fccher.example/", "http://xn--bcher-kva.example/", None),
        ("http://\uff11\uff12\uff17.0.0.1/", "http://127.0.0.1/", "127.0.0.1"),
        ("http://127.0.0.1:80/", "http://127.0.0.1/", "127.0.0.1"),
        ("http://[0:0::1]:8080/", "http://[::1]:8080/", "::1"),
        ("http://[FE80:0::1]/", "http://[fe80::1]/", "fe80::1"),
        ("http://a_b.example/a/..b/.c", "http://a_b.example/a/..b/.c", None),
        ("http://a.example/?t={x}|`^\\y", "http://a.example/?t={x}|`^\\y", None),
    ],
)
def test_urls_have_one_form(url: str, canonical: str, address: str | None) -> None:
    target = read_url(url)
    assert (target.url, target.address) == (canonical, address)


@pytest.mark.parametrize(
    "url",
    [
        None,
        7,
        "",
        "example.com",
        "ftp://example.com/",
        "file:///etc/passwd",
        "HTTP://example.com/",
        "http:///a",
        "http://user@example.com/",
        "http://user:pass@example.com/",
        "http://example.com\\@evil.example/",
        "http://example.com#@evil.example/",
        "http://exa mple.com/",
        "http://example.com/a b",
        "http://example.com/a\nb",
        "http://example.com/#a",
        "http://example.com/{a}",
        "http://example.com/a?b#c",
        'http://example.com/a?"b"',
        "http://example.com/a?<b>",
        "http://example.com/../a",
        "http://example.com/a/%2E%2e/b",
        "http://example.com/a/.",
        "http://example..com/",
        "http://-a.example/",
        f"http://{'a' * 64}.example/",
        f"http://{'a.' * 130}example/",
        "http://example.com:0/",
        "http://example.com:22/",
        "http://example.com:65536/",
        "http://example.com:+80/",
        "http://0/",
        "http://127.1/",
        "http://2130706433/",
        "http://0x7f000001/",
        "http://0x7f.1/",
        "http://0177.0.0.1/",
        "http://127.0.0.1.1/",
        "http://127.0.0.256/",
        "http://1.0x/",
        "http://[::1%25lo]/",
        "http://[::1/",
        "http://[1.2.3.4]/",
        "http://\u2025.example/",
    ],
)
def test_what_is_not_in_its_form_is_refused(url: object) -> None:
    with pytest.raises(CapabilityError) as raised:
        read_url(url)
    assert raised.value.code == "invalid_url"


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=20) | st.from_regex(r"[0-9a-fx.]{1,12}", fullmatch=True))
def test_a_host_is_never_a_number_in_disguise(text: str) -> None:
    try:
        target = read_url(f"http://{text}/")
    except CapabilityError:
        return
    assert target.host.isascii()
    assert target.host == target.host.lower()
    assert not set(target.host) & set("/?#@\\ %")
    if target.address is None:
        last = target.host.rpartition(".")[2]
        assert not last.isdigit()
        assert not last.startswith("0x") or last[2:].strip("0123456789abcdef")
    assert read_url(target.url) == target


@pytest.mark.parametrize("method", ["GET", "PATCH", "x-own", "get"])
def test_methods_are_sent_as_they_are(method: str) -> None:
    assert read_method(method) == method


@pytest.mark.parametrize("method", [None, "", "A B", "A\r\nB", "connect", "TRACE"])
def test_methods_that_are_not_a_servers_are_refused(method: object) -> None:
    with pytest.raises(CapabilityError):
        read_method(method)


def test_headers_of_the_connection_are_left_out() -> None:
    pairs = [
        ["Host", "evil.example"],
        ["CONTENT-LENGTH", "5"],
        ["Transfer-Encoding", "chunked"],
        ["Proxy-Authorization", "x"],
        ["Upgrade", "websocket"],
        ["Cookie", "a=b"],
        ["X-A", "\u00e9 b"],
    ]
    kept = [("Cookie", "a=b"), ("X-A", "\u00e9 b")]
    assert read_headers(pairs, HEAD_BYTES) == kept


@pytest.mark.parametrize(
    "pairs",
    [
        None,
        "a",
        ["ab"],
        [["a"]],
        [["a", 1]],
        [["a b", "c"]],
        [["a", "b\r\nHost: evil.example"]],
        [["a", "b\0"]],
        [["a", "\u0100"]],
        [["a", " b"]],
        [["a", "b" * HEAD_BYTES]],
    ],
)
def test_headers_that_are_none_are_refused(pairs: Any) -> None:
    with pytest.raises(CapabilityError):
        read_headers(pairs, HEAD_BYTES)
