"""Clients behind proxies: whose address counts, and what is believed of headers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.server import JAVASCRIPT_FLAGS
from tornado.httputil import HTTPHeaders

from isoserver.errors import InvalidSettingsError
from isoserver.http.proxies import Proxies
from isoserver.settings.reading import read_settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.server import Server

PROXY = "10.0.0.2"
PROXIES = Proxies([PROXY, "10.0.1.0/24", "2001:db8::/32"])


def client_of(peer: str, forwarded_for: str = "", forwarded: str = "") -> str:
    headers = HTTPHeaders()
    if forwarded_for:
        headers["X-Forwarded-For"] = forwarded_for
    if forwarded:
        headers["Forwarded"] = forwarded
    return PROXIES.client(peer, headers)


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "client"),
    [
        (PROXY, "198.51.100.7", "198.51.100.7"),
        (PROXY, " 198.51.100.7 , 10.0.1.9", "198.51.100.7"),  # two proxies
        (f"::ffff:{PROXY}", "198.51.100.7", "198.51.100.7"),
        (PROXY, "::ffff:198.51.100.7", "198.51.100.7"),
        (PROXY, "198.51.100.7:4711", "198.51.100.7"),
        (PROXY, "2a00::7", "2a00::7"),
        (PROXY, "[2a00::7]:4711", "2a00::7"),
        ("2001:db8::1", "198.51.100.7", "198.51.100.7"),
        (PROXY, "10.0.1.7,10.0.1.8", "10.0.1.7"),  # a client among the proxies
        (PROXY, "", PROXY),
        # Nobody says so whom the setting names.
        ("198.51.100.1", "198.51.100.7", "198.51.100.1"),
        ("10.0.2.1", PROXY, "10.0.2.1"),
        # What is before the first address that is no proxy's may say anything.
        (PROXY, "10.0.1.1, 192.0.2.1, 198.51.100.7", "198.51.100.7"),
        (PROXY, "192.0.2.1, unknown", PROXY),
        (PROXY, "192.0.2.1, unknown, 10.0.1.9", "10.0.1.9"),
        (PROXY, "192.0.2.1,", PROXY),
        (PROXY, "192.0.2.1 192.0.2.2", PROXY),
        (PROXY, "fe80::1%eth0", PROXY),
        (PROXY, "198.51.100.7" + "," * 5000, PROXY),
        (PROXY, "1.2.3.4.5", PROXY),
        (PROXY, "\uff11.2.3.4", PROXY),
    ],
)
def test_whom_x_forwarded_for_names(peer: str, forwarded_for: str, client: str) -> None:
    assert client_of(peer, forwarded_for) == client


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        ("for=198.51.100.7", "198.51.100.7"),
        ('For="198.51.100.7:4711";proto=https;by=10.0.0.2', "198.51.100.7"),
        ('proto=http; for="[2a00::7]:4711"', "2a00::7"),
        ("for=192.0.2.1, for=198.51.100.7, for=10.0.1.9", "198.51.100.7"),
        ("for=192.0.2.1, for=_hidden", PROXY),
        ("for=192.0.2.1, proto=https", PROXY),
        ("for=192.0.2.1;for=192.0.2.2", PROXY),
        # A quote that is left open, and a proxy that adds what it knows behind it.
        ('for=192.0.2.1;x=", for=198.51.100.7', PROXY),
        ('for=192.0.2.1;x=", for="[2a00::7]:80"', PROXY),
        (r'for="192.0.2.1\", for=198.51.100.7', PROXY),
        ('x="for=192.0.2.1", for=198.51.100.7', "198.51.100.7"),
    ],
)
def test_whom_forwarded_names(forwarded: str, client: str) -> None:
    assert client_of(PROXY, forwarded=forwarded) == client


def test_of_two_headers_that_differ_neither_is_believed() -> None:
    """A proxy that knows one of them passes the other on as the client has sent it."""
    assert client_of(PROXY, "198.51.100.7", "for=198.51.100.7") == "198.51.100.7"
    assert client_of(PROXY, "198.51.100.7", "for=192.0.2.1") == PROXY


@given(st.text(st.characters(max_codepoint=255), max_size=60), st.sampled_from('" '))
def test_no_header_hides_whom_a_proxy_has_added(text: str, quote: str) -> None:
    """Whatever a client sends: it is the one that the proxy saw, or the proxy is."""
    seen = "198.51.100.7"
    added = f'for="{seen}:80"' if quote.strip() else f"for={seen}"
    assert client_of(PROXY, f"{text}, {seen}") == seen
    assert client_of(PROXY, forwarded=f"{text}, {added}") in {seen, PROXY}


@pytest.mark.parametrize("name", ["box.example", "10.0.0.1/8", "10.0.0.0/40", "*"])
def test_proxies_are_addresses_and_networks(name: str) -> None:
    with pytest.raises(InvalidSettingsError, match="--trusted-proxies: "):
        read_settings(trusted_proxies=name)


def test_wrong_keys_are_the_client_s(servers: Callable[..., Server]) -> None:
    """One client's wrong keys keep out neither another one nor the proxy."""
    key = "the-secret-key-of-somebody"
    server = servers(
        *("--trusted-proxies", "127.0.0.1,10.0.0.0/8", "--api-key", key),
        *("--failure-rate-per-minute", "5", *JAVASCRIPT_FLAGS),
    )

    def ask(address: str, given: str, proxy: str = "127.0.0.1") -> int:
        transport = httpx.HTTPTransport(local_address=proxy)
        headers = {"X-API-Key": given, "X-Forwarded-For": address}
        with httpx.Client(transport=transport, headers=headers) as client:
            return client.get(f"{server.url}/contexts").status_code

    statuses = [ask("198.51.100.7", "a-wrong-key-of-them") for _ in range(7)]
    assert statuses.count(401) in {5, 6}  # the bucket refills
    assert statuses[-1] == 429
    assert ask("198.51.100.7", key) == 429
    assert ask("192.0.2.9, 198.51.100.7, 10.1.2.3", key) == 429
    assert ask("198.51.100.8", key) == 200
    assert ask("", key) == 200
    # Who is no proxy names nobody else.
    assert ask("198.51.100.7", key, "127.0.0.2") == 200
    server.stop()
    remotes = [
        line["remote"]
        for line in map(json.loads, server.said.splitlines())
        if line.get("route") == "/contexts"
    ]
    assert remotes[-4:] == ["198.51.100.7", "198.51.100.8", "127.0.0.1", "127.0.0.2"]
