"""Rows of `bench_start`: how soon servers are there, from spawning the process."""

from __future__ import annotations

import json
import resource
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from typing import TYPE_CHECKING

from tests.bench import report

if TYPE_CHECKING:
    from collections.abc import Callable

_COMMAND = [sys.executable, "-m", "isokernel"]
_INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "bench", "version": "1"},
    },
}
_LIST = {"jsonrpc": "2.0", "id": 2, "method": "tools/list", "params": {}}
_READY = {"jsonrpc": "2.0", "method": "notifications/initialized"}


def measure(rounds: int) -> dict[str, report.Summary]:
    """Milliseconds of each row, the rows in turn."""
    samples: dict[str, list[float]] = {}
    for _ in range(rounds):
        rows = (_serve, _mcp, _wrong_flag, _taken, _python, _python_uncontained)
        for row in rows:
            for name, seconds in row().items():
                samples.setdefault(name, []).append(seconds * 1e3)
    return {name: report.summary(found) for name, found in samples.items()}


def _serve() -> dict[str, float]:
    def use(process: subprocess.Popen[str], began: float) -> dict[str, float]:
        assert process.stdout is not None
        url = process.stdout.readline().split()[-1]
        listens = time.perf_counter() - began
        # Our own server said this URL.
        with urllib.request.urlopen(f"{url}/healthz") as answer:  # noqa: S310
            answer.read()
        return {
            "`serve` listens": listens,
            "`serve` answers a request": time.perf_counter() - began,
        }

    return _run(["serve", "--port", "0"], use)


def _mcp() -> dict[str, float]:
    def use(process: subprocess.Popen[str], began: float) -> dict[str, float]:
        assert process.stdin is not None
        assert process.stdout is not None
        lines = [json.dumps(message) for message in (_INITIALIZE, _READY, _LIST)]
        process.stdin.write("".join(f"{line}\n" for line in lines))
        process.stdin.flush()
        process.stdout.readline()
        initialized = time.perf_counter() - began
        process.stdout.readline()
        return {
            "`mcp` answers initialize": initialized,
            "`mcp` lists its tools": time.perf_counter() - began,
        }

    return _run(["mcp"], use)


def _wrong_flag() -> dict[str, float]:
    return {"a wrong flag is told, processor time": _used("--prot", "1")}


def _taken() -> dict[str, float]:
    """A port and a data folder that somebody else has."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        told = {"a taken port is told, processor time": _used("--port", port)}

    def use(process: subprocess.Popen[str], _began: float) -> dict[str, float]:
        assert process.stdout is not None
        process.stdout.readline()
        used = _used("--port", "0", "--data-dir", folder)
        return {"a taken folder is told, processor time": used}

    with tempfile.TemporaryDirectory() as folder:
        return told | _run(["serve", "--port", "0", "--data-dir", folder], use)


def _used(*flags: str) -> float:
    """Seconds of processor that a server takes which can't start."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [*_COMMAND, "serve", *flags]
    done = subprocess.run(command, check=False, capture_output=True)
    assert done.returncode, command
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _python() -> dict[str, float]:
    return {"a Python context's first cell": _first_cell()}


def _python_uncontained() -> dict[str, float]:
    return {"the same without a container": _first_cell("--no-sandbox")}


def _first_cell(*flags: str) -> float:
    """Seconds of a cell in a new context of a server that has had one before."""

    def use(process: subprocess.Popen[str], _began: float) -> dict[str, float]:
        assert process.stdout is not None
        url = process.stdout.readline().split()[-1]
        seconds = 0.0
        for _ in range(2):
            began = time.perf_counter()
            body = json.dumps({"code": "1", "language": "python"}).encode()
            headers = {"Content-Type": "application/json"}
            # Our own server said this URL.
            asked = urllib.request.Request(f"{url}/execute", body, headers)  # noqa: S310
            with urllib.request.urlopen(asked) as answer:  # noqa: S310
                assert json.load(answer)["error"] is None
            seconds = time.perf_counter() - began
        return {"": seconds}

    return _run(["serve", "--port", "0", *flags], use)[""]


def _run(
    arguments: list[str],
    use: Callable[[subprocess.Popen[str], float], dict[str, float]],
) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        with subprocess.Popen(
            [*_COMMAND, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=folder,
        ) as process:
            try:
                return use(process, began)
            finally:
                process.terminate()
