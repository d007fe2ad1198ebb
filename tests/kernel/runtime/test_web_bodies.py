"""Request and Response: what `fetch` takes and gives, of use without a network too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.support.web import CATCH

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.local_contexts import LocalContext

    Run = Callable[[str], Any]

TEXT = "text/plain;charset=UTF-8"


@pytest.mark.parametrize(
    ("body", "content_type", "text"),
    [
        ("'h\\u00e9 \\ud800'", TEXT, "h\u00e9 \ufffd"),
        ("42", TEXT, "42"),
        (
            "new URLSearchParams({ a: 'b c', d: '\\u00e9' })",
            "application/x-www-form-urlencoded;charset=UTF-8",
            "a=b+c&d=%C3%A9",
        ),
        ("new Blob(['ab'], { type: 'Text/X' })", "text/x", "ab"),
        ("new Uint8Array([97, 98, 99]).subarray(1)", None, "bc"),
        ("new DataView(new Uint8Array([97]).buffer)", None, "a"),
        ("new Blob(['abc']).stream()", None, "abc"),
    ],
)
def test_what_can_be_a_body_has_its_type(
    run_js: Run, body: str, content_type: str | None, text: str
) -> None:
    assert (
        run_js(f"""
        const made = [new Response({body}),
          new Request("http://a/", {{ method: "post", body: {body}, duplex: "half" }})];
        const all = made.map(async (one) => [one.headers.get("content-type"),
          one.bodyUsed, await one.text(), one.bodyUsed]);
        return Promise.all(all);
    """)
        == [[content_type, False, text, True]] * 2
    )


def test_a_body_is_read_once_in_any_of_its_forms(run_js: Run) -> None:
    assert run_js(f"""{CATCH}
        const headers = {{ "content-type": "a/b" }};
        const make = () => new Response("[1]", {{ headers }});
        const read = make();
        const gathered = [];
        for await (const chunk of make().body) gathered.push(...chunk);
        return [
          await read.json(), await caught(() => read.text()), read.body.locked,
          [...await make().bytes()], (await make().arrayBuffer()).byteLength,
          (await make().blob()).type, gathered,
          await caught(() => read.clone()),
          await caught(() => new Response("x").json()),
          await new Response(null).text(), new Response().body,
        ];
    """) == [
        [1],
        ["TypeError", "TypeError", None],
        True,
        [91, 49, 93],
        3,
        "a/b",
        [91, 49, 93],
        ["TypeError", "TypeError", None],
        ["SyntaxError", "SyntaxError", None],
        "",
        None,
    ]


def test_clones_are_read_apart(run_js: Run) -> None:
    assert run_js("""
        const chunks = () => new ReadableStream({
          start(c) {
            c.enqueue(new Uint8Array([97]));
            c.enqueue(new Uint8Array([98]));
            c.close();
          },
        });
        const found = [];
        for (const body of ["ab", chunks()]) {
          const one = new Response(body, { status: 201, headers: { a: "1" } });
          const other = one.clone();
          other.headers.set("a", "2");
          const bytes = await other.bytes();
          bytes[0] = 0;
          found.push([await one.text(), one.headers.get("a"), other.status]);
        }
        return found;
    """) == [["ab", "1", 201], ["ab", "1", 201]]


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("new Response('', { status: 199 })", "RangeError"),
        ("new Response('', { status: 204 })", "TypeError"),
        ("new Response(null, { statusText: '\\n' })", "TypeError"),
        ("new Response(new Response('a').body.getReader() && locked)", "TypeError"),
        ("Response.redirect('/a', 200)", "RangeError"),
        ("Response.redirect('http://a b/')", "TypeError"),
        ("Response.json(undefined)", "TypeError"),
        ("Response.error().headers.set('a', 'b')", "TypeError"),
        ("Response.prototype.text.call({})", "TypeError"),
        ("new Request('http://a/', { body: 'b' })", "TypeError"),
        ("new Request('http://u:p@a/')", "TypeError"),
        ("new Request('http://[')", "TypeError"),
        ("new Request('http://a/', { method: 'connect' })", "TypeError"),
        ("new Request('http://a/', { method: 'a b' })", "TypeError"),
        ("new Request('http://a/', { mode: 'navigate' })", "TypeError"),
        ("new Request('http://a/', { redirect: 'away' })", "TypeError"),
        ("new Request('http://a/', { signal: {} })", "TypeError"),
        ("new Request('http://a/', { method: 'POST', body: stream })", "TypeError"),
        ("new Response('a').formData()", "TypeError"),
    ],
)
def test_what_is_wrong_is_refused(run_js: Run, code: str, error: str) -> None:
    assert run_js(f"""{CATCH}
        const stream = new ReadableStream();
        const locked = new ReadableStream();
        locked.getReader();
        return caught(() => {code});
    """) == [error, error, None]


def test_a_request_is_made_from_another_one_which_is_used_then(run_js: Run) -> None:
    assert run_js("""
        const first = new Request("http://a/b?c#d", {
          method: "put", body: "x", headers: { A: "1" }, redirect: "manual",
          referrer: "http://r/", integrity: "sha256-x", keepalive: true,
          cache: "no-store",
        });
        const second = new Request(first, { headers: { B: "2" } });
        return [
          first.bodyUsed, second.url, second.method, [...second.headers],
          second.redirect,
          second.referrer, second.integrity, second.keepalive, second.cache,
          await second.clone().text(), await second.text(),
          new Request("data.csv").url, new Request("file.csv").referrer,
        ];
    """) == [
        True,
        "http://a/b?c#d",
        "PUT",
        [["b", "2"]],
        "manual",
        "about:client",
        "sha256-x",
        True,
        "no-store",
        "x",
        "x",
        "file:///data.csv",
        "about:client",
    ]


def test_a_request_is_aborted_with_the_signal_that_it_was_given(run_js: Run) -> None:
    assert run_js("""
        const controller = new AbortController();
        const request = new Request("http://a/", { signal: controller.signal });
        const copy = new Request(request);
        const seen = [request.signal === controller.signal, request.signal.aborted];
        controller.abort("why");
        return [...seen, request.signal.reason, copy.signal.reason,
                new Request(request, { signal: null }).signal.aborted];
    """) == [False, False, "why", "why", False]


def test_a_form_is_sent_and_read_again(run_js: Run) -> None:
    assert run_js("""
        const form = new FormData();
        form.append('a"\\n', "1\\n2");
        form.append("f", new File(["x\\r\\n--", new Uint8Array([0, 255])], 'q".txt', {
          type: "text/x",
        }));
        form.append("b", new Blob([]));
        const sent = new Response(form);
        const type = sent.headers.get("content-type");
        const text = await sent.clone().text();
        const got = await sent.formData();
        const file = got.get("f");
        const empty = await new Response(new FormData()).formData();
        return [type.startsWith("multipart/form-data; boundary="), [...got.keys()],
          got.get('a"\\r\\n'), file.name, file.type, [...await file.bytes()],
          got.get("b").name, got.get("b").type, [...empty],
          text.includes('name="a%22%0D%0A"'),
          [...await new Response(new URLSearchParams("a=1&a=%C3%A9+")).formData()]];
    """) == [
        True,
        ['a"\r\n', "f", "b"],
        "1\r\n2",
        'q".txt',
        "text/x",
        [120, 13, 10, 45, 45, 0, 255],
        "blob",
        "application/octet-stream",
        [],
        True,
        [["a", "1"], ["a", "\u00e9 "]],
    ]


def test_a_byte_order_mark_is_part_of_the_text_of_a_form(run_js: Run) -> None:
    assert run_js("""
        const headers = { "content-type": "application/x-www-form-urlencoded" };
        const body = "\\ufeffa=\\ufeff1";
        const read = () => new Response(body, { headers });
        return [[...await read().formData()], await read().text()];
    """) == [[["\ufeffa", "\ufeff1"]], "a=\ufeff1"]


@pytest.mark.parametrize(
    "body",
    [
        "",
        "--b",
        "--b--x",
        "--b\r\n\r\nx\r\n--b--",
        '--b\r\nContent-Disposition: form-data; name="a"\r\n\r\nx',
        '--b\r\nContent-Disposition: form-data; name="a\r\n\r\nx\r\n--b--',
        "--b\r\nContent-Disposition: attachment; name=a\r\n\r\nx\r\n--b--",
        "--b\r\nno header\r\n\r\nx\r\n--b--",
        '--c\r\nContent-Disposition: form-data; name="a"\r\n\r\nx\r\n--c--',
    ],
)
def test_what_is_no_form_is_refused(run_js: Run, body: str) -> None:
    assert run_js(f"""{CATCH}
        const headers = {{ "content-type": "multipart/form-data; boundary=b" }};
        return caught(() => new Response({body!r}, {{ headers }}).formData());
    """) == ["TypeError", "TypeError", None]


def test_without_cors_only_what_a_form_could_send_stays(run_js: Run) -> None:
    assert run_js("""
        const { headers } = new Request("http://a/", {
          mode: "no-cors",
          headers: { Accept: "a", "X-A": "1", "Content-Type": "application/json" },
        });
        headers.set("content-type", "text/plain");
        headers.append("accept", "b");
        headers.append("accept", "(");
        headers.set("range", "bytes=0-");
        return [...headers];
    """) == [["accept", "a, b"], ["content-type", "text/plain"]]


def test_code_that_changes_built_ins_changes_no_body(context: LocalContext) -> None:
    context.run("Response; new Response('a').body; new FormData()")
    assert (
        context.value("""
        Object.prototype.then = function (go) { go({ done: false, value: "stolen" }) };
        Headers.prototype.has = Headers.prototype.append = () => { throw 1 };
        ReadableStream.prototype.getReader = () => { throw 2 };
        URLSearchParams.prototype.toString = Blob.prototype.text = () => { throw 3 };
        const made = new Response(new ReadableStream({
          start(c) { c.enqueue(new Uint8Array([97])); c.close() },
        }), { headers: [["a", "b"]] });
        const text = await made.text();
        const request = new Request("http://a", { method: "POST", body: "x" });
        const sent = await request.text();
        delete Object.prototype.then;
        text + sent
    """)
        == "'ax'"
    )
