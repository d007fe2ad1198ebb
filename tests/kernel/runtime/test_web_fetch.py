"""What `fetch` works with, and what is of use without it: Headers and FormData."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.support.web import CATCH

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.local_contexts import LocalContext

    Run = Callable[[str], Any]


# Headers ------------------------------------------------------------------------------


def test_headers_come_sorted_and_combined_but_for_cookies(run_js: Run) -> None:
    assert run_js("""
        const headers = new Headers([
          ["X-B", "1"], ["Set-Cookie", "z=1, 2"], ["A", "  2\\t"],
        ]);
        headers.append("x-b", "3");
        headers.append("set-cookie", "a=1");
        return [[...headers], headers.get("X-b"), headers.get("SET-COOKIE"),
                headers.getSetCookie(), headers.get("none")];
    """) == [
        [["a", "2"], ["set-cookie", "z=1, 2"], ["set-cookie", "a=1"], ["x-b", "1, 3"]],
        "1, 3",
        "z=1, 2, a=1",
        ["z=1, 2", "a=1"],
        None,
    ]


def test_set_replaces_the_first_and_removes_the_others(run_js: Run) -> None:
    assert run_js("""
        const headers = new Headers([["a", "1"], ["b", "2"], ["A", "3"]]);
        headers.set("a", "4");
        headers.delete("B");
        return [[...headers], headers.has("b")];
    """) == [[["a", "4"]], False]


@pytest.mark.parametrize(
    ("code", "wrong"),
    [
        ("new Headers(null)", "neither a sequence nor a record"),
        ("new Headers([['a']])", "no pair"),
        ("new Headers(['ab'])", "no sequence itself"),
        ("new Headers({ 'a b': '1' })", "no header name"),
        ("new Headers({ a: '1\\n2' })", "no header value"),
        ("new Headers({ a: '\\u0100' })", "above 255"),
        ("new Headers({ [Symbol()]: '1' })", "Symbol"),
        ("new Headers().set('a')", "2 arguments required"),
        ("new Headers().get('')", "no header name"),
        ("Headers.prototype.get.call({}, 'a')", "private"),
        ("new Headers().keys().next.call({})", "private"),
        ("Headers()", "without 'new'"),
    ],
)
def test_what_is_no_header_is_refused(
    context: LocalContext, code: str, wrong: str
) -> None:
    failure = context.run(code).failure
    assert failure.ename == "TypeError"
    assert wrong in failure.evalue


def test_a_record_is_read_as_web_idl_says(run_js: Run) -> None:
    assert run_js("""
        const seen = [];
        const record = Object.defineProperty({ b: 1, a: null }, "hidden", { value: 2 });
        const headers = new Headers(new Proxy(record, {
          get: (target, key) => (seen.push(["get", String(key)]), target[key]),
          ownKeys: (target) => (seen.push(["keys"]), Reflect.ownKeys(target)),
        }));
        return [[...headers], seen];
    """) == [
        [["a", "null"], ["b", "1"]],
        [["get", "Symbol(Symbol.iterator)"], ["keys"], ["get", "b"], ["get", "a"]],
    ]


def test_headers_of_an_answer_can_be_immutable(run_js: Run) -> None:
    assert run_js(f"""{CATCH}
        const headers = require("web/headers").immutable({{ a: "1" }});
        const changes = [() => headers.set("a", "2"), () => headers.append("b", "2"),
                         () => headers.delete("a")];
        const kinds = [];
        for (const change of changes) kinds.push((await caught(change))[0]);
        return [kinds, [...headers], [...new Headers(headers)]];
    """) == [["TypeError"] * 3, [["a", "1"]], [["a", "1"]]]


def test_iterating_goes_on_with_what_is_there_then(run_js: Run) -> None:
    assert run_js("""
        const headers = new Headers({ a: "1", b: "2", c: "3" });
        const seen = [];
        headers.forEach((value, name) => {
          seen.push(name);
          if (name === "a") headers.delete("b");
          if (name === "c") headers.append("d", "4");
        });
        const { prototype } = Headers;
        return [seen, Object.prototype.toString.call(headers.keys()),
                headers.keys() instanceof Iterator, prototype[Symbol.iterator].name,
                Headers.length, prototype.append.length];
    """) == [["a", "c", "d"], "[object Headers Iterator]", True, "entries", 0, 2]


# FormData -----------------------------------------------------------------------------


def test_blobs_in_a_form_are_files_with_names(run_js: Run) -> None:
    assert run_js("""
        const form = new FormData();
        const file = new File(["xy"], "own", { type: "a/b", lastModified: 5 });
        form.append("f", file);
        form.append("f", file, "other");
        form.append("f", new Blob(["z"], { type: "c/d" }));
        const [same, named, blob] = form.getAll("f");
        return [same === file, named.name, named.type, named.lastModified,
                await named.text(), blob instanceof File, blob.name, blob.type,
                await blob.text(), form.get("f") === form.get("f")];
    """) == [True, "other", "a/b", 5, "xy", True, "blob", "c/d", "z", True]


def test_a_form_keeps_its_order(run_js: Run) -> None:
    assert run_js("""
        const form = new FormData();
        for (const entry of [["a", 1], ["b", "2"], ["a", null]]) form.append(...entry);
        const first = [...form];
        form.set("a", "\\ud800");
        form.set("c", 4);
        form.delete("b");
        return [first, [...form], form.has("b"), form.getAll("b"), form.get("b")];
    """) == [
        [["a", "1"], ["b", "2"], ["a", "null"]],
        [["a", "\ufffd"], ["c", "4"]],
        False,
        [],
        None,
    ]


@pytest.mark.parametrize(
    ("code", "wrong"),
    [
        ("new FormData(null)", "HTMLFormElement"),
        ("new FormData().append('a')", "2 arguments required"),
        ("new FormData().append('a', 'b', 'c')", "not of type 'Blob'"),
        ("new FormData().set('a', Symbol())", "Symbol"),
        ("FormData.prototype.get.call({}, 'a')", "private"),
        ("structuredClone(new FormData())", "could not be cloned"),
    ],
)
def test_what_is_no_entry_is_refused(
    context: LocalContext, code: str, wrong: str
) -> None:
    assert wrong in context.run(code).failure.evalue


def test_changed_built_ins_change_neither(context: LocalContext) -> None:
    context.run("""
        const blob = new Blob(["xyz"]);
        for (const Class of [Array, String, RegExp, Map, Set, Iterator]) {
          for (const name of Object.getOwnPropertyNames(Class.prototype)) {
            if (name === "constructor") continue;
            try { Class.prototype[name] = () => "changed"; } catch {}
          }
        }
        Array.prototype[Symbol.iterator] = null;
        Object.getOwnPropertyNames = Object.keys = null;
        Reflect.ownKeys = Reflect.apply = null;
    """)
    outcome = context.run("""
        const form = new FormData();
        form.append("a", "1");
        form.set("a", blob, "n.txt");
        form.delete("b");
        const headers = new Headers({ B: " 2 ", a: "1" });
        headers.append("b", "3");
        headers.set("a", "4");
        let text = "";
        for (const pair of headers.entries()) text += `${pair[0]}=${pair[1]};`;
        form.forEach((value, name) => { text += `${name}=${value.name};`; });
        console.log(text);
    """)
    assert outcome.stdout == "a=4;b=2, 3;a=n.txt;\n"


def test_both_show_what_they_have(context: LocalContext) -> None:
    assert context.value("new Headers({ b: 1, a: 2 })") == "Headers { a: '2', b: '1' }"
    shown = context.value("(f => (f.append('a', 'b'), f))(new FormData())")
    assert shown == "FormData { 'a' => 'b' }"
    assert context.value("[new Headers(), new FormData()]") == (
        "[ Headers {}, FormData {} ]"
    )
