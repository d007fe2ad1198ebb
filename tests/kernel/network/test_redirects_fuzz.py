"""Chains of redirects against an oracle that knows what they are made of.

A site on loopback answers each request with what its path says; names are looked up at
a name server of the tests, which may answer otherwise each time. The oracle goes
through the same chain by its parts and tells which requests may reach the site, and as
what.
"""

from __future__ import annotations

import asyncio
import collections
import ipaddress
import json
import random
import re
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from tests.support.names import NameClient, NameServer
from tests.support.net_oracle import Place, Wanted
from tests.support.networks import LoopThread, NetContext

from isokernel.capabilities import Asked, Decisions, read_policy
from isokernel.network.provider import Network
from isokernel.network.settings import NetworkSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

SOME, ALL = 200, 100_000
PARTS = 20
"""Of all: no test may take longer than five minutes (`faulthandler_timeout`)."""
TIMES = [
    pytest.param(17, SOME, id="some"),
    *(
        pytest.param(
            100 + part,
            ALL // PARTS,
            id=f"all-{part}",
            marks=[pytest.mark.slow, pytest.mark.timeout(280)],
        )
        for part in range(PARTS)
    ),
]
TOGETHER = 40
"""Chains that are followed at the same time, under one policy."""
REDIRECTS_MAX = 20
REDIRECTS = (301, 302, 303, 307, 308)
LISTENING = ("127.0.0.1", "127.0.0.2", "127.0.0.3")
FIXED = {
    "good.localhost": ["127.0.0.1"],
    "a.good.localhost": ["127.0.0.2", "10.0.0.1"],
    "evilgood.localhost": ["127.0.0.1"],
    "good.localhost.evil": ["127.0.0.1"],
    "localhost": ["127.0.0.1"],
    "good.example": ["169.254.169.254", "127.0.0.3"],
}
ANSWERS = [
    *("127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.9"),
    *("10.0.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0", "100.64.0.1"),  # noqa: S104
]
LITERALS = {
    "127.0.0.1": ["127.0.0.1", "0x7f.1", "2130706433", "127.1", "017700000001"],
    "127.0.0.2": ["127.0.0.2", "127.0.0.0x2", "127.2", "%31%32%37.0.0.2"],
    "10.0.0.1": ["10.0.0.1", "10.1", "0xa000001"],
    "169.254.169.254": ["169.254.169.254", "2852039166", "0xA9.254.0251.254"],
    "0.0.0.0": ["0.0.0.0", "0", "0x0"],  # noqa: S104 - of this machine too
    "::1": ["[::1]", "[0:0::1]"],
    "::ffff:7f00:1": ["[::ffff:127.0.0.1]", "[::FFFF:7f00:1]"],
    "::ffff:a00:1": ["[::ffff:10.0.0.1]"],
}
NETWORKS = [
    "127.0.0.0/8",
    "127.0.0.0/8",
    "127.0.0.2/32",
    "127.0.0.0/30",
    "::1/128",
    "127.0.0.3/32",
]
NOT_FOLLOWED = [
    *(
        "file:///etc/passwd",
        "data:text/plain,x",
        "javascript:1",
        "ftp://good.localhost/",
    ),
    *("npm:/ms@2.1.3/index.js", "blob:http://good.localhost/1", "about:blank"),
    *("http://user@good.localhost/", "http://good.localhost@127.0.0.1/", "http://[/"),
    *("//:80/", "http://a b/", "http://good.localhost:99999/", "//user:p@localhost/"),
    *(
        "http://127.0.0.1:22/",
        "http://256.0.0.1/",
        "ws://localhost/",
        "//localhost:25/",
    ),
]
METHODS = ["GET", "GET", "POST", "PUT", "HEAD", "DELETE"]
SEGMENTS = ["a", "b", "api", "..a", "~", "x.y"]


class Hop(NamedTuple):
    """One URL of a chain, and how it is answered.

    Attributes:
        place: Where it is; its last segment says which one it is.
        status: Of its answer.
        location: The header of that name; None if there is none.
        next: The hop that this leads to; None if nothing is to follow.
    """

    place: Place
    status: int
    location: str | None
    next: int | None

    @property
    def redirects(self) -> bool:
        return self.status in REDIRECTS and self.location is not None


class Chain(NamedTuple):
    """A chain of redirects.

    Attributes:
        hops: The first one is what is fetched.
        method: Of the request; it has a body if it is POST or PUT.
        names: By name, what is answered each time; then the last.
    """

    hops: list[Hop]
    method: str
    names: dict[str, list[list[str]]]


class Arrival(NamedTuple):
    """A request as it has come, or as it should.

    Attributes:
        hop: Which of the chain.
        method: Its method.
        body: Whether it has one.
        authority: The header Host.
    """

    hop: int
    method: str
    body: bool
    authority: str


