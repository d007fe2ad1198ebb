"""Completion: what is offered where, of which kind, and that no user code runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.local_contexts import LocalContext

    from isokernel.context.queries import Completions

SETUP = """
let foo = {alpha: 1, beta: {zed: [{q: 1}]}, get boom() { ran++; return {} },
  'my key': 2, "it's": 3};
const arr = [{x: {y: 1}}]; class Cls { static st() {} }
let i = 0; var glob = 3; function fn() {}; var ran = 0; var noted = () => ran++;
var proxy = new Proxy({a: 1}, {ownKeys: noted, get: noted, has: noted,
  getOwnPropertyDescriptor: noted, getPrototypeOf: noted});
const typed = new Uint8Array(100000);
"""


@pytest.fixture
def filled(context: LocalContext) -> LocalContext:
    """A context with things to complete."""
    context.run(SETUP)
    return context


def at_end(context: LocalContext, code: str) -> Completions:
    return context.context.queries.complete(code, len(code))


@pytest.mark.parametrize(
    ("code", "matches"),
    [
        ("foo.al", ["alpha"]),
        ("foo?.be", ["beta"]),
        ("'abc'.toU", ["toUpperCase"]),
        ("`abc`.toU", ["toUpperCase"]),
        ("5..toF", ["toFixed"]),
        ("(5).toF", ["toFixed"]),
        ("foo.alpha.toF", ["toFixed"]),
        ("/re/g.te", ["test"]),
        ("[1, 2].fl", ["flat", "flatMap"]),
        ("arr[0].x.y", ["y"]),
        ("arr[i].x.y", ["y"]),
        ("foo['beta'].z", ["zed"]),
        ("foo?.['beta']?.zed[0].q", ["q"]),
        ("(foo).be", ["beta"]),
        ("this.glo", ["globalThis", "global", "glob"]),
        ("Math.ma", ["max"]),
        ("Cls.s", ["st"]),
        ("new Cls.s", ["st"]),
        ("`x${foo.be", ["beta"]),
        ("`x${`y${foo.be", ["beta"]),
        ("`x${1}` + foo.be", ["beta"]),
        ("a / b / foo.be", ["beta"]),
        ("x = /foo./; foo.be", ["beta"]),
        ("// note\nfoo.be", ["beta"]),
        ("/* 'x */ foo.be", ["beta"]),
        ("'it\\'s'; foo.be", ["beta"]),
        ("if (foo) { foo\n  .be", ["beta"]),
        ("({a: foo.be", ["beta"]),
        ("await foo.be", ["beta"]),
        ('foo["al', ["alpha"]),
        ("foo['my", ["my key"]),
        ("foo?.['my", ["my key"]),
        ("foo['it", ["it\\'s"]),
        ('foo["it', ["it's"]),
        ("gene; fo", ["foo", "for"]),
        ("const local = 1; loc", ["local"]),
        ("fun", ["function"]),
        ("structuredC", ["structuredClone"]),
        ("URLS", ["URLSearchParams"]),
        ("crypto.randomU", ["randomUUID"]),
        ("display.ht", ["html"]),
        ("Jupyter.getp", ["getpass"]),
    ],
)
def test_matches(filled: LocalContext, code: str, matches: list[str]) -> None:
    """Names, members, keys and keywords are completed from the live values."""
    assert at_end(filled, code).matches == matches


@pytest.mark.parametrize(
    "code",
    [
        "// foo.",
        "/* foo.",
        "'foo.",
        "`foo.",
        "/foo.",
        "1.",
        "12",
        "foo().",
        "noted().",
        "new Cls().",
        "tag`a`.tr",
        "nope.x",
        "foo.boom.",
        "proxy.",
        "proxy.a.",
        "foo.nope.x",
        "foo[noted()].",
        "(noted(), foo).",
        "call('al",
        "{}.x",
        "foo.'",
    ],
)
def test_nothing(filled: LocalContext, code: str) -> None:
    """No completion inside of text, nor of what only running code could tell."""
    assert at_end(filled, code).matches == []


def test_no_code_runs(filled: LocalContext) -> None:
    """No getter, function or trap is run."""
    for code in (
        "foo.boom.",
        "foo.",
        "proxy.",
        "proxy.a",
        "noted().",
        "f",
        "proxy['",
        "pro",
    ):
        at_end(filled, code)
    assert filled.value("ran") == "0"


def test_own_first(filled: LocalContext) -> None:
    """An object's own properties come before those of its prototypes."""
    matches = at_end(filled, "foo.").matches
    assert matches[:3] == ["alpha", "beta", "boom"]
    assert "hasOwnProperty" in matches
    assert "__proto__" not in matches
    assert "__proto__" in at_end(filled, "foo.__").matches


def test_types(filled: LocalContext) -> None:
    """Each match says what it is."""
    for code, kind in [
        ("fn", "function"),
        ("Cls", "class"),
        ("glob", "variable"),
        ("whil", "keyword"),
        ("Math", "module"),
        ("Map", "class"),
        ("foo.al", "property"),
        ("URL", "class"),
        ("atob", "function"),
        ("Math.max", "function"),
        ("display.html", "function"),
    ]:
        completions = at_end(filled, code)
        assert completions.types[0] == kind, code
    completions = at_end(filled, "disp")
    assert ("display.table", "snippet") in zip(
        completions.matches, completions.types, strict=True
    )


def test_range(filled: LocalContext) -> None:
    """What is replaced is counted in code points, and ends at the cursor."""
    code = "'é😀'; foo.alXX"
    completions = filled.context.queries.complete(code, len(code) - 2)
    assert (completions.start, completions.end) == (10, 12)
    assert completions.matches == ["alpha"]


def test_lazy_globals_stay_lazy(filled: LocalContext) -> None:
    """Listing the web's globals doesn't load them."""
    assert "URL" in at_end(filled, "").matches
    assert (
        filled.value("'get' in Object.getOwnPropertyDescriptor(globalThis, 'URL')")
        == "true"
    )


def test_long_lists(filled: LocalContext) -> None:
    """The elements of long lists are not offered, their methods are."""
    matches = at_end(filled, "typed.").matches
    assert "subarray" in matches
    assert len(matches) < 100


@pytest.mark.parametrize(
    "code", ["", ")", "}}", "`${", "'\\", "a.", "?.", "[", "#p", "\\u{", "\ud83d"]
)
def test_odd_code(filled: LocalContext, code: str) -> None:
    """Nothing that is typed makes it fail."""
    at_end(filled, code)
