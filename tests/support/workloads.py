"""What clients do while there are faults, and what they may rely on meanwhile.

Each asks any of the servers for each request, one request after the other. What was
acknowledged must be there afterwards: a number that counts executions never goes back,
what has an id runs once, a run or a heap whose id was given is found.
"""

from __future__ import annotations

import json
import random
import socket
import time
from collections import Counter, defaultdict, deque
from typing import TYPE_CHECKING, Any, ClassVar

import httpx
from tests.support.agents import BOTH, INITIALIZE
from tests.support.audits import Answered
from tests.support.client import NO_TLS, Client

from isokernel.exit_codes import DEFECT, REASONS

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from tests.support.machines import Machines

__all__ = ["WORKLOADS", "Asker", "Workload"]

HANG_SECONDS = 35.0
"""After which a request hangs: whatever a server waits for ends before that."""
_CUT_OFF_SECONDS = 30.0
"""For how much longer an answer may be on its way where cables were cut: what is lost
is sent again after as long as it has been lost."""
_KEEP_ALIVE = [
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 2),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 2),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 10),
]
"""Who is cut off while a server ends would not learn of it otherwise."""
_LATE_SECONDS = 90.0
"""How long a request whose answer was lost may be under way."""
_GONE = frozenset({"context_dead", "context_missing", "heap_missing"})
_GONE |= {"execution_missing", "task_missing", "execution_forgotten"}
"""What answers say that have lost what was acknowledged."""
_OK = 200
_MISSING = 404
_FORGOTTEN = frozenset({"connection_ended", "route_missing"})
_ENDED = frozenset({"completed", "failed", "cancelled", "timed_out"})
_UNCONNECTED = frozenset({"ConnectError", "ConnectTimeout"})
"""That no connection is made in time is up to the network: machines answer it before
servers do."""
_FAULTY = frozenset({502, 503})
"""Statuses of answers that ask to try again."""


class Asker:
    """Asks servers at random, and counts what comes of it.

    Attributes:
        told: How often there was each outcome, by what goes on meanwhile.
        slowest: The longest wait for each outcome.
        last: The last outcomes, and when.
        answered: The answers of contexts' owners.
        problems: What may not be.
    """

    def __init__(
        self,
        machines: Machines,
        seed: int,
        now: Callable[[], str],
    ) -> None:
        self._machines = machines
        self.chance = random.Random(seed)  # noqa: S311 - picks servers
        self._now = now
        self.told: dict[str, Counter[str]] = defaultdict(Counter)
        self.slowest: dict[str, float] = defaultdict(float)
        self.answered: list[Answered] = []
        self.last: deque[str] = deque(maxlen=10)
        self.problems: list[str] = []

    def ask(
        self,
        method: str,
        path: str,
        *,
        context: str = "",
        missing: tuple[str, ...] = (),
        **options: Any,
    ) -> httpx.Response | None:
        """Ask one for something; what it answers, if that is no fault.

        Args:
            method: The method.
            path: The path.
            context: Of which context an answer is, if it is of one.
            missing: Which errors of what is lost are none, as it may never have been.
            options: Of the request.
        """
        server = self._machines.pick(self.chance)
        began, since = time.monotonic(), time.time()
        answer = None
        try:
            with Client(
                base_url=server.url,
                timeout=HANG_SECONDS + _CUT_OFF_SECONDS,
                transport=httpx.HTTPTransport(
                    verify=NO_TLS, socket_options=_KEEP_ALIVE
                ),
            ) as client:
                answer = client.request(method, path, **options)
        except httpx.TransportError as error:
            outcome = type(error).__name__
        else:
            outcome = _outcome(answer)
        seconds = time.monotonic() - began
        self.note(outcome, seconds)
        if seconds > HANG_SECONDS and outcome not in _UNCONNECTED:
            cut_off = self._machines.may_be_unheard(server, began)
            if not cut_off or seconds > HANG_SECONDS + _CUT_OFF_SECONDS:
                told = f"{outcome} of {server.url} after {seconds:.0f} s"
                self.problem(f"{method} {path}: {told}")
        if answer is None or answer.status_code in _FAULTY:
            return None
        code = answer.headers.get("X-Error-Code")
        lost = code in _GONE and code not in missing
        if lost or answer.status_code >= 500:
            self.problem(f"{method} {path}: {outcome} {answer.text[:500]}")
            return None
        if context and answer.status_code < 300:
            url = answer.headers.get("X-Isokernel-Owner", server.url)
            key = ("context", "default", context)
            self.answered.append(Answered(key, url, since, time.time()))
        return answer

    def note(self, outcome: str, seconds: float = 0.0) -> None:
        """Count an outcome."""
        self.told[self._now()][outcome] += 1
        self.slowest[outcome] = max(self.slowest[outcome], seconds)
        self.last.append(f"{time.strftime('%X')} {outcome} {seconds:.1f} s")

    def problem(self, text: str) -> None:
        """Note what may not be."""
        self.problems.append(f"{time.strftime('%X')} {self._now()}: {text}")