# -- the oracle ------------------------------------------------------------------------


def is_allowed(place: Place, allows: list[Wanted], denies: list[Wanted]) -> bool:
    """Nothing here is public, so a rule has to name it."""
    return any(one.fits(place) and one.names(place) for one in allows) and not any(
        one.fits(place) for one in denies
    )


def listens(address: str) -> bool:
    found = ipaddress.ip_address(address)
    return str(getattr(found, "ipv4_mapped", None) or found) in LISTENING


def expected(
    chain: Chain, allows: list[Wanted], denies: list[Wanted]
) -> tuple[list[Arrival], bool]:
    """Return the requests that reach the site, and if the last one is the answer."""
    asked: collections.Counter[str] = collections.Counter()
    arrived: list[Arrival] = []
    number, method = 0, chain.method
    body = method in {"POST", "PUT"}
    for _ in range(REDIRECTS_MAX + 1):
        place, status, location, following = chain.hops[number]
        answers = chain.names.get(place.host)
        if answers is None:
            found = [place.host]
        else:
            found = answers[min(asked[place.host], len(answers) - 1)]
            asked[place.host] += 1
        to = [
            address
            for address in found
            if is_allowed(place._replace(address=address), allows, denies)
        ]
        if place.scheme == "https" or not any(map(listens, to)):
            return arrived, False
        host = f"[{place.host}]" if ":" in place.host else place.host
        arrived.append(Arrival(number, method, body, f"{host}:{place.port}"))
        if status not in REDIRECTS or location is None:
            return arrived, True
        if following is None:
            return arrived, False
        if (status in {301, 302} and method == "POST") or (
            status == 303 and method not in {"GET", "HEAD"}
        ):
            method, body = "GET", False
        number = following
    return arrived, False


# -- what chains are made of -----------------------------------------------------------


def odd_letters(chance: random.Random, host: str) -> str:
    """A name as a URL may spell it too."""
    kind = chance.randint(0, 7)
    place = chance.randrange(len(host))
    letter = host[place]
    if kind == 0:
        return host.upper()
    if kind == 1 and letter.isalpha():
        return f"{host[:place]}%{ord(letter):02x}{host[place + 1 :]}"
    if kind == 2 and letter.isalpha():
        return f"{host[:place]}{chr(ord(letter) + 0xFEE0)}{host[place + 1 :]}"
    if kind == 3 and letter == ".":
        return f"{host[:place]}\u3002{host[place + 1 :]}"
    if kind == 4 and place > 0:
        return f"{host[:place]}\u00ad{host[place:]}"
    return host


def odd_path(chance: random.Random, path: tuple[str, ...]) -> str:
    """A path with detours, which a URL doesn't keep."""
    parts = list(path)
    for _ in range(chance.choice([0, 0, 0, 1, 2])):
        at = chance.randrange(len(parts))
        back = chance.choice(["..", "%2e%2e", ".%2E"])
        parts[at:at] = chance.choice([["zz", back], ["."], ["%2e"]])
    return chance.choice(["/", "/", "/", "\\"]).join(parts)


def spelled(chance: random.Random, come: Place, go: Place) -> str:
    """A Location that leads from one place to another."""
    host = chance.choice(LITERALS.get(go.host, [go.host]))
    if go.host not in LITERALS:
        host = odd_letters(chance, host)
    port = chance.choice([f":{go.port}", f":{go.port}", f":0{go.port}"])
    rest = (
        f"{host}{port}{chance.choice(['/', '/', chr(92)])}{odd_path(chance, go.path)}"
    )
    forms = [f"{go.scheme}://{rest}", f"{go.scheme.upper()}://{rest}"]
    forms += [f"{go.scheme}:/\\{rest}", f"{go.scheme}:\\\\\\{rest}"]
    if go.scheme == come.scheme:
        forms += [f"//{rest}", f"\\\\{rest}", f"/\\{rest}", f"\\/\\/{rest}"]
    else:
        forms += [f"{go.scheme}:{rest}", f"{go.scheme}:/{rest}"]
    if go[:3] == come[:3]:
        path = odd_path(chance, go.path)
        # What begins with the scheme of the place itself is a path in it.
        forms += [f"/{path}", f"{go.scheme}:/{path}", f"\\{path}"] * 2
        forms += ["../" * len(come.path) + path] * 2
        if go.path[:-1] == come.path[:-1]:
            forms += [go.path[-1], f"./{go.path[-1]}", f"{go.scheme}:{go.path[-1]}"] * 2
    return chance.choice(forms) + chance.choice(["", "", "#part", "?q=//evil/../x"])


