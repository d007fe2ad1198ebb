"""Traces, as a collector gets them from servers."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import threading
import time
from importlib.abc import MetaPathFinder
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.agents import HANDSHAKE, MODERN, Way, connect_agent, execute, run_js
from tests.support.client import Client, connect
from tests.support.clusters import AnyServer
from tests.support.fronts import Front, attached, channels
from tests.support.server import JAVASCRIPT_FLAGS, START, V8_FLAGS, Server, run_server
from tests.support.traces import Collector, Span, Tree, parent
from tests.support.waiting import wait_for

from isoserver.errors import InvalidSettingsError
from isoserver.settings.server import ServerSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.postgresql import PostgreSQL

NUMBERS = count(1)
QUIET = "'the' + ' secret'"
STOP_SECONDS = 15.0
FLAGS = (
    *(*V8_FLAGS, "--traces", "--executions-running-max", "1"),
    *("--net", "127.0.0.1", "--interrupt-grace-seconds", "1"),
    *("--webhook-host", "127.0.0.1:*", "--webhook-private"),
    *("--webhook-secret", "0123456789abcdef0123456789abcdef"),
)


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    """Where the servers of this module send their spans."""
    made = Collector()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def traced(collector: Collector) -> Iterator[Server]:
    """A server that sends traces."""
    with run_server(*FLAGS, env=collector.variables()) as server:
        yield server


@pytest.fixture
def api(traced: Server) -> Iterator[Client]:
    """Its client."""
    with connect(traced) as client:
        yield client
        client.clean()


class Trace:
    """A trace that a client has begun."""

    def __init__(self, collector: Collector) -> None:
        self.id, self.header = parent()
        self.headers = {"traceparent": self.header, "tracestate": "vendor=value"}
        self._collector = collector

    def tree(self, *names: str) -> Tree:
        """Wait for spans of these names."""
        return self._collector.tree(self.id, *names)


@pytest.fixture
def trace(collector: Collector) -> Trace:
    """A trace of the test's own."""
    return Trace(collector)


def run(client: Client, trace: Trace, code: str, **fields: Any) -> dict[str, Any]:
    """Run a cell as a part of a trace."""
    body = {"code": code, "language": "javascript", **fields}
    answer = client.post("/execute", json=body, headers=trace.headers)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


# -- what is told ----------------------------------------------------------------------


def test_a_cell_is_in_the_trace_of_its_request(api: Client, trace: Trace) -> None:
    answer = run(api, trace, QUIET)
    tree = trace.tree("POST /execute", "make context", "cell")
    request = tree.one("POST /execute")
    assert request.kind == "server"
    assert request.parent_id == trace.header.split("-")[2]
    assert request.state == "vendor=value"
    assert not request.failed
    told = request.attributes
    assert told["http.request.method"] == "POST"
    assert told["http.route"] == told["url.path"] == "/execute"
    assert told["http.response.status_code"] == 200
    assert told["url.scheme"] == "http"
    assert told["client.address"] == "127.0.0.1"
    assert request.resource["service.name"] == "isokernel"
    assert request.resource["service.instance.id"]
    cell = tree.one("cell")
    assert tree.path(cell) == ["POST /execute", "cell"]
    assert cell.attributes == {
        "isokernel.workspace": "default",
        "isokernel.context.id": answer["context_id"],
        "isokernel.language": "javascript",
        "isokernel.execution.id": answer["execution_id"],
        "isokernel.cell.outcome": "completed",
    }
    made = tree.one("make context")
    assert made.attributes["isokernel.context.id"] == answer["context_id"]
    assert request.start <= made.start <= made.end <= cell.start
    assert cell.start < cell.end <= request.end
    assert all("secret" not in str(span) for span in tree.spans)


