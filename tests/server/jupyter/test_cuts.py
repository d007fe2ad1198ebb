"""Random cuts: two fronts and an agent get the same sequence, whatever breaks."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from tests.support.client import connect
from tests.support.fronts import Front, channels
from tests.support.server import V8_FLAGS, Server
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.client import Client

LOG = logging.getLogger(__name__)
PRINTS = """
globalThis.go = async (count) => {
  setTimeout(() => console.log("late"), 20);
  for (let i = 0; i < count; i++) {
    console.log(i);
    await new Promise((done) => setTimeout(done, 0));
  }
};
1
"""
FOR_ONE = {"execute_reply"}
CELL_MESSAGES = 5
"""What a cell says beside what it prints, at least."""
CUTS = ("front", "both", "agent", "sleep", "stop", "kill")


class Follower:
    """A front that hears all the time.

    Attributes:
        front: The front.
        resent: Messages that came again, under the number that they had.
    """

    def __init__(self, session: str) -> None:
        self.front = Front("", session)
        self.resent = 0
        self._hearing: asyncio.Task[None] | None = None

    async def come(self, url: str) -> None:
        await self.front.connect(url)
        self._hearing = asyncio.ensure_future(self._hear())

    async def _hear(self) -> None:
        while True:
            before = len(self.front.heard)
            if await self.front.hear() is None:
                return
            self.resent += len(self.front.heard) == before

    async def cut(self) -> None:
        """Break the connection, and lose what is on its way."""
        assert self.front.socket is not None
        protocol: Any = self.front.socket.protocol
        if protocol is not None and protocol.stream is not None:
            protocol.stream.close()
        await self.gone()

    async def gone(self) -> None:
        """Hear that the connection is broken."""
        assert self._hearing is not None
        await self._hearing
        self.front.socket = None

    def said(self) -> list[tuple[int, str]]:
        """What it heard of the context, by number, in the order in which it came."""
        found = []
        for message in self.front.heard:
            of, _, number = message.header["msg_id"].rpartition("_")
            if "-" in of and message.kind not in FOR_ONE:
                found.append((int(number), told(message.kind, message.content)))
        return found


class Agent:
    """Reads pages all the time, each with the cursor of the one before."""

    def __init__(self) -> None:
        self.said: list[tuple[int, str]] = []
        self.kinds: set[str] = set()
        self.missed = 0
        self._cursor = "0"
        self._away = True

    def read(self, client: Client, context: str, **asked: Any) -> bool:
        """Read a page; whether there was anything."""
        place = f"/contexts/{context}/messages"
        answer = client.get(place, params={"after": self._cursor, **asked})
        assert answer.status_code in {200, 503}, answer.text
        if answer.status_code != 200:
            return False
        page = answer.json()
        self.missed += page["missed"] + page["anew"]
        for one in page["items"]:
            self.said.append((one["number"], told(one["type"], one["content"])))
        self._cursor = page["cursor"]
        return bool(page["items"])

    def follow(self, run: Run) -> None:
        """Read until `leave`, also from the next server."""
        self._away = False
        while not self._away:
            with suppress(httpx.TransportError), connect(run.server) as client:
                while not self._away:
                    self.read(client, run.context, wait_seconds=0.2)

    def leave(self) -> None:
        self._away = True


def told(kind: str, content: Any) -> str:
    return f"{kind} {json.dumps(content, sort_keys=True)}"


class Run:
    """One context, its fronts and its agent, through many cuts."""

    def __init__(self, start: Callable[[], Server], seed: int) -> None:
        self.server = start()
        self._start = start
        self._chance = random.Random(seed)  # noqa: S311 - repeatable
        self.fronts = [Follower(name) for name in ("first", "second")]
        self.agent = Agent()
        with connect(self.server) as client:
            self.context = client.run(PRINTS, language="javascript")["context_id"]
            client.post(f"/contexts/{self.context}/checkpoint").raise_for_status()

    async def all(self, messages: int, cuts: int) -> None:
        """Have so many messages said, with so many cuts amid them."""
        order = [*CUTS * (cuts // len(CUTS) + 1)][:cuts]
        self._chance.shuffle(order)
        for follower in self.fronts:
            await follower.come(self._channels)
        reading = asyncio.ensure_future(asyncio.to_thread(self.agent.follow, self))
        for index, cut in enumerate(order):
            share = (messages - self._heard) // (cuts - index)
            cell = await self._begin(max(1, share - CELL_MESSAGES))
            if cut == "agent":
                self.agent.leave()
                await reading
                await cell
                follow = asyncio.to_thread(self.agent.follow, self)
                reading = asyncio.ensure_future(follow)
            else:
                await self._cut(cut, cell)
            await cell
        with connect(self.server) as client:
            # What a killed cell has not said, and an end after which nothing comes.
            end = "await new Promise((done) => setTimeout(done, 50))"
            code = f"await go({max(1, messages - self._heard)}); {end}"
            client.run(code, context_id=self.context)
            self.agent.leave()
            await reading
            while await asyncio.to_thread(self.agent.read, client, self.context):
                pass
        last = self.agent.said[-1][0]
        for follower in self.fronts:
            await self._until(lambda one=follower: one.said()[-1][0] >= last)  # type: ignore[misc]
            await follower.cut()

    @property
    def _channels(self) -> str:
        return channels(self.server, self.context)

    @property
    def _heard(self) -> int:
        return len(self.agent.said)

    async def _begin(self, count: int) -> asyncio.Future[None]:
        """Have a cell print so often: a front's or the agent's. Done when it is over.

        Returns once it has printed a part of it.
        """
        before = self._heard
        code = f"await go({count})"
        asked: asyncio.Future[None] = asyncio.ensure_future(asyncio.sleep(0))
        if self._chance.random() < 0.5:
            await self.fronts[0].front.ask("execute_request", {"code": code})
        else:
            body = {"code": code, "context_id": self.context}

            def run() -> None:
                # Its answer is lost with the server.
                with suppress(httpx.TransportError), connect(self.server) as client:
                    client.post("/execute", json=body)

            asked = asyncio.ensure_future(asyncio.to_thread(run))
        part = before + self._chance.randrange(1, count + 1)
        await self._until(lambda: self._heard >= part)
        return asked

    async def _cut(self, cut: str, cell: asyncio.Future[None]) -> None:
        if cut == "sleep":
            await cell
            with connect(self.server) as client:
                state = (self.context, "hibernated")
                await asyncio.to_thread(client.wait_state, *state)
            return
        cut_off = self.fronts
        if cut == "front":
            cut_off = [self._chance.choice(self.fronts)]
        if cut in {"stop", "kill"}:
            end = signal.SIGTERM if cut == "stop" else signal.SIGKILL
            await asyncio.to_thread(self.server.stop, end)
            self.server = await asyncio.to_thread(self._start)
        for follower in cut_off:
            await follower.cut()
        if cut == "both":
            await cell
        for follower in cut_off:
            await follower.come(self._channels)

    async def _until(self, happens: Callable[[], bool]) -> None:
        await asyncio.to_thread(wait_for, happens)


def check(run: Run, messages: int) -> dict[str, int]:
    """Compare what all have heard; figures."""
    whole = run.agent.said
    numbers = [number for number, _ in whole]
    assert numbers == list(range(1, len(whole) + 1)), "lost, twice or out of order"
    assert run.agent.missed == 0
    assert len(whole) >= messages
    first = run.fronts[0].said()[0][0]
    shared = [one for one in whole if one[1].partition(" ")[0] not in FOR_ONE]
    expected = [one for one in shared if one[0] >= first]
    for follower in run.fronts:
        assert follower.said() == expected
    resent = sum(follower.resent for follower in run.fronts)
    return {"messages": len(whole), "sent again": resent}


@pytest.mark.parametrize(
    ("messages", "cuts"),
    [
        (400, 6),
        pytest.param(10_000, 100, marks=[pytest.mark.slow, pytest.mark.timeout(900)]),
    ],
)
def test_all_hear_the_same(
    servers: Callable[..., Server],
    tmp_path: Path,
    messages: int,
    cuts: int,
) -> None:
    flags = (*V8_FLAGS, "--data-dir", str(tmp_path / "data"))
    seed = random.randrange(1 << 32)  # noqa: S311 - likewise

    def start() -> Server:
        return servers(*flags, "--hibernate-after-seconds", "0.3")

    began = time.monotonic()
    run = Run(start, seed)
    LOG.info("seed %d", seed)  # shown with --log-cli-level=info
    asyncio.run(run.all(messages, cuts))
    seconds = time.monotonic() - began
    LOG.info("%d cuts, %.0f s: %s", cuts, seconds, check(run, messages))