def _outcome(answer: httpx.Response) -> str:
    code = answer.headers.get("X-Error-Code")
    return f"{answer.status_code} {code}" if code else str(answer.status_code)


class Numbers:
    """Numbers that count requests, of which some answers were lost."""

    def __init__(self, asker: Asker, name: str) -> None:
        self._asker = asker
        self._name = name
        self.known = 0
        self._answered = time.monotonic()
        self._lost: list[float] = []

    def lose(self) -> None:
        """Note that a request may have counted, or may yet."""
        self._lost.append(time.monotonic())

    def get(self, number: int) -> None:
        """Take the number of an answer: one more, but for what was lost."""
        # What was lost long before the last answer has counted by then, or never will.
        limit = self._answered - _LATE_SECONDS
        self._answered = time.monotonic()
        self._lost = [each for each in self._lost if each > limit]
        more = number - self.known - 1
        if not 0 <= more <= len(self._lost):
            self._asker.problem(
                f"{self._name}: {number} after {self.known}, with {len(self._lost)} "
                "answers lost"
            )
        del self._lost[: max(0, more)]
        self.known = number


class Workload:
    """Something that a client does again and again.

    Attributes:
        name: What it is.
        steps: How often it was done to its end.
        context: The one that it uses, once it is made; empty if it needs none.
    """

    name: ClassVar[str]
    pause_seconds: ClassVar[float] = 0.05

    def __init__(self, asker: Asker, number: int) -> None:
        self.asker = asker
        self.number = number
        self.steps = 0
        self.context = ""
        self.numbers = Numbers(asker, f"{self.name} {number}")

    def run(self, done: threading.Event) -> None:
        """Do it until the end."""
        while not done.is_set() and not self.asker.problems:
            self.steps += self.step()
            done.wait(self.pause_seconds)

    def step(self) -> bool:
        """Do it once; whether it was done to its end."""
        raise NotImplementedError

    def make_context(self) -> str:
        """Make a context that is saved after each execution."""
        body = {"language": "javascript", "durability": "execution"}
        while (answer := self.asker.ask("POST", "/contexts", json=body)) is None:
            time.sleep(self.pause_seconds)
        made: str = answer.json()["id"]
        return made

    def failed(self, answer: dict[str, Any]) -> bool:
        """Whether an execution failed, which is a fault's doing."""
        error = answer.get("error")
        if error is None:
            return False
        self.asker.note(str(error["name"]))
        self.numbers.lose()
        return True

    def saved(self, info: dict[str, Any]) -> bool:
        """Whether a run's heap was saved; what isn't may be lost."""
        if info["heap"] is not None:
            return True
        self.asker.note(f"a run without a heap: {info['heap_error'][:60]}")
        self.numbers.lose()
        return False

    def begin_anew(self, session: str) -> None:
        """Restart a session that was lost before anything of it was saved."""
        never = () if self.numbers.known else ("context_missing",)
        answer = self.asker.ask("GET", f"/contexts/{session}", missing=never)
        if answer is None or answer.status_code != _OK:
            return
        if answer.json()["state"] == "dead":
            if self.numbers.known:
                self.asker.problem(f"{session} is lost: {answer.text}")
            self.asker.ask("POST", f"/contexts/{session}/restart")

    def ended(self, path: str, key: str, faulty: str) -> dict[str, Any] | None:
        """Wait for the end of a run; None if it was lost with a server."""
        end = time.monotonic() + _LATE_SECONDS
        while time.monotonic() < end:
            answer = self.asker.ask("GET", f"{path}/{key}")
            if answer is not None and answer.status_code == _OK:
                info: dict[str, Any] = answer.json()
                if info["status"] in _ENDED:
                    if info["status"] == "completed":
                        return info
                    reason = _reason(info)
                    self.asker.note(f"{faulty} {info['status']}: {reason[:60]}")
                    if REASONS[DEFECT] in reason:
                        self.asker.problem(f"{path}/{key}: {reason}")
                    return None
            if self.asker.problems:
                return None
            time.sleep(self.pause_seconds)
        self.asker.problem(f"{path}/{key} doesn't end")
        return None


