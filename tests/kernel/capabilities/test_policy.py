"""Policies: what rules fit, and what they come to."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from isokernel.capabilities import (
    Asked,
    CapabilityDeniedError,
    Decisions,
    Noted,
    Policy,
    read_policy,
)
from isokernel.capabilities.policy import decide
from isokernel.capabilities.targets import suggested
from isokernel.errors import SettingsError

PUBLIC = {"address": "93.184.216.34", "network": "public"}


def net(url: str, method: str = "GET", **facts: Any) -> Asked:
    """A request as whoever makes it decides it."""
    scheme, _, rest = url.partition("://")
    place, _, path = rest.partition("/")
    host, colon, port = place.rpartition(":")
    if not colon or place.endswith("]"):
        host, port = place, "443" if scheme == "https" else "80"
    known = {
        "method": method,
        "scheme": scheme,
        "host": host.strip("[]"),
        "port": int(port),
    }
    return Asked("net", f"{scheme}://{place}/{path}", {**known, **facts})


def at(url: str, **facts: Any) -> Asked:
    """A request to a public address."""
    return net(url, **{**PUBLIC, **facts})


def modules(target: str, **facts: Any) -> Asked:
    return Asked("modules", target, facts)


def files(path: str, access: str = "read") -> Asked:
    return Asked("files", path, {"access": access})


def effect(given: dict[str, Any], asked: Asked) -> str:
    policy = read_policy(given, public_only=True)
    return decide([policy], asked)[0].effect


@pytest.mark.parametrize(
    ("pattern", "url", "allowed"),
    [
        ("example.com", "https://example.com/a?b", True),
        ("example.com", "http://example.com:8080/", True),
        ("example.com.", "https://example.com/", True),
        ("EXAMPLE.com", "https://example.com/", True),
        ("example.com", "https://a.example.com/", False),
        ("example.com", "https://example.com.evil.net/", False),
        ("example.com", "https://notexample.com/", False),
        ("example.com", "https://example.community/", False),
        ("*.example.com", "https://a.b.example.com/", True),
        ("*.example.com", "https://example.com/", False),
        ("*.example.com", "https://evilexample.com/", False),
        ("example.com:8443", "https://example.com:8443/", True),
        ("example.com:8443", "https://example.com/", False),
        ("https://example.com", "https://example.com/x/y", True),
        ("https://example.com", "http://example.com/", False),
        ("https://example.com", "https://example.com:8443/", False),
        ("https://example.com:8443", "https://example.com:8443/x", True),
        ("https://example.com/api/*", "https://example.com/api/x", True),
        ("https://example.com/api/*", "https://example.com/api/x?q=1", True),
        ("https://example.com/api/*", "https://example.com/api/x/y", False),
        ("https://example.com/api/**", "https://example.com/api/x/y", True),
        ("https://example.com/api/**", "https://example.com/apix", False),
        ("https://example.com/api", "https://example.com/%61pi", True),
        ("https://example.com/a?k=*", "https://example.com/a?k=1", True),
        ("https://example.com/a?k=*", "https://example.com/a", False),
        ("https://*", "https://anything.org/", True),
        ("https://*", "http://anything.org/", False),
        ("*", "https://anything.org/", True),
    ],
)
def test_hosts_and_urls(pattern: str, url: str, *, allowed: bool) -> None:
    made = effect({"net": [pattern]}, at(url))
    assert made == ("allow" if allowed else "deny")


@pytest.mark.parametrize(
    ("patterns", "host", "address", "network", "allowed"),
    [
        (["*"], "intranet", "10.0.0.1", "private", False),
        (["intranet"], "intranet", "10.0.0.1", "private", False),
        (["10.0.0.0/8"], "intranet", "10.0.0.1", "private", True),
        (["10.0.0.1"], "intranet", "10.0.0.1", "private", True),
        (["10.0.0.0/8"], "intranet", "192.168.0.1", "private", False),
        (["localhost"], "localhost", "127.0.0.1", "loopback", True),
        (["localhost:80"], "localhost", "127.0.0.1", "loopback", True),
        (["localhost:81"], "localhost", "127.0.0.1", "loopback", False),
        (["localhost"], "localhost", "10.0.0.1", "private", False),
        (["localhost"], "evil.com", "127.0.0.1", "loopback", False),
        (["*.localhost"], "a.localhost", "127.0.0.1", "loopback", True),
        (["evil.com"], "evil.com", "127.0.0.1", "loopback", False),
        (["*", "127.0.0.0/8"], "any.com", "127.0.0.1", "loopback", True),
        (["[::1]:80"], "::1", "::1", "loopback", True),
        (["::1"], "::1", "::1", "loopback", True),
        (["127.0.0.1"], "h", "::ffff:127.0.0.1", "loopback", True),
        (["*"], "169.254.169.254", "169.254.169.254", "metadata", False),
        (["on"], "m", "169.254.169.254", "metadata", False),
        (["on"], "m", "93.184.216.34", "public", True),
    ],
)
def test_addresses_that_arent_public_must_be_named(
    patterns: list[str], host: str, address: str, network: str, *, allowed: bool
) -> None:
    shown = f"[{host}]" if ":" in host else host
    asked = net(f"http://{shown}/", address=address, network=network)
    made = effect({"net": patterns}, asked)
    assert made == ("allow" if allowed else "deny")


def test_networks_can_be_named_by_a_rule() -> None:
    rule = {"effect": "allow", "capability": "net", "target": "*.corp"}
    given = {"net": "off", "rules": [{**rule, "networks": ["private"]}]}
    asked = net("http://a.corp/", address="10.1.2.3", network="private")
    assert effect(given, asked) == "allow"
    other = net("http://a.corp/", address="127.0.0.1", network="loopback")
    assert effect(given, other) == "deny"


def test_before_a_name_is_looked_up_what_may_be_allowed_is() -> None:
    given = {"net": ["10.0.0.0/8"]}
    assert effect(given, net("http://intranet/")) == "allow"
    assert effect(given, net("http://8.8.8.8/")) == "deny"
    deny = {"effect": "deny", "capability": "net", "target": "10.0.0.0/8"}
    assert effect({"net": "on", "rules": [deny]}, net("http://intranet/")) == "allow"
    known = net("http://intranet/", address="10.0.0.1", network="private")
    assert effect({"net": ["10.0.0.0/8"], "rules": [deny]}, known) == "deny"


@pytest.mark.parametrize(
    ("pattern", "target", "allowed"),
    [
        ("npm:lodash-es", "npm:lodash-es@4.17.21", True),
        ("lodash-es", "npm:lodash-es@4.17.21", True),
        ("npm:lodash-es", "npm:lodash-es-evil@1.0.0", False),
        ("npm:lodash-es", "npm:@evil/lodash-es@1.0.0", False),
        ("npm:lodash*", "npm:lodash-es@4.17.21", True),
        ("npm:d3@7", "npm:d3@7.9.0", True),
        ("npm:d3@7", "npm:d3@70.0.0", False),
        ("npm:d3@7.9.0", "npm:d3@7.9.0", True),
        ("npm:d3@7.9.0", "npm:d3@7.9.1", False),
        ("npm:d3@7", "npm:d3@7.0.0-beta.1", False),
        ("npm:@observablehq/*", "npm:@observablehq/plot@0.6.0", True),
        ("npm:@observablehq/*", "npm:@observablehq-evil/plot@0.6.0", False),
        ("npm:@observablehq/*", "npm:observablehq@0.6.0", False),
        ("npm:*", "npm:@any/thing@1.0.0", True),
        ("npm:*", "https://esm.sh/d3", False),
        ("jsr:@std/*", "jsr:@std/path@1.0.0", True),
        ("jsr:@std/*", "npm:@std/path@1.0.0", False),
        ("https://esm.sh/**", "https://esm.sh/d3@7", True),
        ("https://esm.sh/**", "https://esm.sh.evil.com/d3@7", False),
        ("https://esm.sh/**", "http://esm.sh/d3@7", False),
        ("on", "npm:anything@1.0.0", True),
        ("off", "npm:anything@1.0.0", False),
    ],
)
def test_packages(pattern: str, target: str, *, allowed: bool) -> None:
    made = effect({"modules": pattern}, modules(target))
    assert made == ("allow" if allowed else "deny")


@pytest.mark.parametrize(
    ("given", "allowed"),
    [
        ({"modules": "npm:d3"}, True),
        ({"modules": "npm:d3-array"}, True),
        ({"modules": "npm:internmap"}, True),
        ({"modules": "npm:d"}, False),
        ({"modules": "off"}, False),
        (
            {
                "modules": "npm:d3",
                "rules": [
                    {
                        "effect": "deny",
                        "capability": "modules",
                        "target": "npm:internmap",
                    }
                ],
            },
            False,
        ),
        (
            {
                "modules": "on",
                "rules": [
                    {"effect": "deny", "capability": "modules", "target": "npm:d3"}
                ],
            },
            True,
        ),
    ],
)
def test_a_package_that_is_allowed_brings_others(
    given: dict[str, Any], *, allowed: bool
) -> None:
    """What a rule denies is that package only; what brings it is decided before."""
    chain = ["npm:d3-array@3.2.4", "npm:d3@7.9.0"]
    made = effect(given, modules("npm:internmap@2.0.3", dependents=chain))
    assert made == ("allow" if allowed else "deny")


@pytest.mark.parametrize(
    ("pattern", "path", "allowed"),
    [
        ("data/**", "/data/a/b.csv", True),
        ("data/**", "/data", True),
        ("data/**", "/database", False),
        ("/data/*.csv", "/data/a.csv", True),
        ("/data/*.csv", "/data/a/b.csv", False),
        ("*.csv", "/a.csv", True),
        ("**/*.csv", "/x/y/a.csv", True),
        ("**/*.csv", "/a.csv", True),
        ("*.csv", "/a.csv\n", False),
        ("a*", "/a\nb", True),
        ("read", "/anything", True),
    ],
)
def test_paths(pattern: str, path: str, *, allowed: bool) -> None:
    made = effect({"files": pattern}, files(path))
    assert made == ("allow" if allowed else "deny")


def test_files_may_be_for_reading_only() -> None:
    assert effect({"files": "read"}, files("/a", "write")) == "deny"
    assert effect({"files": "on"}, files("/a", "write")) == "allow"


@pytest.mark.parametrize(
    ("name", "allowed"), [("HOME", True), ("APP_KEY", True), ("OTHER", False)]
)
def test_variables(name: str, *, allowed: bool) -> None:
    made = effect({"env": "HOME, APP_*"}, Asked("env", name))
    assert made == ("allow" if allowed else "deny")


def test_the_most_restrictive_rule_wins() -> None:
    rules = [
        {"effect": "allow", "capability": "net", "target": "example.com"},
        {
            "effect": "require_approval",
            "capability": "net",
            "target": "example.com",
            "conditions": [{"key": "method", "operator": "not_equals", "value": "GET"}],
        },
        {
            "effect": "deny",
            "capability": "net",
            "target": "https://example.com/admin/**",
        },
    ]
    given = {"net": "off", "rules": rules}
    assert effect(given, at("https://example.com/")) == "allow"
    asked = at("https://example.com/", method="POST")
    assert effect(given, asked._replace(facts={**asked.facts})) == "require_approval"
    assert effect(given, at("https://example.com/admin/x")) == "deny"
    assert effect(given, at("https://example.com/%61dmin/x")) == "deny"


@pytest.mark.parametrize("target", ["*", "127.0.0.1", "http://*/**"])
def test_an_approval_is_needed_for_addresses_that_another_rule_names(
    target: str,
) -> None:
    """A rule without the address lets nothing through to it, and restricts it yet."""
    rule = {"effect": "require_approval", "capability": "net", "target": target}
    facts = {"address": "127.0.0.1", "network": "loopback"}
    asked = net("http://127.0.0.1:8000/", **facts)
    named = {"net": ["127.0.0.1:8000"]}
    assert effect(named, asked) == "allow"
    assert effect({**named, "rules": [rule]}, asked) == "require_approval"
    alone = "require_approval" if target == "127.0.0.1" else "deny"
    assert effect({"net": "off", "rules": [rule]}, asked) == alone


def test_policies_only_narrow() -> None:
    workspace = read_policy({"net": ["a.com", "b.com"]}, public_only=True)
    request = read_policy({"net": ["b.com", "c.com", "10.0.0.1"]})
    for host, wanted in (("a", "deny"), ("b", "allow"), ("c", "deny")):
        verdict, _ = decide([workspace, request], at(f"https://{host}.com/"))
        assert verdict.effect == wanted
    private = net("http://10.0.0.1/", address="10.0.0.1", network="private")
    assert decide([workspace, request], private)[0].effect == "deny"
    silent = read_policy({"modules": "off"})
    assert decide([workspace, silent], at("https://a.com/"))[0].effect == "allow"


@pytest.mark.parametrize(
    ("path", "denied"),
    [
        ("/admin/x", True),
        ("//admin/x", True),
        ("/x//../admin/x", True),
        ("/%2Fadmin/x", True),
        ("/x/..%2fadmin/x", True),
        ("/x%2F%2E%2E%5cadmin%2fx", True),
        ("/ADMIN/x", True),
        ("/Admin%2Fx", True),
        ("/admin", False),
        ("/administer/x", False),
        ("/x/admin/x", False),
        ("/a%252Fadmin/x", False),
    ],
)
@pytest.mark.parametrize("effect_", ["deny", "require_approval"])
def test_a_rule_that_restricts_holds_for_what_servers_may_take_alike(
    path: str, effect_: str, *, denied: bool
) -> None:
    target = "https://example.com/admin/**"
    rule = {"effect": effect_, "capability": "net", "target": target}
    found = effect({"net": "on", "rules": [rule]}, at(f"https://example.com{path}"))
    assert found == (effect_ if denied else "allow")


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/api/x", True),
        ("/api//x", True),
        ("/api/group%2Fproject", True),
        ("/api/a..b", True),
        ("/api/..%2fadmin", False),
        ("/api/x%5C..%5c..%5Cadmin", False),
        ("/api/x%2F..%2fy", True),
        ("/API/x", False),
        ("//api/x", False),
    ],
)
def test_a_rule_that_allows_a_path_allows_no_way_out_of_it(
    path: str, *, allowed: bool
) -> None:
    found = effect(
        {"net": ["https://example.com/api/**"]}, at(f"https://example.com{path}")
    )
    assert found == ("allow" if allowed else "deny")


@pytest.mark.parametrize(
    "given",
    [
        {"net": ["\N{BULLET}.de"]},
        {"net": ["http://user@example.com/"]},
        {"net": ["ftp://example.com/"]},
        {"net": ["127.1"]},
        {"net": ["0x7f000001"]},
        {"net": ["exa mple.com"]},
        {"net": ["a..b"]},
        {"net": ["10.0.0.1/8"]},
        {"net": 1},
        {"net": [1]},
        {"modules": ["npm:"]},
        {"modules": ["npm:d3@^7"]},
        {"modules": ["npm:../x"]},
        {"modules": ["pip:x"]},
        {"files": ["../x"]},
        {"files": ["a/./b"]},
        {"files": ["/"]},
        {"env": ["A=B"]},
        {"env": "ask"},
        {"net": ["ask", "a.com"]},
        {"disk": "on"},
        {"rules": [{}]},
        {"rules": [{"effect": "allow", "capability": "disk"}]},
        {"rules": [{"effect": "maybe", "capability": "net"}]},
        {"rules": [{"effect": "allow", "capability": "net", "hosts": []}]},
        {"rules": [{"effect": "allow", "capability": "net", "networks": ["x"]}]},
        {"rules": [{"effect": "allow", "capability": "env", "networks": ["public"]}]},
        {"rules": [{"effect": "allow", "capability": "net", "conditions": [{}]}]},
        {
            "rules": [
                {
                    "effect": "allow",
                    "capability": "net",
                    "conditions": [
                        {"key": "method", "operator": "matches", "value": "(?=x)"}
                    ],
                }
            ]
        },
    ],
)
def test_what_cant_be_understood_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        read_policy(given)


@pytest.mark.parametrize(
    ("capability", "word"),
    [
        ("modules", "allow"),
        ("modules", "npm"),
        ("modules", "on,npm:d3"),
        ("net", "true"),
        ("net", "all"),
        ("files", "write"),
        ("env", "deny"),
    ],
)
def test_words_that_mean_nothing_are_refused(capability: str, word: str) -> None:
    with pytest.raises(SettingsError) as refused:
        read_policy({capability: word})
    text = str(refused.value)
    assert f"means nothing for {capability}: it takes on, off" in text
    assert "such as" in text


def test_names_that_look_like_words_can_be_written_out() -> None:
    assert effect({"modules": ["npm:npm"]}, modules("npm:npm@1.0.0")) == "allow"
    assert effect({"files": ["/write"]}, files("write")) == "allow"
    assert effect({"net": ["all:443"]}, at("https://all/")) == "allow"


@pytest.mark.parametrize(
    ("pattern", "may"),
    [
        ("npm:d3", "allow"),
        ("npm:d3@7", "allow"),
        ("npm:d3-array", "deny"),
        ("jsr:*", "deny"),
    ],
)
def test_what_no_version_would_allow_is_denied_early(pattern: str, may: str) -> None:
    asked = modules("npm:d3", name="d3", early=True, dependents=[])
    assert effect({"modules": [pattern]}, asked) == may
    brought = modules("npm:d3", early=True, dependents=["npm:plot@1.0.0"])
    assert effect({"modules": ["npm:plot"]}, brought) == "allow"
    rule = {"effect": "deny", "capability": "modules", "target": "npm:d3@7"}
    assert effect({"modules": ["npm:d3"], "rules": [rule]}, asked) == "allow"
    conditions = [{"key": "version", "operator": "starts_with", "value": "7."}]
    seven = {"effect": "allow", "capability": "modules", "conditions": conditions}
    assert effect({"modules": "off", "rules": [seven]}, asked) == "allow"


# -- decisions ---------------------------------------------------------------------


class Book:
    """Keeps what is noted."""

    def __init__(self) -> None:
        self.entries: list[tuple[str, str]] = []
        self.decisions = Decisions(self.note)

    async def note(self, noted: Noted) -> None:
        self.entries.append((noted.asked.target, noted.outcome))

    def decide(self, policy: Policy, *asked: Asked, approve: Any = None) -> list[str]:
        """What is said to each, in order: nothing, or the denial."""

        async def all_of_them() -> list[str]:
            said = []
            for one in asked:
                try:
                    await self.decisions.decide([policy], one, approve)
                except CapabilityDeniedError as error:  # noqa: PERF203 - that's it
                    said.append(str(error))
                else:
                    said.append("")
            return said

        return asyncio.run(all_of_them())


def test_a_denial_says_what_would_allow_it() -> None:
    book = Book()
    setting = "--{capability} {pattern}"
    policy = read_policy({"net": "off"}, public_only=True, setting=setting)
    (said,) = book.decide(policy, at("https://api.example.com:8443/x"))
    assert said == (
        "net: https://api.example.com:8443/x is denied: no policy allows it; "
        "--net api.example.com:8443 would allow it"
    )
    policy = read_policy({"net": "on"}, public_only=True, setting=setting)
    asked = net("http://db/", address="10.0.0.7", network="private")
    (said,) = book.decide(policy, asked)
    assert said == (
        "net: http://db/ is denied: 10.0.0.7 is private, and no policy names it; "
        "--net 10.0.0.7 would allow it"
    )


@pytest.mark.parametrize("lasting", [True, False])
def test_an_approval_is_asked_for_once_if_it_lasts(*, lasting: bool) -> None:
    rule = {"effect": "require_approval", "capability": "net", "target": "*"}
    policy = read_policy({"rules": [rule]}, public_only=True)
    asked: list[Asked] = []

    async def approve(one: Asked, _verdict: Any) -> bool:
        asked.append(one)
        return lasting

    book = Book()
    url = "https://example.com/"
    assert book.decide(
        policy, net(url), at(url), at(url), at(f"{url}x"), approve=approve
    ) == ["", "", "", ""]
    expected = [url, f"{url}x"] if lasting else [url, url, url, f"{url}x"]
    assert [one.target for one in asked] == expected
    (said,) = Book().decide(policy, at(url))
    assert "needs an approval, and nobody here can be asked" in said


def test_each_thing_is_noted_once() -> None:
    book = Book()
    policy = read_policy({"net": ["a.com"]}, public_only=True)
    url = "https://a.com/"
    book.decide(policy, net(url), at(url), at(url), at("https://b.com/"))
    assert book.entries == [(url, "allowed"), ("https://b.com/", "denied")]


def test_the_mode_audit_lets_pass_and_makes_a_policy() -> None:
    book = Book()
    policy = read_policy(
        {"net": "off", "modules": "off"}, public_only=True, mode="audit"
    )
    asked = [
        at("https://a.com/x"),
        at("http://b.com:8080/y"),
        modules("npm:d3@7.9.0"),
        modules("npm:@scope/x@1.0.0"),
    ]
    assert book.decide(policy, *asked) == ["", "", "", ""]
    assert {outcome for _, outcome in book.entries} == {"passed"}
    report = book.decisions.report()
    assert report == {
        "modules": ["npm:@scope/x", "npm:d3"],
        "net": ["a.com", "b.com:8080"],
    }
    allowing = read_policy(report, public_only=True)
    assert all(decide([allowing], one)[0].effect == "allow" for one in asked)
    private = net("http://db/", address="10.0.0.7", network="private")
    assert book.decide(policy, private) != [""]


def test_a_policy_that_enforces_holds_beside_one_that_notes() -> None:
    noting = read_policy({"net": "off"}, public_only=True, mode="audit")
    request = read_policy({"net": ["a.com"]})
    assert decide([noting, request], at("https://b.com/"))[0].effect == "deny"
    verdict, audited = decide([noting, request], at("https://a.com/"))
    assert verdict.effect == "allow"
    assert audited is not None


@pytest.mark.parametrize(
    "asked",
    [
        at("https://a.com/x"),
        at("http://a.com:81/x"),
        net("http://localhost:81/", address="127.0.0.1", network="loopback"),
        net("http://db/", address="10.0.0.7", network="private"),
        net("http://[::1]/", address="::1", network="loopback"),
        modules("npm:@a/b@1.0.0"),
        modules("https://esm.sh/d3@7"),
        files("/a/b.csv"),
        Asked("env", "HOME"),
    ],
    ids=lambda asked: asked.target,
)
def test_what_is_suggested_allows_it(asked: Asked) -> None:
    assert effect({asked.capability: [suggested(asked)]}, asked) == "allow"