def test_outcomes_are_told_and_not_what_was_thrown(api: Client, trace: Trace) -> None:
    context_id = api.create()
    run(api, trace, "throw new Error('the secret')", context_id=context_id)
    run(api, trace, "while (true);", context_id=context_id, timeout_ms=100)

    def cells() -> list[Span] | None:
        spans = trace.tree("cell").spans
        found = [span for span in spans if span.name == "cell"]
        return found if len(found) == 2 else None

    found = {
        (cell.attributes["isokernel.cell.outcome"], cell.attributes["error.type"])
        for cell in wait_for(cells)
    }
    assert found == {("failed", "_OTHER"), ("timed_out", "TimeoutError")}
    tree = trace.tree("cell")
    assert all(cell.failed and not cell.events for cell in wait_for(cells))
    requests = [span for span in tree.spans if span.name == "POST /execute"]
    assert [span.failed for span in requests] == [False] * 2
    assert all("secret" not in str(span) for span in tree.spans)


def test_it_is_told_how_long_a_cell_has_waited(api: Client, trace: Trace) -> None:
    context_id = api.create()
    slow = "await new Promise((done) => setTimeout(done, 300))"
    first = threading.Thread(
        target=lambda: api.run(slow, context_id=context_id, timeout_ms=20_000)
    )
    first.start()
    api.wait_state(context_id, "busy")
    run(api, trace, "1", context_id=context_id)
    first.join()
    tree = trace.tree("cell", "wait for the context")
    waiting, cell = tree.one("wait for the context"), tree.one("cell")
    assert tree.path(waiting) == ["POST /execute", "cell", "wait for the context"]
    assert cell.start <= waiting.start < waiting.end <= cell.end


def test_streams_and_their_ends(api: Client, trace: Trace) -> None:
    with api.stream(
        "POST",
        "/execute/async",
        json={"code": "console.log(1)", "language": "javascript"},
        headers=trace.headers,
    ) as answer:
        list(answer.iter_lines())
    tree = trace.tree("POST /execute/async", "cell")
    assert tree.path(tree.one("cell")) == ["POST /execute/async", "cell"]
    assert tree.one("POST /execute/async").end > tree.one("cell").start


def test_errors_of_requests(api: Client, trace: Trace) -> None:
    answer = api.get("/contexts/none?token=hidden", headers=trace.headers)
    assert answer.status_code == 404
    span = trace.tree("GET /contexts/{context_id}").one("GET /contexts/{context_id}")
    assert span.attributes["http.response.status_code"] == 404
    assert span.attributes["error.type"] == "context_missing"
    assert not span.failed
    assert "hidden" not in str(span)


def test_a_context_sleeps_and_wakes(
    servers: Callable[..., Server], collector: Collector, trace: Trace
) -> None:
    flags = (*JAVASCRIPT_FLAGS, "--traces", "--hibernate-after-seconds", "0.2")
    server = servers(*flags, env=collector.variables())
    with connect(server) as client:
        context_id = client.create()
        client.run("let x = 1", context_id=context_id)
        client.wait_state(context_id, "hibernated")
        run(client, trace, "x", context_id=context_id)
    tree = trace.tree("load heap", "wake context", "cell", "POST /execute")
    way = ["POST /execute", "cell", "wake context", "load heap"]
    assert tree.path(tree.one("load heap")) == way

    def slept() -> Span | None:
        for span in collector.spans:
            of = span.attributes.get("isokernel.context.id")
            if (span.name, of, span.parent_id) == ("save context", context_id, ""):
                return span
        return None

    wait_for(slept)


# -- runs, tools, modules, fetches -----------------------------------------------------


def test_runs_are_in_the_trace_of_their_orders(
    api: Client, collector: Collector
) -> None:
    """The one that waits is begun by the end of the one before it."""
    traces = [Trace(collector) for _ in range(3)]
    for each in traces:
        body = {"code": "await new Promise((done) => setTimeout(done, 50)); 1"}
        answer = api.post("/api/exec", json=body, headers=each.headers)
        assert answer.status_code == 202
    for each in traces:
        tree = each.tree("run script", "cell", "save context", "make context")
        way = ["POST /api/exec", "run script"]
        for name in ("wait for a turn", "make context", "cell", "save context"):
            assert tree.path(tree.one(name)) == [*way, name]
        ran = tree.one("run script")
        assert ran.attributes["isokernel.run.outcome"] == "completed"
    waits = [each.tree().one("wait for a turn") for each in traces]
    assert waits[2].end - waits[2].start > 50e6


