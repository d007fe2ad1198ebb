"""Faults at random: nothing acknowledged is lost or owned twice, nothing hangs.

Each context counts, saved before each answer, and has one client that asks a server at
random. An answer's number must be higher than that of the answer before, and by no more
than the requests since then without an answer.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING

import httpx
import pytest
from tests.server.cluster.conftest import LEASE_SECONDS
from tests.support.client import connect
from tests.support.waiting import DEADLINE, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.server.cluster.conftest import Nodes
    from tests.support.outages import Away
    from tests.support.server import Server

SERVERS = 3
CONTEXTS = 4
FAULTS = int(os.environ.get("ISOKERNEL_TEST_FAULTS", "10"))
SEED = int(os.environ.get("ISOKERNEL_TEST_SEED", str(time.time_ns() % 1_000_000)))
PAUSE_SECONDS = 0.05


class Members:
    """The servers of the cluster, some of which don't answer at times."""

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes
        self._lock = threading.Lock()
        self.running: list[Server] = []

    def start(self) -> None:
        """Have another one."""
        server, _ = self._nodes.start("--shutdown-grace-seconds", "1")
        with self._lock:
            self.running.append(server)

    def pick(self, chance: random.Random) -> Server:
        """Any of those that were not ended."""
        with self._lock:
            return chance.choice(self.running)

    def replace(self, server: Server, number: int) -> None:
        """End one, and have another in its place."""
        with self._lock:
            self.running.remove(server)
        server.stop(number)
        self.start()


class Counter:
    """A context that counts, and what its client knows of it."""

    def __init__(self, members: Members, context_id: str, seed: int) -> None:
        self._members = members
        self._id = context_id
        self._chance = random.Random(seed)  # noqa: S311 - picks servers
        self.known = 0
        self.unknown = 0
        self.answers = 0
        self.slowest = 0.0
        self.problems: list[str] = []
        self.told: dict[str, int] = {}

    def run(self, done: threading.Event) -> None:
        """Ask again and again."""
        while not done.is_set() and not self.problems:
            self.ask()
            done.wait(PAUSE_SECONDS)

    def ask(self) -> bool:
        """Ask once; whether there was an answer."""
        server = self._members.pick(self._chance)
        began = time.monotonic()
        self.unknown += 1
        try:
            with connect(server) as client:
                body = {"code": "++n", "context_id": self._id}
                answer = client.post("/execute", json=body)
        except httpx.TimeoutException:
            self.problems.append(f"{self._id}: no answer in {DEADLINE:g} s")
            return False
        except httpx.TransportError as error:
            self._note(type(error).__name__)
            return False
        self.slowest = max(self.slowest, time.monotonic() - began)
        if answer.headers.get("X-Error-Code") in {"context_dead", "context_missing"}:
            self.problems.append(f"{self._id}: {answer.text}")
            return False
        if answer.status_code != 200:
            self._note(f"{answer.status_code} {answer.headers.get('X-Error-Code')}")
            return False
        if answer.json()["error"] is not None:
            self._note(answer.json()["error"]["name"])
            return False
        number = int(answer.json()["items"][-1]["text"])
        if not self.known < number <= self.known + self.unknown:
            self.problems.append(
                f"{self._id}: {number} after {self.known}, with {self.unknown} requests"
            )
        self.known, self.unknown = number, 0
        self.answers += 1
        return True

    def _note(self, what: str) -> None:
        self.told[what] = self.told.get(what, 0) + 1


def _kill(members: Members, chance: random.Random, _away: Away) -> None:
    members.replace(members.pick(chance), signal.SIGKILL)


def _stop(members: Members, chance: random.Random, _away: Away) -> None:
    members.replace(members.pick(chance), signal.SIGTERM)


def _pause(members: Members, chance: random.Random, _away: Away) -> None:
    server = members.pick(chance)
    server.process.send_signal(signal.SIGSTOP)
    time.sleep(LEASE_SECONDS * chance.choice((0.3, 1.0, 2.0)))
    server.process.send_signal(signal.SIGCONT)


def _cut_sessions(_members: Members, _chance: random.Random, away: Away) -> None:
    away.end_sessions()


def _take_database_away(_members: Members, chance: random.Random, away: Away) -> None:
    away.leave()
    time.sleep(LEASE_SECONDS * chance.choice((0.3, 1.5)))
    away.come_back()


KINDS: list[Callable[[Members, random.Random, Away], None]] = [
    *(_kill, _stop, _pause, _pause, _cut_sessions, _take_database_away),
]


@pytest.mark.slow
@pytest.mark.timeout(120 + 30 * FAULTS)
def test_nothing_that_was_answered_is_lost(nodes: Nodes, away: Away) -> None:
    chance = random.Random(SEED)  # noqa: S311 - picks faults
    nodes.database = away.url
    members = Members(nodes)
    for _ in range(SERVERS):
        members.start()
    counters = []
    for number in range(CONTEXTS):
        client = chance.choice(nodes.clients)
        body = {"language": "javascript", "durability": "execution"}
        context_id = client.post("/contexts", json=body).json()["id"]
        client.run("globalThis.n = 0", context_id=context_id)
        counters.append(Counter(members, context_id, SEED + number))
    done = threading.Event()
    threads = [threading.Thread(target=each.run, args=(done,)) for each in counters]
    for thread in threads:
        thread.start()
    made = []
    try:
        for _ in range(FAULTS):
            fault = chance.choice(KINDS)
            made.append(fault.__name__.strip("_"))
            fault(members, chance, away)
            done.wait(chance.random() * LEASE_SECONDS)
            if any(each.problems for each in counters):
                break
    finally:
        done.set()
        for thread in threads:
            thread.join()
    report = f"seed {SEED}, {made}: " + "; ".join(
        f"{each.answers} answers, slowest {each.slowest:.1f} s, else {each.told}"
        for each in counters
    )
    sys.stdout.write(f"{report}\n")
    assert not [each.problems for each in counters if each.problems], report
    # All is well in the end.
    for each in counters:
        wait_for(each.ask)
        assert not each.problems, report
