"""Faults at random: nothing acknowledged is lost or owned twice, nothing hangs.

Three servers, a PostgreSQL and a store that speaks S3 are machines of a network of
their own, and some faults go on at a time. Clients ask any of the servers meanwhile
(`tests.support.workloads`), and the database notes who owned and wrote what
(`tests.support.audits`).

How many faults there are, which ones, and how many at a time, variables say. A long
run, here of one kind, also shows what clients see of it:

    ISOKERNEL_TEST_FAULTS=300 ISOKERNEL_TEST_FAULTS_ONLY=killed pytest -s -n 0 -m slow \
        -o faulthandler_timeout=0 tests/server/cluster/test_faults.py
"""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import time
from collections import Counter, deque
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from tests.support.audits import Audit
from tests.support.cables import why_no_networks
from tests.support.leaks import boot_seconds, children, reap_adopted
from tests.support.machines import CLIENTS, DATABASE, STORE, Machines
from tests.support.workloads import WORKLOADS, Asker, Workload

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SERVERS = 3
FAULTS = int(os.environ.get("ISOKERNEL_TEST_FAULTS", "10"))
AT_ONCE = int(os.environ.get("ISOKERNEL_TEST_FAULTS_AT_ONCE", "3"))
ONLY = os.environ.get("ISOKERNEL_TEST_FAULTS_ONLY", "")
"""Names of faults, if not all."""
SEED = int(os.environ.get("ISOKERNEL_TEST_SEED", str(time.time_ns() % 1_000_000)))
LEASE_SECONDS = float(os.environ.get("ISOKERNEL_TEST_FAULTS_LEASE", "2"))
LATE_SECONDS = 0.05
LOST_PART = 0.2
CALM_SECONDS = 60.0
"""In which all is well again, once there are no faults."""
_HISTORY_LINES = 60

WHY_NOT = why_no_networks()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT),
]


