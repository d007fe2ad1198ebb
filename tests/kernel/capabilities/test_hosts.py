"""Hosts, ports and origins have one canonical form, wherever they are named."""

from __future__ import annotations

import pytest

from isokernel.capabilities.grant import Asked
from isokernel.capabilities.hosts import Place, read_host, read_origin, read_place
from isokernel.capabilities.policy import read_policy
from isokernel.errors import SettingsError
from isokernel.network.targets import read_url


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("example.com", "example.com"),
        ("EXAMPLE.Com.", "example.com"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("Bücher.example", "xn--bcher-kva.example"),
        ("\N{FULLWIDTH LATIN SMALL LETTER A}.com", "a.com"),
        ("a_b.example", "a_b.example"),
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.1.", "127.0.0.1"),
        ("[::1]", "::1"),
        ("[0:0:0:0:0:0:0:1]", "::1"),
    ],
)
def test_hosts_have_one_form(text: str, name: str) -> None:
    assert read_host(text).name == name
    assert (read_host(text).address is not None) == (name[-1] == "1")
    assert read_url(f"https://{text}/").host == name


@pytest.mark.parametrize(
    "text",
    ["", ".", "a..b", "-a.com", "a-.com", "a b", "a/b", "a:1", "*.a.com", "a*.com",
     "127.1", "0x7f000001", "1.2.3.4.5", "0177.0.0.1", "[a.com]", "[1.2.3.4]", "[::1",
     "a" * 64, "a." * 127 + "com", "user@a.com", "\N{BULLET}.com"],
)  # fmt: skip
def test_what_is_no_host_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not "):
        read_host(text)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a.com", Place("a.com")),
        ("a.com:80", Place("a.com", 80)),
        ("[::1]", Place("[::1]")),
        ("[::1]:65535", Place("[::1]", 65535)),
        ("::1", Place("[::1]")),
        ("::1:80", Place("[::1:80]")),  # an address, all of it
    ],
)
def test_ports_are_split_off(text: str, place: Place) -> None:
    assert read_place(text) == place


@pytest.mark.parametrize(
    "text",
    ["a.com:", "a.com:0", "a.com:65536", "a.com:http", "a.com:-1", "a.com:٣", "[::1]:",
     "[::1]80", "[::1", "["],
)  # fmt: skip
def test_what_is_no_port_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="port"):
        read_place(text)


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("https://Example.com", "https://example.com"),
        ("HTTPS://example.com:443", "https://example.com"),
        ("http://[0::1]:8888", "http://[::1]:8888"),
        ("https://bücher.example", "https://xn--bcher-kva.example"),
        ("null", "null"),
        ("vscode-webview://1abc", "vscode-webview://1abc"),
    ],
)
def test_origins_are_as_browsers_write_them(text: str, origin: str) -> None:
    assert read_origin(text) == origin


@pytest.mark.parametrize(
    "text",
    ["", "example.com", "https://", "https://a.com/", "https://a.com/x", "https://a..b",
     "https://a.com:0", "https://me@a.com", "https://*.a.com"],
)  # fmt: skip
def test_what_is_no_origin_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not "):
        read_origin(text)


@pytest.mark.parametrize(
    ("pattern", "url", "fits"),
    [
        ("127.0.0.1:3914", "http://127.0.0.1:3914/", True),
        ("127.0.0.1:3914", "http://127.0.0.1:3915/", False),
        ("[::1]:80", "http://[::1]/", True),
        ("::1", "http://[::1]:8000/", True),
        ("EXAMPLE.com.", "https://example.com/", True),
        ("*.Example.com.:443", "https://a.example.com/", True),
        ("bücher.example", "https://xn--bcher-kva.example/", True),
        ("*.bücher.example", "https://a.xn--bcher-kva.example/", True),
        ("1.2.3.4.", "https://1.2.3.4/", True),
        ("::ffff:1.2.3.4", "https://1.2.3.4/", True),
        ("HTTPS://example.com", "https://example.com/x", True),
        ("https://1.2.3.4:80", "http://1.2.3.4/", False),
        ("http://[::1]/x", "http://[::1]/x", True),
        ("http://::1/x", "http://[::1]/x", True),
        ("http://::1/x", "http://[::1]:81/x", False),
    ],
)
def test_rules_take_hosts_in_any_form(pattern: str, url: str, *, fits: bool) -> None:
    target = read_url(url)
    facts = {"scheme": target.scheme, "host": target.host, "port": target.port}
    verdict = read_policy({"net": [pattern]}).decide(Asked("net", target.url, facts))
    assert verdict.effect == ("allow" if fits else "deny")


@pytest.mark.parametrize(
    "pattern",
    ["example.com:0", "example.com:99999", "[example.com]:80", "[::1", "*:443",
     "a*.com", "*.*.com", "*.1.2.3.4", "a..b", "https://a.com:0/", "a." * 200],
)  # fmt: skip
def test_rules_that_nothing_would_fit_are_refused(pattern: str) -> None:
    with pytest.raises(SettingsError, match="means nothing for net"):
        read_policy({"net": [pattern]})


def test_modules_are_compared_by_canonical_hosts() -> None:
    """The URL is what code wrote; a rule that denies must not be gone around."""
    rule = {"effect": "deny", "capability": "modules", "target": "https://bücher.de/**"}
    policy = read_policy({"modules": "on", "rules": [rule]})
    for host in ("bücher.de", "xn--bcher-kva.de", "XN--BCHER-KVA.de", "bücher.de."):
        asked = Asked("modules", f"https://{host}/x.js", {})
        assert policy.decide(asked).effect == "deny", host
    assert policy.decide(Asked("modules", "https://b.de/x.js", {})).effect == "allow"
