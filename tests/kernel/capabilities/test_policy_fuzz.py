"""Odd URLs, paths and packages against an oracle that knows what they are made of.

Everything is made of parts, and the oracle compares parts; the policy has the text
alone. What isn't in canonical form must be refused before anything is decided.
"""

from __future__ import annotations

import random
from typing import Any

import pytest
from tests.support.net_oracle import Place, Wanted

from isokernel.capabilities import Asked, Policy, read_policy
from isokernel.capabilities.policy import decide
from isokernel.errors import CapabilityError
from isokernel.network.addresses import network_of
from isokernel.network.targets import read_url

SOME, ALL = 500, 100_000
TIMES = [
    pytest.param(SOME, id="some"),
    pytest.param(ALL, id="all", marks=pytest.mark.slow),
]
LABELS = ["a", "api", "example", "com", "evil", "x-y", "xn--bcher-kva", "0", "a_b"]
ADDRESSES = [
    *("93.184.216.34", "8.8.8.8", "1.1.1.1", "2606:4700::1111"),
    *("127.0.0.1", "127.9.9.9", "10.0.0.1", "10.255.0.1", "172.16.0.1"),
    *("192.168.1.1", "169.254.169.254", "169.254.1.1", "100.64.0.1"),
    *("::1", "fe80::1", "fc00::1", "::ffff:10.0.0.1", "::ffff:8.8.8.8"),
    *("64:ff9b::a00:1", "2002:7f00:1::", "224.0.0.1", "255.255.255.255"),
]
NETWORKS = ["10.0.0.0/8", "127.0.0.0/8", "192.168.1.0/24", "::1/128", "fc00::/7"]
SEGMENTS = ["a", "b", "api", "%2e%2e", "%2F", "a%62c", "A", "..a", "~", "a.b", "*"]


def effect(policy: Policy, asked: Asked) -> str:
    return decide([policy], asked)[0].effect


# -- network ---------------------------------------------------------------------------


def _host(chance: random.Random) -> str:
    if chance.random() < 0.1:
        return chance.choice(["localhost", "evil.localhost", "localhost.evil"])
    return ".".join(chance.choice(LABELS) for _ in range(chance.randint(1, 4))) + "z"


def _path(chance: random.Random) -> tuple[str, ...]:
    count = chance.randint(0, 3)
    parts = [one for one in SEGMENTS if one not in {"%2e%2e", "*"}]
    return tuple(chance.choice(parts) for _ in range(count))


def _wanted(chance: random.Random) -> Wanted:
    kind = chance.randint(0, 4)
    if kind == 0:
        return Wanted(network=chance.choice(NETWORKS))
    if kind == 1:
        return Wanted()
    host, below = _host(chance), chance.random() < 0.3
    port = chance.choice([None, 80, 443, 8080])
    if kind == 2:
        return Wanted(host, below, port)
    scheme = chance.choice(["http", "https"])
    path = _path(chance) if kind == 4 else None
    return Wanted(host, below, port, scheme, path or None)


def _near(chance: random.Random, wanted: list[Wanted]) -> Place:
    """A place that is what a pattern means, or close by."""
    one = chance.choice(wanted)
    host = one.host or _host(chance)
    odd = chance.randint(0, 6)
    if odd == 0:
        host = f"{chance.choice(LABELS)}.{host}"
    elif odd == 1:
        host = f"{host}.{chance.choice(LABELS)}z"
    elif odd == 2:
        host = f"evil{host}"
    elif odd == 3:
        host = _host(chance)
    scheme = one.scheme or chance.choice(["http", "https"])
    if chance.random() < 0.2:
        scheme = chance.choice(["http", "https"])
    port = one.port or chance.choice([80, 443, 8080])
    path = (*(one.path or ()), *_path(chance))
    if chance.random() < 0.3:
        path = _path(chance)
    return Place(scheme, host, port, path, chance.choice(ADDRESSES))