def _reason(info: dict[str, Any]) -> str:
    error = info.get("error")
    text = error if isinstance(error, str) else str((error or {}).get("message", ""))
    return text.partition("\n")[0]


class Cells(Workload):
    """Counts by /execute."""

    name = "cells"

    def step(self) -> bool:
        self.context = self.context or self.make_context()
        body = {
            "code": "globalThis.n = (globalThis.n ?? 0) + 1",
            "context_id": self.context,
        }
        answer = self.asker.ask("POST", "/execute", context=self.context, json=body)
        if answer is None:
            self.numbers.lose()
            return False
        if answer.status_code != _OK or self.failed(answer.json()):
            return False
        self.numbers.get(int(answer.json()["items"][-1]["text"]))
        return True


class Once(Workload):
    """Counts by executions with ids, each sent again until it is answered."""

    name = "once"

    def __init__(self, asker: Asker, number: int) -> None:
        super().__init__(asker, number)
        self._sent = 0
        self._open = False

    def step(self) -> bool:
        self.context = self.context or self.make_context()
        if not self._open:
            self._sent += 1
            self._open = True
        body = {
            "code": "globalThis.n = (globalThis.n ?? 0) + 1",
            "context_id": self.context,
            "execution_id": f"e-{self.number}-{self._sent}",
        }
        answer = self.asker.ask("POST", "/execute", context=self.context, json=body)
        if answer is None or answer.status_code != _OK:
            return False
        self._open = False
        if self.failed(answer.json()):
            return False
        self.numbers.get(int(answer.json()["items"][-1]["text"]))
        return True


class Streams(Workload):
    """Counts by /execute/async, of which it reads the events to their end."""

    name = "streams"

    def step(self) -> bool:
        self.context = self.context or self.make_context()
        body = {
            "code": "globalThis.n = (globalThis.n ?? 0) + 1; console.log(n)",
            "context_id": self.context,
        }
        answer = self.asker.ask(
            "POST", "/execute/async", context=self.context, json=body
        )
        if answer is None:
            self.numbers.lose()
            return False
        if answer.status_code != _OK:
            return False
        lines = answer.text.splitlines()
        events = [json.loads(line[5:]) for line in lines if line.startswith("data:")]
        last = events[-1] if events else {}
        if last.get("type") != 2 or last["code"] != 0:
            self.asker.note(f"stream ended by {json.dumps(last)[:100]}")
            self.numbers.lose()
            return False
        (number,) = (each["data"] for each in events if each["type"] == 0)
        self.numbers.get(int(number))
        return True


class Files(Workload):
    """Puts files, which an execution saves, and reads them."""

    name = "files"
    _NUMBER = 10
    """How many there are: a late request puts none that is looked at."""

    def __init__(self, asker: Asker, number: int) -> None:
        super().__init__(asker, number)
        self._put = 0
        self._saved: dict[str, int] = {}

    def step(self) -> bool:
        self.context = self.context or self.make_context()
        self._put += 1
        put = self._put
        path = f"/contexts/{self.context}/files/{put % self._NUMBER}"
        answer = self.asker.ask(
            "PUT", path, context=self.context, content=str(put).encode()
        )
        if answer is None or answer.status_code >= 300:
            return False
        body = {"code": "1", "context_id": self.context}
        answer = self.asker.ask("POST", "/execute", context=self.context, json=body)
        if answer is None or answer.status_code != _OK or self.failed(answer.json()):
            return False
        if self._read(path) == put:
            self._saved[path] = put
        if self._saved:
            self._read(self.asker.chance.choice(list(self._saved)))
        return True

    def _read(self, path: str) -> int:
        answer = self.asker.ask("GET", path, context=self.context)
        if answer is None:
            return 0
        found = int(answer.content) if answer.status_code == _OK else 0
        if not self._saved.get(path, 0) <= found <= self._put:
            self.asker.problem(
                f"{path}: {found} ({answer.status_code}), of {self._put} put, "
                f"{self._saved.get(path)} saved"
            )
        return found