class Faults:
    """What goes wrong. Each method is a fault, from its beginning to its end."""

    def __init__(self, machines: Machines, chance: random.Random) -> None:
        self._machines = machines
        self._chance = chance

    def _last(self, *leases: float) -> None:
        """Let it last for a part of a lease, or some leases."""
        self._machines.ended.wait(LEASE_SECONDS * self._chance.choice(leases))

    def _one(self) -> str:
        return self._chance.choice(self._machines.names)

    def _others(self) -> list[str]:
        return [*self._machines.names, DATABASE, STORE, CLIENTS]

    def _replace(self, number: int) -> bool:
        with self._machines.held(self._chance) as server:
            if server is None:
                return False
            self._machines.replace(server, number)
        return True

    # -- servers -----------------------------------------------------------------------

    def killed(self) -> bool:
        return self._replace(signal.SIGKILL)

    def stopped(self) -> bool:
        return self._replace(signal.SIGTERM)

    def paused(self) -> bool:
        with self._machines.held(self._chance) as server:
            if server is None:
                return False
            server.process.send_signal(signal.SIGSTOP)
            self._last(0.3, 1.0, 1.5, 2.0, 3.0)
            server.process.send_signal(signal.SIGCONT)
        return True

    # -- the database ------------------------------------------------------------------

    def sessions_ended(self) -> bool:
        self._machines.database.end_sessions()
        return True

    def database_refuses(self) -> bool:
        with self._machines.database_refuses():
            self._last(0.3, 1.5)
        return True

    def database_paused(self) -> bool:
        with self._machines.database_paused():
            self._last(0.3, 1.5, 3.0)
        return True

    def database_cut_off(self) -> bool:
        return self._cut(_both(DATABASE, self._machines.names), 0.3, 1.5, 3.0)

    def server_cut_off_from_database(self) -> bool:
        return self._cut(_both(DATABASE, [self._one()]), 0.3, 1.5, 3.0)

    def server_not_heard_by_database(self) -> bool:
        return self._cut([(self._one(), DATABASE)], 0.3, 1.5, 3.0)

    def database_not_heard_by_server(self) -> bool:
        return self._cut([(DATABASE, self._one())], 0.3, 1.5, 3.0)

    # -- the store ---------------------------------------------------------------------

    def store_paused(self) -> bool:
        with self._machines.store_paused():
            self._last(0.3, 1.5, 3.0)
        return True

    def store_cut_off(self) -> bool:
        return self._cut(_both(STORE, self._machines.names), 0.3, 1.5, 3.0)

    def store_unplugged(self) -> bool:
        with self._machines.unplugged(STORE):
            self._last(0.3, 1.5, 3.0)
        return True

    def server_cut_off_from_store(self) -> bool:
        return self._cut(_both(STORE, [self._one()]), 0.3, 1.5, 3.0)

    # -- between servers and clients ---------------------------------------------------

    def server_cut_off_from_server(self) -> bool:
        one, other = self._chance.sample(self._machines.names, 2)
        return self._cut(_both(one, [other]), 0.3, 1.5, 3.0)

    def server_not_heard_by_server(self) -> bool:
        one, other = self._chance.sample(self._machines.names, 2)
        return self._cut([(one, other)], 0.3, 1.5, 3.0)

    def server_cut_off_from_clients(self) -> bool:
        return self._cut(_both(CLIENTS, [self._one()]), 0.3, 1.5)

    def server_cut_off(self) -> bool:
        one = self._one()
        others = [each for each in self._others() if each != one]
        return self._cut(_both(one, others), 0.3, 1.5, 3.0)

    def server_unplugged(self) -> bool:
        with self._machines.unplugged(self._one()):
            self._last(0.3, 1.5, 3.0)
        return True

    def server_slow(self) -> bool:
        one = self._one()
        others = [each for each in self._others() if each != one]
        ways = _both(one, others)
        with self._machines.trouble(*ways, lost=0.0, late=LATE_SECONDS):
            self._last(1.0, 3.0)
        return True

    def server_lossy(self) -> bool:
        one = self._one()
        others = [each for each in self._others() if each != one]
        ways = _both(one, others)
        with self._machines.trouble(*ways, lost=LOST_PART, late=LATE_SECONDS / 10):
            self._last(1.0, 3.0)
        return True

    def _cut(self, ways: list[tuple[str, str]], *leases: float) -> bool:
        with self._machines.trouble(*ways):
            self._last(*leases)
        return True


def _both(one: str, others: list[str]) -> list[tuple[str, str]]:
    ways = [(one, other) for other in others]
    return [*ways, *((other, one) for other, one in map(reversed, ways))]


KINDS: tuple[str, ...] = tuple(
    name for name in vars(Faults) if not name.startswith("_")
)