def test_tools_and_fetches_of_a_cell(
    api: Client, collector: Collector, trace: Trace
) -> None:
    url = f"{collector.url}/path?q=hidden"
    code = f"""
        await tools.search({{query: "hidden"}});
        await tools.hidden.tool({{}}).catch(() => null);
        await fetch({url!r});
    """
    answer = api.post("/tasks", json={"code": code}, headers=trace.headers)
    assert answer.status_code in {200, 201, 202}, answer.text
    tree = trace.tree("run task", "cell", "call tool", "fetch")
    cell = ["POST /tasks", "run task", "cell"]
    search = {"gen_ai.tool.name": "search"}
    tool, fetch = tree.one("call tool", **search), tree.one("fetch")
    (other,) = [s for s in tree.spans if s.name == tool.name and s != tool]
    assert other.failed
    assert tree.path(tool) == [*cell, "call tool"]
    assert tree.path(fetch) == [*cell, "fetch"]
    assert fetch.kind == "client"
    assert fetch.attributes == {"server.address": "127.0.0.1"}
    assert all("hidden" not in str(span) for span in tree.spans)


def test_a_cell_has_no_more_spans_than_there_is_room_for(
    api: Client, collector: Collector, trace: Trace
) -> None:
    code = f"for (let i = 0; i < 110; i++) await fetch({collector.url!r}); 1"
    run(api, trace, code)
    tree = trace.tree("cell")
    assert tree.one("cell").attributes["isokernel.cell.calls"] == 110
    fetched = [span for span in trace.tree("fetch").spans if span.name == "fetch"]
    assert len(fetched) == 100


def test_webhooks_carry_the_trace_of_their_order(
    api: Client, collector: Collector, trace: Trace
) -> None:
    body = {"code": "1", "webhook": {"url": f"{collector.url}/hooks"}}
    answer = api.post("/api/exec", json=body, headers=trace.headers)
    assert answer.status_code == 202
    span = trace.tree("send webhook").one("send webhook")
    (headers,) = [one for one in collector.others if "webhook-id" in one]
    version, trace_id, span_id, flags = headers["traceparent"].split("-")
    assert (version, trace_id, flags[-1]) == ("00", trace.id, "1")
    assert span_id == span.span_id
    assert span.attributes["isokernel.webhook.id"] == headers["webhook-id"]
    assert "baggage" not in headers


# -- other ways in ---------------------------------------------------------------------


@pytest.mark.parametrize("era", [MODERN, HANDSHAKE])
def test_mcp_over_http(traced: Server, trace: Trace, era: str) -> None:
    async def call() -> None:
        way = Way("http", era)
        async with connect_agent(traced.url, way, headers=trace.headers) as agent:
            await run_js(agent, "1")

    asyncio.run(call())
    tree = trace.tree("tools/call run_js", "run script", "cell")
    cell = ["POST /mcp", "tools/call run_js", "run script", "cell"]
    assert tree.path(tree.one("cell")) == cell


def test_mcp_s_own_carrier(traced: Server, trace: Trace) -> None:
    """`_meta` has the trace where the transport has none."""

    async def call() -> None:
        async with connect_agent(traced.url) as agent:
            meta: Any = {"traceparent": trace.header}
            await agent.call_tool("run_js", {"code": "1"}, meta=meta)

    asyncio.run(call())
    tree = trace.tree("tools/call run_js", "run script", "cell")
    assert tree.one("tools/call run_js").parent_id == trace.header.split("-")[2]
    assert tree.path(tree.one("cell"))[:2] == ["tools/call run_js", "run script"]