class Maker:
    """Makes chains, and the policies that they run under."""

    def __init__(self, chance: random.Random, ports: tuple[int, int]) -> None:
        self._chance = chance
        self._ports = ports

    def rules(self) -> tuple[list[Wanted], list[Wanted]]:
        """What is allowed, and what is denied."""
        chance = self._chance
        allows = [self._rule() for _ in range(chance.randint(1, 4))]
        return allows, [self._rule()] if chance.random() < 0.25 else []

    def _rule(self) -> Wanted:
        chance = self._chance
        if chance.random() < 0.5:
            return Wanted(network=chance.choice(NETWORKS))
        host = chance.choice([*FIXED, "good.localhost", "localhost"])
        below = chance.random() < 0.5
        port = chance.choice([None, *self._ports])
        if chance.random() < 0.6:
            return Wanted(host, below, port)
        path = tuple(chance.choices(SEGMENTS[:3], k=chance.randint(0, 2))) or None
        return Wanted(host, below, port, chance.choice(["http", "http", "https"]), path)

    def chain(self, number: int) -> Chain:
        """A chain whose hops are told apart by its number."""
        chance = self._chance
        names: dict[str, list[list[str]]] = {
            name: [answer] for name, answer in FIXED.items()
        }
        for count in range(chance.randint(0, 2)):
            name = f"n{number}x{count}.{chance.choice(list(FIXED))}"
            names[name] = [
                chance.sample(ANSWERS, chance.choice([1, 1, 1, 2]))
                for _ in range(chance.randint(1, 4))
            ]
        places = [self._place(number, 0, names, None)]
        for at in range(1, chance.randint(2, 6)):
            places.append(self._place(number, at, names, places[-1]))
        hops = [self._hop(place, places, at) for at, place in enumerate(places)]
        return Chain(hops, chance.choice(METHODS), names)

    def _place(
        self, number: int, at: int, names: dict[str, Any], last: Place | None
    ) -> Place:
        chance = self._chance
        path = (*chance.choices(SEGMENTS, k=chance.randint(0, 2)), f"c{number}h{at}")
        if last is not None and chance.random() < 0.4:
            if chance.random() < 0.5:
                path = (*last.path[:-1], path[-1])
            return last._replace(path=path)
        own = [name for name in names if name not in FIXED]
        kind = chance.random()
        host = chance.choice(own if own and kind < 0.5 else list(FIXED))
        if kind > 0.8:
            host = chance.choice(list(LITERALS))
        scheme = "https" if chance.random() < 0.04 else "http"
        return Place(scheme, host, chance.choice(self._ports), path, "")

    def _hop(self, place: Place, places: list[Place], at: int) -> Hop:
        chance = self._chance
        kind = chance.random()
        following: int | None = at + 1
        if kind < 0.01:
            following = chance.randrange(at + 1)  # round and round
        elif kind < 0.08:
            status = chance.choice(REDIRECTS)
            return Hop(place, status, chance.choice(NOT_FOLLOWED), None)
        elif kind < 0.12 or following == len(places):
            status = chance.choice([200, 200, 404, 300, 304, *REDIRECTS])
            location = None if status in REDIRECTS else "http://good.localhost/"
            return Hop(place, status, location, None)
        assert following is not None
        location = spelled(chance, place, places[following])
        return Hop(place, chance.choice(REDIRECTS), location, following)


# -- the world -------------------------------------------------------------------------


