"""`fetch` from its JavaScript to a site on loopback."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.networks import TEXT, Rules, Site
from tests.support.waiting import wait_for

from isokernel.network.settings import NetworkSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.networks import NetContext

    OpenContext = Callable[..., NetContext]

CAUGHT = """
globalThis.caught = async (work) => {
  try { return await (typeof work === "function" ? work() : work) }
  catch (e) { return `${e.name}: ${e.message}`.replaceAll(site, "SITE") }
};
"""


@pytest.fixture(autouse=True)
def _helper(request: pytest.FixtureRequest) -> None:
    if "online" in request.fixturenames:
        request.getfixturevalue("online").run(CAUGHT)


def value(context: NetContext, body: str) -> Any:
    """What the body of an async function returns, by way of JSON."""
    outcome = context.run(
        f"console.log(JSON.stringify(await (async () => {{{body}}})()))"
    )
    assert outcome.error is None, outcome.error
    return json.loads(outcome.stdout)


def test_a_request_goes_out_as_it_was_made(online: NetContext) -> None:
    assert value(
        online,
        """
        const response = await fetch(site + "/echo?a=%20b#c", {
          method: "put", body: "h\\u00e9", headers: { "X-Own": "1", "User-Agent": "me",
            "Host": "evil.example", "Connection": "close" },
        });
        const { headers, ...seen } = await response.json();
        delete headers.host;
        return [response.status, response.statusText, response.ok, response.type,
          response.redirected, response.url === site + "/echo?a=%20b",
          response.headers.get("x-a"), seen, headers];
    """,
    ) == [
        200,
        "Fine",
        True,
        "basic",
        False,
        True,
        "1, 2",
        {"method": "PUT", "path": "/echo", "body": "h\u00c3\u00a9"},
        {
            "x-own": "1",
            "user-agent": "me",
            "content-type": "text/plain;charset=UTF-8",
            "accept": "*/*",
            "accept-encoding": "gzip, deflate, br",
            "content-length": "3",
        },
    ]


def test_the_headers_of_a_response_cannot_be_changed(online: NetContext) -> None:
    assert value(
        online,
        "return caught(async () => (await fetch(site)).headers.set('a', 'b'))",
    ).startswith("TypeError: ")


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "gzip, br"])
def test_what_is_packed_is_unpacked(online: NetContext, coding: str) -> None:
    body = f"""
        const response = await fetch(site + "/packed?by={coding}");
        const text = await response.text();
        return [response.headers.get("content-encoding"), text.length];
    """
    assert value(online, body) == [coding, len(TEXT)]


def test_bodies_come_in_pieces(online: NetContext) -> None:
    assert value(
        online,
        """
        const response = await fetch(site + "/pieces?count=50&size=100000");
        let size = 0, pieces = 0;
        for await (const piece of response.body) { size += piece.length; pieces += 1 }
        const all = await (await fetch(site + "/pieces?count=3&size=2")).bytes();
        return [size, pieces > 4, response.bodyUsed, [...all]];
    """,
    ) == [5_000_000, True, True, [0, 0, 1, 1, 2, 2]]


def test_a_piece_is_there_before_the_next_one_is_sent(
    online: NetContext, site: Site
) -> None:
    online.run("""
        response = await fetch(site + "/pieces?count=2&size=3&gate=second");
        reader = response.body.getReader();
        first = await reader.read();
    """)
    assert value(online, "return [...first.value]") == [0, 0, 0]
    site.open_gate("second")
    assert value(online, "return [...(await reader.read()).value]") == [1, 1, 1]
    assert value(online, "return (await reader.read()).done") is True


def test_nothing_is_read_that_nobody_wants(online: NetContext, site: Site) -> None:
    """Of 200 MB that are sent on as fast as they are taken, a few are taken."""
    dropped = site.dropped
    online.run("""
        unread = await fetch(site + "/pieces?count=2000&size=100000");
        part = (await unread.body.getReader().read()).value.length;
        other = await (await fetch(site + "/echo")).json();
    """)
    assert value(online, "return part > 0") is True
    online.run("unread = await fetch(site + '/pieces?count=2000&size=100000')")
    online.run("await unread.body.cancel('enough')")
    wait_for(lambda: site.dropped > dropped)


def test_bodies_are_sent_in_pieces(online: NetContext, site: Site) -> None:
    body = """
        let count = 0;
        const body = new ReadableStream({
          pull(c) {
            if (count++ === 40) c.close();
            else c.enqueue(new Uint8Array(100_000).fill(count));
          },
        });
        const options = { method: "POST", duplex: "half", body };
        return (await fetch(site + "/count", options)).json();
    """
    assert value(online, body) == 4_000_000
    assert site.seen[-1].header("transfer-encoding") == "chunked"
    body = """
        const body = new Uint8Array(3_000_000);
        return (await fetch(site + "/count", { method: "POST", body })).json();
    """
    assert value(online, body) == 3_000_000
    assert site.seen[-1].header("content-length") == "3000000"


def test_a_form_is_sent_with_its_files(online: NetContext, site: Site) -> None:
    online.run("""
        const form = new FormData();
        form.append("a", "1");
        form.append("f", new File(["content"], "n.txt", { type: "text/x" }));
        await fetch(site, { method: "POST", body: form });
    """)
    seen = site.seen[-1]
    assert (seen.header("content-type") or "").startswith("multipart/form-data; bound")
    assert (
        b'name="f"; filename="n.txt"\r\nContent-Type: text/x\r\n\r\ncontent'
        in seen.body
    )


@pytest.mark.parametrize(
    ("status", "method", "body", "seen"),
    [
        (301, "POST", "x", ["GET", "", None]),
        (302, "PUT", "x", ["PUT", "x", "text/plain;charset=UTF-8"]),
        (303, "PUT", "x", ["GET", "", None]),
        (303, "HEAD", None, None),
        (307, "POST", "x", ["POST", "x", "text/plain;charset=UTF-8"]),
        (308, "GET", None, ["GET", "", None]),
    ],
)
def test_redirects_are_followed(
    online: NetContext, status: int, method: str, body: str | None, seen: Any
) -> None:
    text = f"""
        const response = await fetch(site + "/status/{status}?to=/echo%23there", {{
          method: "{method}", body: {json.dumps(body)},
          headers: {{ Authorization: "k" }},
        }});
        const url = response.url.replace(site, "");
        if ("{method}" === "HEAD") return [response.redirected, url, null];
        const {{ method, body, headers }} = await response.json();
        const seen = [method, body, headers["content-type"] ?? null];
        return [response.redirected, url, seen, headers.authorization];
    """
    expected = [True, "/echo", seen]
    assert value(online, text) == (expected if seen is None else [*expected, "k"])


def test_credentials_stay_with_the_origin(online: NetContext, site: Site) -> None:
    other = site.url.replace("127.0.0.1", "localhost")
    text = f"""
        const headers = {{ Authorization: "k", Cookie: "c", "X-A": "1" }};
        const to = encodeURIComponent("{other}/echo");
        const response = await fetch(site + "/status/302?to=" + to, {{ headers }});
        const seen = (await response.json()).headers;
        return [seen.authorization ?? null, seen.cookie ?? null, seen["x-a"]];
    """
    assert value(online, text) == [None, None, "1"]


@pytest.mark.parametrize(
    ("options", "to", "message"),
    [
        (
            "{ redirect: 'error' }",
            "/echo",
            "redirects, which the request doesn't allow",
        ),
        ("{}", "file:///etc/passwd", "redirects to a URL of 'file:'"),
        ("{}", "data:,x", "redirects to a URL of 'data:'"),
        ("{}", "http://u:p@127.0.0.1/", "redirects to a URL with a user's name"),
        ("{}", "http://[", "redirects to what is no URL"),
    ],
)
def test_redirects_that_are_not_followed(
    online: NetContext, options: str, to: str, message: str
) -> None:
    text = f"""
        const to = encodeURIComponent({to!r});
        return caught(fetch(site + "/status/302?to=" + to, {options}));
    """
    assert value(online, text) == f"TypeError: fetch: SITE {message}"


def test_a_redirect_can_be_looked_at(online: NetContext) -> None:
    text = """
        const redirect = "manual";
        const response = await fetch(site + "/status/302?to=/echo", { redirect });
        const bare = await fetch(site + "/status/302");
        return [response.status, response.headers.get("location"), bare.status];
    """
    assert value(online, text) == [302, "/echo", 302]


def test_twenty_redirects_are_enough(online: NetContext) -> None:
    text = """
        let url = "/echo";
        for (let i = 0; i < 21; i++) url = "/status/307?to=" + encodeURIComponent(url);
        const last = decodeURIComponent(url.slice("/status/307?to=".length));
        return [await caught(fetch(site + url)), (await fetch(site + last)).status];
    """
    assert value(online, text) == [
        "TypeError: fetch: more than 20 redirects, the last one of SITE",
        200,
    ]


def test_each_redirect_is_decided(open_context: OpenContext, site: Site) -> None:
    rules = Rules(lambda asked: asked.facts["host"] == "127.0.0.1")
    context = open_context(rules)
    context.run(CAUGHT)
    other = site.url.replace("127.0.0.1", "localhost")
    text = f"""
        const to = encodeURIComponent("{other}/echo");
        const error = await caught(fetch(site + "/status/302?to=" + to));
        return [error, (await fetch(site)).ok];
    """
    denied, ok = value(context, text)
    assert denied.startswith(f"CapabilityDeniedError: net: {other}/echo is denied")
    assert ok is True
    assert [asked.target for asked in rules.asked] == [
        f"{site.url}/status/302?to={other}/echo".replace(
            f"{other}/echo", "http%3A%2F%2Flocalhost%3A" + f"{site.port}%2Fecho"
        ),
        f"{other}/echo",
        f"{site.url}/",
    ]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/nothing", "it doesn't answer in HTTP (Server disconnected"),
        ("/garbage", "it doesn't answer in HTTP"),
        ("/large_head", "the headers have 80021 bytes, net_head_bytes_max"),
        ("/packed?by=gzip&cut=1", "the body isn't what its Content-Encoding says"),
        ("/pieces?count=2&size=3&cut=1", "it doesn't answer in HTTP"),
    ],
)
def test_a_failing_server_is_an_error(
    online: NetContext, path: str, message: str
) -> None:
    text = f"return caught(async () => (await fetch(site + {path!r})).text())"
    assert value(online, text).startswith(f"TypeError: SITE: {message}")


def test_a_body_that_fails_has_a_response(online: NetContext) -> None:
    text = """
        const response = await fetch(site + "/packed?by=gzip&cut=1");
        const failures = [await caught(response.clone().text()),
          await caught(response.text())];
        return [response.status, ...failures.map((text) => text.split(":")[0])];
    """
    assert value(online, text) == [200, "TypeError", "TypeError"]


def test_a_part_is_asked_for_as_it_is(online: NetContext) -> None:
    text = """
        const headers = { Range: "bytes=0-1" };
        const seen = await (await fetch(site, { headers })).json();
        return seen.headers["accept-encoding"];
    """
    assert value(online, text) == "identity"


@pytest.mark.parametrize("gap", ["", "await new Promise((go) => setTimeout(go, 5));"])
def test_nothing_is_complete_that_was_aborted(online: NetContext, gap: str) -> None:
    text = f"""
        const controller = new AbortController();
        const {{ signal }} = controller;
        const url = site + "/pieces?count=9&size=9&gate=x";
        const response = await fetch(url, {{ signal }});
        const reading = response.text();
        {gap}
        controller.abort();
        const first = await caught(reading);
        return [first, await caught(response.text()) === first];
    """
    assert value(online, text) == ["AbortError: This operation was aborted", True]


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://127.0.0.1:1/", "port 1 is not allowed: it is not one of HTTP"),
        (
            "http://nothing.invalid/",
            "nothing.invalid: there is no address of this name",
        ),
        ("ftp://127.0.0.1/", "fetch: URLs of 'ftp:' can't be fetched"),
        ("http://a b/", "Failed to construct 'Request': 'http://a b/' is no URL."),
        ("about:blank", "fetch: URLs of 'about:' can't be fetched"),
        ("blob:null/0", "fetch: there is no blob for 'blob:null/0'"),
        ("data:text/plain", "fetch: 'data:text/plain' is no data: URL"),
    ],
)
def test_what_cannot_be_fetched(online: NetContext, url: str, message: str) -> None:
    assert value(online, f"return caught(fetch({url!r}))") == f"TypeError: {message}"


def test_urls_of_data_and_of_blobs(online: NetContext) -> None:
    text = """
        const url = URL.createObjectURL(new Blob(["blob"], { type: "text/x" }));
        const request = new Request(url);
        const blob = await fetch(url);
        const part = await fetch(url, { headers: { Range: "bytes=1-2" } });
        URL.revokeObjectURL(url);
        const data = await fetch("data:text/plain;charset=x;base64,aGk%3D#f");
        return [blob.url === url, await blob.text(), blob.headers.get("content-type"),
          part.status, await part.text(), await (await fetch(request)).text(),
          await caught(fetch(url)) !== undefined,
          await data.text(), data.headers.get("content-type"), data.url];
    """
    assert value(online, text) == [
        True,
        "blob",
        "text/x",
        206,
        "lo",
        "blob",
        True,
        "hi",
        "text/plain;charset=x",
        "data:text/plain;charset=x;base64,aGk%3D",
    ]


def test_integrity_is_checked_before_there_is_a_response(online: NetContext) -> None:
    text = """
        const right = "sha256-LHT9F+2v2A6ER7DUZ0HuJDt+t03SFJoKsbkkb7MDgvJ=";
        const bytes = new TextEncoder().encode("at last");
        const hash = async (name) => new Uint8Array(
          await crypto.subtle.digest(name, bytes)).toBase64();
        const good = `sha256-AAAA sha384-${await hash("SHA-384")}`;
        const url = "data:,at%20last";
        return [await (await fetch(url, { integrity: good })).text(),
          await caught(fetch(url, { integrity: right })),
          await caught(fetch(site, { integrity: good })),
          (await fetch(site, { integrity: "md5-x" })).status];
    """
    wrong = "TypeError: fetch: the content is not what the integrity metadata says"
    assert value(online, text) == ["at last", wrong, wrong, 200]


@pytest.mark.parametrize(
    "url", ["/wait?gate=never", "/pieces?count=2&size=5&gate=never"]
)
def test_an_abort_ends_the_request(online: NetContext, site: Site, url: str) -> None:
    text = f"""
        const controller = new AbortController();
        const work = fetch(site + {url!r}, {{ signal: controller.signal }})
          .then(async (response) => {{
            const reader = response.body.getReader();
            await reader.read();
            controller.abort(new RangeError("enough"));
            await reader.read();
          }});
        if ({url!r}.includes("wait")) {{
          setTimeout(() => controller.abort(new RangeError("enough")), 1);
        }}
        return caught(work);
    """
    assert value(online, text) == "RangeError: enough"
    site.open_gate("never")
    wait_for(lambda: site.live == 0)


def test_aborts_have_their_reasons(online: NetContext) -> None:
    text = """
        const stream = new ReadableStream({ cancel(why) { cancelled = why } });
        const gone = AbortSignal.abort("gone");
        const post = { method: "POST", duplex: "half", body: stream, signal: gone };
        const reasons = [await fetch(site, post).catch((e) => e), cancelled,
          await caught(fetch(site, { signal: AbortSignal.abort() })),
          await caught(fetch(site + "/wait?gate=no", {
            signal: AbortSignal.timeout(1),
          }))];
        const late = new AbortController();
        const response = await fetch(site, { signal: late.signal });
        await response.text();
        late.abort();
        return [...reasons, response.status];
    """
    assert value(online, text) == [
        "gone",
        "gone",
        "AbortError: This operation was aborted",
        "TimeoutError: The operation timed out.",
        200,
    ]


def test_a_failing_stream_fails_its_request(online: NetContext) -> None:
    text = """
        const body = new ReadableStream({
          pull(c) { c.enqueue(new Uint8Array(9)); c.error(new RangeError("no more")); },
        });
        const odd = new ReadableStream({ pull(c) { c.enqueue("text") } });
        const post = { method: "POST", duplex: "half" };
        return [await caught(fetch(site, { ...post, body })),
          (await caught(fetch(site, { ...post, body: odd }))).slice(0, 40)];
    """
    assert value(online, text) == [
        "RangeError: no more",
        "TypeError: The body's stream has given a",
    ]


def test_many_requests_at_once_wait_for_their_turn(
    open_context: OpenContext, site: Site
) -> None:
    context = open_context(settings=NetworkSettings(requests_max=3))
    before = site.connections
    text = """
        const all = Array.from({ length: 50 }, (_, i) => fetch(site + "/" + i));
        const bodies = await Promise.all(all.map(async (one) => (await one).json()));
        return bodies.length === 50 && bodies.every(({ path }, i) => path === `/${i}`);
    """
    assert value(context, text) is True
    assert site.connections - before <= 3


@pytest.mark.parametrize(
    ("limit", "code", "setting"),
    [
        (
            {"response_bytes_max": 1000},
            "fetch(site + '/packed?by=gzip')",
            "response_by",
        ),
        ({"response_bytes_max": 1000}, "fetch(site + '/bomb')", "response_bytes"),
        (
            {"request_bytes_max": 1000},
            "fetch(site, { method: 'PUT', body: new Uint8Array(300_000) })",
            "request_bytes",
        ),
        (
            {"request_bytes_max": 1000},
            "fetch(site, { method: 'PUT', body: new Uint8Array(1001) })",
            "request_bytes",
        ),
        (
            {"head_bytes_max": 1000},
            "fetch(site, { headers: { a: 'b'.repeat(1000) } })",
            "headers have 1",
        ),
        ({"head_bytes_max": 1000}, "fetch(site + '/' + 'b'.repeat(1000))", "URL has"),
        (
            {"request_timeout_seconds": 0.2},
            "fetch(site + '/wait?gate=no')",
            "net_request_timeout_seconds",
        ),
        (
            {"idle_timeout_seconds": 0.2},
            "fetch(site + '/wait?gate=no')",
            "it has sent nothing for too long",
        ),
        (
            {"requests_max": 1, "idle_timeout_seconds": 0.2},
            "Promise.all([1, 2].map(() => fetch(site + '/pieces?count=100&size=99999')"
            ".then((r) => kept = r))).then(() => fetch(site))",
            "net_",
        ),
    ],
)
def test_limits_are_errors_that_name_their_setting(
    open_context: OpenContext, limit: dict[str, Any], code: str, setting: str
) -> None:
    context = open_context(settings=NetworkSettings(**limit))
    context.run(CAUGHT)
    text = f"return caught({code}.then((response) => response.text()))"
    found = value(context, text)
    assert found.startswith("TypeError: ")
    assert setting in found


def test_where_nobody_holds_the_network_it_is_denied(open_context: OpenContext) -> None:
    context = open_context(Rules(lambda _asked: False))
    text = """
        const error = await fetch(site).catch((e) => e);
        return [error instanceof Error, error.name, error.code, error.capability];
    """
    assert value(context, text) == [
        True,
        "CapabilityDeniedError",
        "capability_denied",
        "net",
    ]


def test_code_that_changes_built_ins_gets_its_responses(
    open_context: OpenContext,
) -> None:
    context = open_context()
    outcome = context.run("""
        await fetch(site);
        const { log } = console;
        Promise.prototype.then = Object.prototype.then = undefined;
        Headers.prototype.get = URL.prototype.toString = () => { throw 1 };
        Response.prototype.clone = AbortSignal.prototype.addEventListener = undefined;
        const response = await fetch(site + "/status/302?to=/echo", {
          method: "POST", body: "x", signal: new AbortController().signal,
        });
        log((await response.json()).path);
    """)
    assert outcome.error is None, outcome.error
    assert outcome.stdout == "/echo\n"