class Sessions(Workload):
    """Counts by runs of /api/exec in a session."""

    name = "sessions"

    def step(self) -> bool:
        body = {
            "code": "globalThis.n = (globalThis.n ?? 0) + 1; n",
            "session": f"session-{self.number}",
        }
        answer = self.asker.ask("POST", "/api/exec", json=body)
        if answer is None:
            self.numbers.lose()
            return False
        if answer.status_code != 202:
            return False
        run = answer.json()["execution_id"]
        info = self.ended("/api/executions", run, "a run in a session")
        if info is None:
            self.numbers.lose()
            self.begin_anew(f"session-{self.number}")
            return False
        if not self.saved(info):
            return False
        self.numbers.get(int(info["result"]))
        return True


class Heaps(Workload):
    """Counts by runs of /api/exec, each from the heap that the last one has saved."""

    name = "heaps"

    def __init__(self, asker: Asker, number: int) -> None:
        super().__init__(asker, number)
        self._heap: str | None = None

    def step(self) -> bool:
        body = {"code": "globalThis.n = (globalThis.n ?? 0) + 1; n"}
        if self._heap is not None:
            body["heap"] = self._heap
        answer = self.asker.ask("POST", "/api/exec", json=body)
        if answer is None or answer.status_code != 202:
            return False
        run = answer.json()["execution_id"]
        info = self.ended("/api/executions", run, "a run from a heap")
        if info is None:
            return False
        if not self.saved(info):
            return False
        self.numbers.get(int(info["result"]))
        self._heap = info["heap"]
        return True


class Tasks(Workload):
    """Runs tasks, each of which is to be found and to end."""

    name = "tasks"

    def step(self) -> bool:
        body = {"code": f"return {self.steps} + 1"}
        answer = self.asker.ask("POST", "/tasks", json=body)
        if answer is None or answer.status_code not in {200, 202}:
            return False
        info = self.ended("/tasks", answer.json()["taskId"], "a task")
        if info is None:
            return False
        if info["result"] != self.steps + 1:
            self.asker.problem(f"a task's result: {info}")
        return True


class Agents(Workload):
    """Runs code by MCP, in a session; begins a connection anew when it is gone."""

    name = "agents"

    def __init__(self, asker: Asker, number: int) -> None:
        super().__init__(asker, number)
        self._connection = ""

    def _post(self, asked: Any) -> httpx.Response | None:
        headers = {"Accept": BOTH, "X-MCP-Session-Id": f"agent-{self.number}"}
        if self._connection:
            headers["Mcp-Session-Id"] = self._connection
        answer = self.asker.ask("POST", "/mcp", json=asked, headers=headers)
        if answer is not None and answer.status_code == _MISSING:
            self._connection = ""
            return None
        return answer if answer is not None and answer.status_code == _OK else None

    def step(self) -> bool:
        run = self._submitted()
        if not run:
            return False
        info = self.ended("/api/executions", run, "a run of an agent's")
        if info is None:
            self.numbers.lose()
            self.begin_anew(f"agent-{self.number}")
            return False
        if not self.saved(info):
            return False
        self.numbers.get(int(info["result"]))
        return True

    def _submitted(self) -> str:
        """Begin a run; its id."""
        if not self._connection:
            opened = self._post(INITIALIZE)
            if opened is None:
                return ""
            self._connection = opened.headers["mcp-session-id"]
        code = {"code": "globalThis.n = (globalThis.n ?? 0) + 1; n"}
        parameters = {"name": "run_js", "arguments": code}
        asked = {"jsonrpc": "2.0", "id": 2, "method": "tools/call"}
        answer = self._post({**asked, "params": parameters})
        if answer is None:
            self.numbers.lose()
            return ""
        lines = answer.text.splitlines()
        events = [line[5:] for line in lines if line.startswith("data:")]
        result = json.loads(events[-1]).get("result", {}) if events else {}
        if not result or result.get("isError"):
            self.asker.note(f"a tool call failed: {json.dumps(result)[:100]}")
            self.numbers.lose()
            return ""
        run: str = json.loads(result["content"][0]["text"])["execution_id"]
        return run


WORKLOADS: tuple[type[Workload], ...] = (
    *(Cells, Once, Streams, Files, Sessions, Heaps, Tasks, Agents),
)