def test_a_front_s_messages_name_their_trace(
    traced: Server, api: Client, collector: Collector, trace: Trace
) -> None:
    context_id = api.create()

    async def work(front: Front) -> None:
        named = {"traceparent": trace.header}
        cell = {"code": "1 + 1"}
        number = await front.ask("execute_request", cell, metadata=named)
        await front.reply_to(number)
        await front.run("2 + 2")  # of no trace
        odd = {"traceparent": 7, "tracestate": ["x"]}
        number = await front.ask("execute_request", cell, metadata=odd)
        await front.reply_to(number)

    attached(traced, context_id, work)
    cell = trace.tree("cell").one("cell")
    assert cell.parent_id == trace.header.split("-")[2]

    def others() -> list[Span] | None:
        found = [
            span
            for span in collector.spans
            if span.attributes.get("isokernel.context.id") == context_id
            and span.name == "cell"
            and span.trace_id != trace.id
        ]
        return found if len(found) == 2 else None

    alone = wait_for(others)
    assert not any(span.parent_id for span in alone)
    assert len({span.trace_id for span in alone}) == 2


# -- whose word counts -----------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [
        "00-00000000000000000000000000000000-0000000000000001-01",
        "00-0000000000000000000000000000000a-0000000000000000-01",
        "ff-0000000000000000000000000000000a-0000000000000001-01",
        "00-0000000000000000000000000000000A-1-01",
        "nonsense" * 500,
        "",
    ],
)
def test_what_is_no_trace_begins_one(
    api: Client, collector: Collector, header: str
) -> None:
    number = f"r{next(NUMBERS)}"
    headers = {"traceparent": header, "User-Agent": number}
    body = {"code": "1", "language": "javascript"}
    assert api.post("/execute", json=body, headers=headers).status_code == 200

    def began() -> Span | None:
        for span in collector.spans:
            if span.attributes.get("user_agent.original") == number:
                return span
        return None

    span = wait_for(began)
    assert not span.parent_id
    assert span.trace_id not in header


@pytest.mark.parametrize(
    ("sampler", "sampled", "unsampled"),
    [
        ("parentbased_traceidratio/0", True, False),
        ("traceidratio/0", False, False),
        ("always_on", True, True),
    ],
)
def test_the_sampler_decides_what_a_client_s_flag_counts(
    servers: Callable[..., Server],
    collector: Collector,
    sampler: str,
    *,
    sampled: bool,
    unsampled: bool,
) -> None:
    """Which of a client's two flags leads to spans that are sent."""
    sampler, _, argument = sampler.partition("/")
    variables = collector.variables(
        OTEL_TRACES_SAMPLER=sampler,
        OTEL_TRACES_SAMPLER_ARG=argument,
        OTEL_SERVICE_NAME="named",
        OTEL_RESOURCE_ATTRIBUTES="deployment.environment.name=tests",
    )
    server = servers(*V8_FLAGS, "--traces", env=variables)
    asked = [parent(sampled=flag) for flag in (True, False)]
    with connect(server) as client:
        for _, header in asked:
            headers = {"traceparent": header}
            body = {"code": "await tools.search({query: ''}); return 1"}
            answer = client.post("/tasks?wait_ms=10000", json=body, headers=headers)
            assert answer.status_code in {200, 201, 202}, answer.text
            client.post("/execute", json={"code": "1"}, headers=headers)
    assert server.stop() == 0
    found = [collector.of(trace_id) for trace_id, _ in asked]
    assert [bool(spans) for spans in found] == [sampled, unsampled]
    told = [span for spans in found for span in spans]
    assert {span.resource["service.name"] for span in told} <= {"named"}
    names = {span.resource["deployment.environment.name"] for span in told}
    assert names <= {"tests"}
    # What isn't sampled has no part that begins a trace of its own.
    ids = {trace_id for trace_id, _ in asked}
    own = [
        s for s in collector.spans if s.resource["process.pid"] == server.process.pid
    ]
    assert {span.trace_id for span in own} <= ids
    # Logs name the trace all the same.
    assert all(trace_id in server.said for trace_id, _ in asked)


# -- the log, and the end --------------------------------------------------------------