def _asked(place: Place) -> Asked:
    """What the network decides, by its own reading of the URL."""
    target = read_url(place.url)
    facts = {
        "method": "GET",
        "scheme": target.scheme,
        "host": target.host,
        "port": target.port,
        "address": place.address,
        "network": network_of(place.address),
    }
    return Asked("net", target.url, facts)


@pytest.mark.parametrize("times", TIMES)
def test_hosts_urls_and_addresses(times: int) -> None:
    chance = random.Random(12)  # noqa: S311 - no secret
    allowed = 0
    for _ in range(times):
        allows = [_wanted(chance) for _ in range(chance.randint(1, 3))]
        denies = [_wanted(chance)] if chance.random() < 0.3 else []
        place = _near(chance, allows)
        rules = [
            {"effect": "deny", "capability": "net", "target": one.text}
            for one in denies
        ]
        given = {"net": [one.text for one in allows], "rules": rules}
        policy = read_policy(given, public_only=True)
        public = network_of(place.address) == "public"
        should = any(
            one.fits(place) and (public or one.names(place)) for one in allows
        ) and not any(one.fits(place) for one in denies)
        got = effect(policy, _asked(place)) == "allow"
        assert got == should, (given, place)
        allowed += got
    assert times // 20 < allowed < times


@pytest.mark.parametrize("times", TIMES)
def test_odd_urls_are_read_as_they_are_decided_or_not_at_all(times: int) -> None:
    """Whatever is put around an allowed host, no other host is let through."""
    chance = random.Random(13)  # noqa: S311 - no secret
    policy = read_policy({"net": ["good.com"]}, public_only=True)
    pieces = [
        *("good.com", "evil.com", "@", ":", "/", "\\", "#", "?", "%00", "%2e", "."),
        *("%40", "\t", "\n", " ", "[", "]", "::1", "127.0.0.1", "0x7f.1", "2130706433"),
        *(
            "\u3002",
            "\uff0e",
            "\u2024",
            "\u00ad",
            "\uff45vil.com",
            "..",
            "//",
            "80",
            "443",
        ),
        *("xn--", ";", "&", "good.com.", "user:pass@", "\x00", "localhost", "\ud800"),
    ]
    passed = 0
    for _ in range(times):
        scheme = chance.choice(
            ["http://", "https://", "HTTPS://", "ftp://", "http:", ""]
        )
        count = chance.randint(1, 4)
        text = scheme + "".join(chance.choice(pieces) for _ in range(count))
        try:
            target = read_url(text)
        except CapabilityError:
            continue
        facts = {"scheme": target.scheme, "host": target.host, "port": target.port}
        known = {**facts, "address": "93.184.216.34", "network": "public"}
        if effect(policy, Asked("net", target.url, known)) != "allow":
            continue
        passed += 1
        # By hand: what comes before the first of these is the place.
        place = text.partition("://")[2]
        for end in "/?#":
            place = place.partition(end)[0]
        host = place.rpartition(":")[0] if place.count(":") else place
        for dot in "\u3002\uff0e\uff61":
            host = host.replace(dot, ".")
        host = host.replace("\u00ad", "").lower().removesuffix(".")
        assert host == "good.com", text
    assert passed


# -- packages --------------------------------------------------------------------------

NAMES = ["d3", "lodash", "lodash-es", "lodash-es-evil", "@std/path", "@std/path-evil"]
NAMES += ["@std-evil/path", "std", "@a/b", "d3-array", "d", "D3"]
VERSIONS = ["1.0.0", "1.0.1", "1.1.0", "10.0.0", "7.9.0", "7.90.0", "7.0.0-beta.1"]