class Sites:
    """Answers as chains say, at two ports of three addresses.

    Attributes:
        arrived: By chain, what has come.
        escapes: What has come that can't be.
    """

    def __init__(self) -> None:
        self.chains: dict[int, Chain] = {}
        self.arrived: dict[int, list[Arrival]] = collections.defaultdict(list)
        self.escapes: list[str] = []
        self.ports = (0, 0)
        self._servers: list[asyncio.Server] = []
        self._transport: Any = None
        self.names = NameServer(self._look_up)

    def _look_up(self, name: str, number: int) -> list[str]:
        found = re.match(r"n(\d+)x", name)
        if found is None:
            return FIXED[name]
        answers = self.chains[int(found[1])].names[name]
        return answers[min(number, len(answers) - 1)]

    async def open(self) -> None:
        first, second = 0, 0
        for address in LISTENING:
            for which in (0, 1):
                port = (first, second)[which]
                server = await asyncio.start_server(self._serve, address, port)
                self._servers.append(server)
                port = server.sockets[0].getsockname()[1]
                first, second = (first, port) if which else (port, second)
        self.ports = (first, second)
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(
            lambda: self.names, local_addr=("127.0.0.1", 0)
        )

    async def close(self) -> None:
        self._transport.close()
        for server in self._servers:
            server.close()

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            while await self._answer(reader, writer):
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # the connection has ended, or speaks TLS
        except asyncio.CancelledError:
            pass  # the test is over
        finally:
            writer.close()

    async def _answer(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        first = await reader.readexactly(1)
        if first == b"\x16":
            return False  # TLS, which nobody speaks here
        head = (first + await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *lines = head.strip().split("\r\n")
        method, target, _ = line.split(" ")
        headers = {
            name.lower(): value.strip()
            for name, _, value in (each.partition(":") for each in lines)
        }
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        found = re.fullmatch(r"(?:/[^/]+)*/c(\d+)h(\d+)", target.partition("?")[0])
        if found is None:
            self.escapes.append(head)
            writer.write(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n")
            return True
        number, at = int(found[1]), int(found[2])
        arrival = Arrival(at, method, bool(body), headers["host"])
        seen = self.arrived[number]
        chain = self.chains[number]
        start = chain.hops[0].place
        came = [start, *(chain.hops[one.hop].place for one in seen)]
        place = chain.hops[at].place
        left = any(one[:3] != place[:3] for one in came)
        if left and "authorization" in headers:
            self.escapes.append(f"{place.url} has got what was for {start.url}")
        if target.partition("?")[0] != "/" + "/".join(place.path):
            self.escapes.append(f"{target} for {place.url}")
        seen.append(arrival)
        hop = chain.hops[at]
        answer = f"HTTP/1.1 {hop.status} Fine\r\n"
        if hop.location is not None:
            answer += f"Location: {hop.location}\r\n"
        if hop.status != 304:
            answer += "Content-Length: 0\r\n"
        writer.write((answer + "\r\n").encode())
        return True


FETCH = """
const chains = JSON.parse(given);
const ends = await Promise.all(chains.map(async ([url, method]) => {
  const body = method === "POST" || method === "PUT" ? "body" : undefined;
  const headers = { authorization: "of the first" };
  try {
    const response = await fetch(url, { method, body, headers });
    await response.text();
    return [response.url, response.status];
  } catch (error) {
    return error.message;
  }
}));
console.log(JSON.stringify(ends));
"""


class World:
    """A context whose requests go by the policy of the moment.

    Attributes:
        sites: What they may reach.
    """

    def __init__(self, thread: LoopThread) -> None:
        self._thread = thread
        self.sites = Sites()
        thread.run(self.sites.open())
        settings = NetworkSettings(
            requests_max=5 * TOGETHER, connect_timeout_seconds=10.0
        )
        names = NameClient(self.sites.names.port)
        self._policy = read_policy({}, public_only=True)
        self._decisions = Decisions()
        self._context = NetContext(
            thread, {"net": lambda: Network(settings, names)}, self._decide
        )

    async def _decide(self, asked: Asked) -> None:
        await self._decisions.decide([self._policy], asked, None)

    def follow(
        self, chains: dict[int, Chain], allows: list[Wanted], denies: list[Wanted]
    ) -> list[Any]:
        """Fetch them all under a policy; what each ends with."""
        rules = [
            {"effect": "deny", "capability": "net", "target": one.text}
            for one in denies
        ]
        given = {"net": [one.text for one in allows], "rules": rules}
        self._policy = read_policy(given, public_only=True)
        self.sites.chains = chains
        self.sites.arrived.clear()
        self.sites.names.forget()
        wanted = [[one.hops[0].place.url, one.method] for one in chains.values()]
        text = json.dumps(json.dumps(wanted))
        outcome = self._context.run(FETCH.replace("given", text))
        assert outcome.error is None, outcome.error
        ends: list[Any] = json.loads(outcome.stdout)
        return ends

    def close(self) -> None:
        self._context.close()
        self._thread.run(self.sites.close())


@pytest.fixture
def world(thread: LoopThread) -> Iterator[World]:
    made = World(thread)
    yield made
    made.close()


@pytest.mark.parametrize(("seed", "times"), TIMES)
def test_chains_of_redirects(world: World, seed: int, times: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - no secret
    maker = Maker(chance, world.sites.ports)
    requests = answered = denied = 0
    for start in range(0, times, TOGETHER):
        numbers = range(start, min(times, start + TOGETHER))
        chains = {number: maker.chain(number) for number in numbers}
        allows, denies = maker.rules()
        ends = world.follow(chains, allows, denies)
        assert not world.sites.escapes, world.sites.escapes
        for (number, chain), end in zip(chains.items(), ends, strict=True):
            arrivals, is_answered = expected(chain, allows, denies)
            told = (allows, denies, chain, end)
            assert world.sites.arrived[number] == arrivals, told
            assert isinstance(end, list) == is_answered, told
            requests += len(arrivals)
            answered += is_answered
            denied += not is_answered and "no policy" in str(end)
    assert requests > times // 4
    assert answered > times // 40
    assert denied > times // 20