class Trial:
    """Faults and clients at once, and what comes of that."""

    def __init__(self, machines: Machines, seed: int, faults: int) -> None:
        self._machines = machines
        self._seed = seed
        self._left = faults
        self._lock = threading.Lock()
        self._now: Counter[str] = Counter()
        self._history: deque[str] = deque(maxlen=_HISTORY_LINES)
        self.made: Counter[str] = Counter()
        self.audit = Audit(machines.postgresql, machines.database.name)
        self.askers = [
            Asker(machines, seed + number, self._goes_on)
            for number in range(len(WORKLOADS))
        ]
        self.works: list[Workload] = [
            kind(asker, number)
            for number, (kind, asker) in enumerate(
                zip(WORKLOADS, self.askers, strict=True)
            )
        ]

    def _goes_on(self) -> str:
        """What goes wrong now."""
        with self._lock:
            return "+".join(sorted(+self._now)) or "nothing"

    @property
    def problems(self) -> list[str]:
        return [each for asker in self.askers for each in asker.problems]

    def run(self, kinds: list[str]) -> None:
        """Have all faults, some at a time, then calm."""
        done = threading.Event()
        working = [
            threading.Thread(target=each.run, args=(done,)) for each in self.works
        ]
        breaking = [
            threading.Thread(target=self._break, args=(kinds, self._seed - number))
            for number in range(AT_ONCE)
        ]
        for thread in (*working, *breaking):
            thread.start()
        try:
            for thread in breaking:
                thread.join()
        finally:
            self._machines.ended.set()
            done.set()
            for thread in (*breaking, *working):
                thread.join()

    def _break(self, kinds: list[str], seed: int) -> None:
        chance = random.Random(seed)  # noqa: S311 - picks faults
        faults = Faults(self._machines, chance)
        while not self.problems:
            kind = chance.choice(kinds)
            with self._noted(kind) as wanted:
                if not wanted:
                    return
                if not getattr(faults, kind)():
                    self.made[kind] -= 1
                    self._left += 1
            self._machines.ended.wait(chance.random() * LEASE_SECONDS)

    @contextmanager
    def _noted(self, kind: str) -> Iterator[bool]:
        with self._lock:
            wanted = self._left > 0
            if wanted:
                self._left -= 1
                self._now[kind] += 1
                self.made[kind] += 1
        began = time.strftime("%X")
        try:
            yield wanted
        finally:
            if wanted:
                with self._lock:
                    self._now[kind] -= 1
                    self._history.append(f"  {began} to {time.strftime('%X')} {kind}")

    def history(self) -> str:
        """Tell the last faults, and from when to when each went on."""
        return "\n".join(self._history)

    def report(self) -> str:
        """What there was, line by line."""
        told: Counter[str] = Counter()
        for asker in self.askers:
            for each in asker.told.values():
                told += each
        slowest = {
            outcome: max(asker.slowest.get(outcome, 0.0) for asker in self.askers)
            for outcome in told
        }
        lines = [
            f"seed {self._seed}: {sum(self.made.values())} faults {dict(+self.made)}",
            *(f"  {work.name}: {work.steps} steps" for work in self.works),
            *(
                f"  {number} times {outcome}, at most {slowest[outcome]:.1f} s"
                for outcome, number in told.most_common()
            ),
        ]
        return "\n".join(lines)


def _wait_until_well(work: Workload) -> None:
    """Wait until something works again."""
    end = time.monotonic() + CALM_SECONDS
    while not work.step():
        if time.monotonic() > end:
            last = list(work.asker.last)
            work.asker.problem(f"{work.name} don't work in {CALM_SECONDS:g} s: {last}")
            return
        time.sleep(work.pause_seconds)


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[Machines]:
    """Three servers."""
    pytest.importorskip("moto.server")
    made = Machines(
        SERVERS,
        tmp_path,
        *("--cluster-lease-seconds", str(LEASE_SECONDS)),
        *("--shutdown-grace-seconds", "1"),
        *("--execute-rate-per-minute", "1000000"),
        *("--request-rate-per-minute", "1000000"),
    )
    try:
        yield made
    finally:
        made.close()
        # What a killed server leaves comes here if another one is just being started.
        reap_adopted(children(), boot_seconds())
    sys.stdout.write("\n".join(made.said))
    assert not made.said


@pytest.mark.timeout(180 + 20 * FAULTS)
def test_nothing_that_was_answered_is_lost(machines: Machines) -> None:
    kinds = ONLY.split(",") if ONLY else list(KINDS)
    trial = Trial(machines, SEED, FAULTS)
    began = time.monotonic()
    trial.run(kinds)
    calm = time.monotonic()
    if not trial.problems:
        for work in trial.works:
            _wait_until_well(work)
    report = trial.report()
    answers = [each for asker in trial.askers for each in asker.answered]
    problems, counts = trial.audit.check(answers)
    report += f"\n  looked at {counts}, servers that didn't start {machines.restarts}"
    report += (
        f"\n  {calm - began:.0f} s of faults, {time.monotonic() - calm:.1f} s calm"
    )
    sys.stdout.write(f"{report}\n")
    for line in sorted(
        f"  {now}: {dict(told)}"
        for asker in trial.askers
        for now, told in asker.told.items()
        if "+" not in now
    ):
        sys.stdout.write(f"{line}\n")
    problems += trial.problems
    if problems:
        machines.show_logs()
        last = trial.history()
        sys.stdout.write("\n".join(["the last faults:", last, "problems:", *problems]))
    assert not problems, report