def test_lines_of_the_log_name_their_span(
    traced: Server, api: Client, trace: Trace
) -> None:
    run(api, trace, "1")
    api.get("/healthz")
    request = trace.tree("POST /execute").one("POST /execute")
    lines = [json.loads(line) for line in traced.log().splitlines()]
    (line,) = [line for line in lines if line.get("trace_id") == trace.id]
    assert line["event"] == "request"
    assert line["span_id"] == request.span_id
    probes = [line for line in lines if line.get("route") == "/healthz"]
    assert probes
    assert not any("trace_id" in line for line in probes)


def test_the_end_sends_what_there_is(
    servers: Callable[..., Server], collector: Collector, trace: Trace
) -> None:
    variables = collector.variables(OTEL_BSP_SCHEDULE_DELAY="3600000")
    server = servers(*JAVASCRIPT_FLAGS, "--traces", env=variables)
    with connect(server) as client:
        run(client, trace, "1")
    assert not collector.of(trace.id)
    assert server.stop() == 0
    assert len(collector.of(trace.id)) == 3


@pytest.mark.parametrize("way", ["refuses", "says nothing"])
def test_a_collector_that_is_lost_is_nobody_s_trouble(
    servers: Callable[..., Server], way: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        if way == "refuses":
            listening.close()
        variables = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
            "OTEL_BSP_SCHEDULE_DELAY": "10",
            "OTEL_BSP_MAX_QUEUE_SIZE": "64",
            "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "64",
        }
        server = servers(*JAVASCRIPT_FLAGS, "--traces", env=variables)
        with connect(server) as client:
            context_id = client.create()
            for _ in range(200):  # more than the queue takes
                assert client.text("1", context_id=context_id) == "1"
        began = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began < STOP_SECONDS
    assert "Queue full" in server.said
    assert not server.wrong()


# -- without ---------------------------------------------------------------------------


@pytest.mark.parametrize("flag", ["--traces", "--no-traces"])
def test_without_the_setting_nothing_of_it_is_loaded(
    servers: Callable[..., Server], collector: Collector, trace: Trace, flag: str
) -> None:
    # Not one that is forked from what has loaded things for all servers of tests.
    options = {"program": ("-c", START), "env": collector.variables()}
    server = servers(*JAVASCRIPT_FLAGS, flag, **options)
    with connect(server) as client:
        run(client, trace, "1")
    mapped = Path(f"/proc/{server.process.pid}/maps").read_text()
    assert server.stop() == 0
    wanted = flag == "--traces"
    assert ("_upb" in mapped) == wanted  # protobuf's library
    assert (trace.id in server.said) == wanted
    assert bool(collector.of(trace.id)) == wanted


def test_without_the_extra_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Without(MetaPathFinder):
        def find_spec(self, name: str, *_: object) -> None:
            if name.startswith("opentelemetry.exporter"):
                raise ModuleNotFoundError(name)

    monkeypatch.setattr(sys, "meta_path", [Without(), *sys.meta_path])
    with pytest.raises(InvalidSettingsError, match=r"isokernel\[otel\]"):
        ServerSettings(traces=True)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json"),
        ("OTEL_TRACES_EXPORTER", "zipkin"),
    ],
)
def test_what_is_not_offered_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(InvalidSettingsError, match=f"traces: {name} must be"):
        ServerSettings(traces=True)
    ServerSettings()


# -- several servers -------------------------------------------------------------------


@pytest.fixture(scope="module")
def both(postgresql: PostgreSQL, collector: Collector) -> Iterator[AnyServer]:
    """Two servers on one database."""
    flags = (*V8_FLAGS, "--traces")
    servers = AnyServer(2, postgresql.database(), *flags, env=collector.variables())
    yield servers
    assert servers.stop() == 0
    assert not [line for server in servers.servers for line in server.wrong()]


def owned(both: AnyServer) -> tuple[str, Server, Server]:
    """A context, the server that has it, and the other one."""
    one, two = both.servers
    with connect(one) as client:
        answer = client.post("/contexts", json={"language": "javascript"})
        owner = answer.headers["X-Isokernel-Owner"]
        context_id: str = answer.json()["id"]
    return (context_id, one, two) if owner == one.url else (context_id, two, one)