@pytest.mark.parametrize("times", TIMES)
def test_packages(times: int) -> None:
    chance = random.Random(14)  # noqa: S311 - no secret
    allowed = 0
    for _ in range(times):
        registry, name = chance.choice(["npm", "jsr"]), chance.choice(NAMES)
        version = chance.choice(VERSIONS)
        wanted_registry = chance.choice(["npm", "npm", "jsr"])
        kind = chance.randint(0, 4)
        wanted_name = name if chance.random() < 0.6 else chance.choice(NAMES)
        wanted_version: list[str] = []
        if kind == 0:
            text = f"{wanted_registry}:*"
            fits = True
        elif kind == 1 and wanted_name.startswith("@"):
            scope = wanted_name.partition("/")[0]
            text = f"{wanted_registry}:{scope}/*"
            fits = name.partition("/")[0] == scope and "/" in name
        else:
            text, fits = f"{wanted_registry}:{wanted_name}", name == wanted_name
            if kind > 2:
                numbers = chance.choice(VERSIONS[:6]).split(".")
                wanted_version = numbers[: chance.randint(1, 3)]
                text += "@" + ".".join(wanted_version)
        if wanted_version:
            count = len(wanted_version)
            same = version.split("-")[0].split(".")[:count] == wanted_version
            fits = fits and same and "-" not in version
        should = fits and registry == wanted_registry
        policy = read_policy({"modules": [text]})
        target = f"{registry}:{name}@{version}"
        got = effect(policy, Asked("modules", target, {})) == "allow"
        assert got == should, (text, target)
        allowed += got
    assert allowed


# -- files -----------------------------------------------------------------------------

PARTS = ["a", "b", "data", "data.csv", ".hidden", "...", "a b", "ä", "x\ny", "-", "%2e"]


def _segments(pattern: list[str], path: list[str]) -> bool:
    """Whether a path fits, part by part."""
    if not pattern:
        return not path
    if pattern[0] == "**":
        return any(
            _segments(pattern[1:], path[count:]) for count in range(len(path) + 1)
        )
    return (
        bool(path)
        and _letters(pattern[0], path[0])
        and _segments(pattern[1:], path[1:])
    )


def _letters(pattern: str, part: str) -> bool:
    if not pattern:
        return not part
    if pattern[0] == "*":
        return any(_letters(pattern[1:], part[n:]) for n in range(len(part) + 1))
    return bool(part) and part[0] == pattern[0] and _letters(pattern[1:], part[1:])


@pytest.mark.parametrize("times", TIMES)
def test_paths(times: int) -> None:
    chance = random.Random(15)  # noqa: S311 - no secret
    allowed = 0
    for _ in range(times):
        path = [chance.choice(PARTS) for _ in range(chance.randint(1, 4))]
        if chance.random() < 0.6:
            pattern = [
                chance.choice([part, part, "*", "**", f"{part[:1]}*", f"*{part[-1:]}"])
                for part in path[: chance.randint(1, len(path))]
            ]
        else:
            pattern = [
                chance.choice([*PARTS, "*"]) for _ in range(chance.randint(1, 3))
            ]
        if chance.random() < 0.3:
            pattern.append("**")
        if pattern in (["*"], ["**"]):
            continue  # everything
        policy = read_policy({"files": ["/".join(pattern)]})
        asked = Asked("files", "/" + "/".join(path), {"access": "read"})
        got = effect(policy, asked) == "allow"
        # What ends with ** is also what comes before.
        assert got == _segments(pattern, path), (pattern, path)
        allowed += got
    assert allowed


# -- policies that only narrow ---------------------------------------------------------


@pytest.mark.parametrize("times", TIMES)
def test_no_policy_widens_another(times: int) -> None:
    chance = random.Random(16)  # noqa: S311 - no secret
    for _ in range(times):
        places = [_wanted(chance) for _ in range(2)]
        given: list[dict[str, Any]] = [
            {"net": chance.choice(["on", "off", [one.text]])} for one in places
        ]
        workspace = read_policy(given[0], public_only=True)
        request = read_policy(given[1])
        asked = _asked(_near(chance, places))
        both = decide([workspace, request], asked)[0].effect
        if both == "allow":
            assert effect(workspace, asked) == effect(request, asked) == "allow"
        else:
            assert "deny" in {effect(workspace, asked), effect(request, asked)}