def test_one_trace_goes_through_both_servers(both: AnyServer, trace: Trace) -> None:
    context_id, owner, other = owned(both)
    with connect(other) as client:
        run(client, trace, QUIET, context_id=context_id)
    tree = trace.tree("POST", "cell", *2 * ["POST /execute"])
    cell = tree.one("cell")
    assert tree.path(cell) == ["POST /execute", "POST", "POST /execute", "cell"]
    passed = tree.one("POST")
    assert passed.kind == "client"
    assert passed.attributes["http.response.status_code"] == 200
    assert f":{passed.attributes['server.port']}" in owner.url
    first, second = sorted(
        (span for span in tree.spans if span.name == "POST /execute"),
        key=lambda span: span.start,
    )
    ids = [span.attributes["isokernel.server.id"] for span in (first, second)]
    assert passed.attributes["isokernel.server.id"] == ids[1] != ids[0]
    assert first.resource != second.resource
    assert {span.state for span in tree.spans} == {"vendor=value"}
    assert all(trace.id in server.log() for server in both.servers)
    with connect(other) as client:
        assert client.delete(f"/contexts/{context_id}").status_code == 204


def test_what_is_passed_on_while_it_comes(both: AnyServer, trace: Trace) -> None:
    """A stream's spans last as long as it does, a websocket's until it is open."""
    context_id, _, other = owned(both)
    streaming = Trace(trace._collector)
    body = {"code": "console.log(1)", "context_id": context_id}
    with (
        connect(other) as client,
        client.stream(
            "POST", "/execute/async", json=body, headers=streaming.headers
        ) as answer,
    ):
        list(answer.iter_lines())
    tree = streaming.tree("POST", "cell", *2 * ["POST /execute/async"])
    way = ["POST /execute/async", "POST", "POST /execute/async", "cell"]
    assert tree.path(tree.one("cell")) == way
    assert tree.one("POST").end > tree.one("cell").start

    async def work() -> None:
        front = Front(channels(other, context_id), headers=trace.headers)
        await front.connect()
        await asyncio.to_thread(trace.tree, "GET")  # it is open, and has ended
        inner = Trace(trace._collector)
        named = {"traceparent": inner.header}
        number = await front.ask("execute_request", {"code": "1"}, metadata=named)
        await front.reply_to(number)
        await asyncio.to_thread(inner.tree, "cell")
        await front.close()

    asyncio.run(work())
    tree = trace.tree("GET")
    assert tree.one("GET").attributes["http.response.status_code"] == 101
    assert len(tree.spans) == 3


def test_what_a_server_asks_for_an_agent(both: AnyServer, trace: Trace) -> None:
    """A connection stays where it is, and its calls go to who has the context."""
    context_id, _, other = owned(both)

    async def call() -> None:
        way = Way("http", HANDSHAKE)
        async with connect_agent(other.url, way, headers=trace.headers) as agent:
            await execute(agent, "return 1", sessionId=context_id)

    asyncio.run(call())
    called = ["POST /mcp", "tools/call execute"]
    tree = trace.tree("run task", "cell", "POST", *2 * called)
    way = [*called, "POST", *called, "run task", "cell"]
    assert tree.path(tree.one("cell")) == way


def test_a_server_that_is_lost_is_told(
    postgresql: PostgreSQL, collector: Collector, trace: Trace
) -> None:
    flags = (*JAVASCRIPT_FLAGS, "--traces", "--cluster-lease-seconds", "60")
    both = AnyServer(2, postgresql.database(), *flags, env=collector.variables())
    try:
        context_id, owner, other = owned(both)
        owner.process.kill()
        owner.process.wait()
        with connect(other) as client:
            answer = client.get(f"/contexts/{context_id}", headers=trace.headers)
        assert answer.status_code == 503
        span = trace.tree("GET").one("GET")
        assert span.failed
        assert span.attributes["error.type"] == "peer_unreachable"
        assert (
            trace.tree("GET /contexts/{context_id}")
            .one("GET /contexts/{context_id}")
            .failed
        )
    finally:
        both.stop()
