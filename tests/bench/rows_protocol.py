"""Rows of the table: requests of the protocol other than execute."""

from __future__ import annotations

import queue
import time
from typing import TYPE_CHECKING, Any

from tests.bench.peers import PYTHON
from tests.bench.report import rounded

if TYPE_CHECKING:
    from tests.bench.session import Session, Sheet

FUNCTION = (
    "/**\n * Adds two numbers.\n * @param {number} a the first\n */\n"
    "function plus(a, b = 2) { return a + b; }"
)
PY_FUNCTION = 'def plus(a, b=2):\n    """Adds two numbers."""\n    return a + b'


def completion(sheet: Sheet, opened: Session) -> None:
    """What completes, and how long it takes."""
    peer = opened.peer
    python = peer is PYTHON
    opened.run(
        "import math\nclass F: alpha = 1; beta = 2\nfoo = F()"
        if python
        else "globalThis.foo = {alpha: 1, beta: 2}; const loc = {zed: 1};"
        " const arr = [{x: {deep: 1}}];"
    )
    text = "math." if python else "Math."
    first, _ = _complete(opened, text)
    then, matches = _complete(opened, text)
    sheet.put(
        "d complete `Math.`: first / then, ms; matches",
        peer,
        f"{rounded(first)} / {rounded(then)}; {len(matches)}",
        {"first_ms": first, "then_ms": then, "matches": len(matches)},
    )
    time_taken, matches = _complete(opened, "foo.")
    ours = [m for m in matches if m.endswith(("alpha", "beta"))]
    sheet.put(
        "d `foo.` (the user's variable), ms",
        peer,
        f"{rounded(time_taken)}: {len(ours)} of its own, first {matches[:2]}; "
        f"{len(matches)} in all"
        if matches
        else "none",
    )
    samples = {
        "d `'abc'.toU`": ("'abc'.upp" if python else "'abc'.toU", "oUpperCase"),
        "d `const loc = {zed: 1}`, `loc.`": ("foo." if python else "loc.", "zed"),
        "d `arr[0].x.`": ("" if python else "arr[0].x.", "deep"),
        "d keyword `func`": ("impo" if python else "func", "function"),
    }
    for row, (code, wanted) in samples.items():
        if python:
            continue
        _, matches = _complete(opened, code)
        hit = any(m.endswith(wanted) for m in matches)
        text = wanted.replace("oU", "toU") if hit else f"none of {len(matches)}"
        sheet.put(row, peer, text)


def _complete(opened: Session, code: str) -> tuple[float, list[str]]:
    start = time.perf_counter()
    reply = opened.ask("complete_request", {"code": code, "cursor_pos": len(code)})
    seconds = time.perf_counter() - start
    return seconds * 1e3, list((reply or {}).get("matches", []))


def inspection(sheet: Sheet, opened: Session) -> None:
    """What is known of a function of the user's."""
    peer = opened.peer
    opened.run(PY_FUNCTION if peer is PYTHON else FUNCTION)
    start = time.perf_counter()
    content = {"code": "plus", "cursor_pos": 4, "detail_level": 0}
    reply = opened.ask("inspect_request", content) or {}
    taken = (time.perf_counter() - start) * 1e3
    text = str(reply.get("data", {}).get("text/plain", ""))
    parts = []
    if "plus(a, b" in text:
        parts.append("signature")
    if "Adds two numbers" in text:
        parts.append("documentation")
    if "return a + b" in text:
        parts.append("source")
    said = f"{', '.join(parts) or 'found'}; {rounded(taken)} ms"
    sheet.put(
        "e inspect the user's function", peer, said if reply.get("found") else "no"
    )


def completeness(sheet: Sheet, opened: Session) -> None:
    """is_complete."""
    peer = opened.peer
    codes = ["function f(){", "1+1", "let = ;", "`abc"]
    if peer is PYTHON:
        codes = ["def f():", "1+1", "x = = 1", "'''abc"]
    found = [
        str((opened.ask("is_complete_request", {"code": code}) or {}).get("status"))
        for code in codes
    ]
    row = "f is_complete `function f(){`, `1+1`, `let = ;`, open template"
    sheet.put(row, peer, " / ".join(found))


def while_awaiting(sheet: Sheet, opened: Session) -> None:
    """Completion while a cell awaits two seconds."""
    opened.run("1")
    message_id = opened.client.execute(opened.peer.sleep)
    opened.wait_busy(message_id)
    taken, matches = _complete(opened, "math." if opened.peer is PYTHON else "Math.")
    text = f"{rounded(taken)} ms, {len(matches)} matches"
    if taken > 1000:
        text = f"blocked until the cell ends ({taken / 1e3:.1f} s)"
    sheet.put("j complete while a cell awaits", opened.peer, text, taken)
    opened.collect(message_id)


def rich(sheet: Sheet, opened: Session) -> None:
    """MIME bundles."""
    peer = opened.peer
    types = {
        "html": "text/html",
        "svg": "image/svg+xml",
        "png": "image/png",
        "json": "application/json",
        "markdown": "text/markdown",
        "custom": "application/x-own+json",
    }
    good: list[str] = []
    bad: list[str] = []
    for name, code in (peer.rich or {}).items():
        shown = opened.run(code).of("display_data", "execute_result")
        data = shown[0]["data"] if shown else {}
        fits = types[name] in data
        if name in {"json", "custom"}:
            fits = isinstance(data.get(types[name]), dict)
        (good if fits else bad).append(name)
    text = "all" if not bad else f"{', '.join(good)}; not {', '.join(bad)}"
    sheet.put("k html, svg, png, json, markdown, custom MIME", peer, text)
    if peer is not PYTHON:
        code = '({ [Symbol.for("Jupyter.display")]() { return {"text/html": "h"}; } })'
        shown = opened.run(code).of("execute_result")
        fits = bool(shown) and shown[0]["data"].get("text/html") == "h"
        sheet.put("k Symbol.for('Jupyter.display')", peer, "yes" if fits else "no")
    updated = opened.run(peer.update).of("update_display_data")
    cleared = opened.run(peer.clear).of("clear_output")
    whole = bool(cleared) and "wait" in cleared[0]
    row = "o update_display_data / clear_output"
    sheet.put(row, peer, f"{_yes(updated)} / {_yes(whole)}")


def _yes(value: object) -> str:
    return "yes" if value else "no"


def inputs(sheet: Sheet, opened: Session) -> None:
    """Questions to the user."""
    peer = opened.peer
    if peer is PYTHON:
        cells = {"input": "input('q')", "password": "import getpass; getpass.getpass()"}
    else:
        cells = {"prompt": "prompt('q')", "confirm": "confirm('q')"}
        cells["alert"] = "alert('q')"
        if peer.spec != "deno":
            cells["password"] = "Jupyter.getpass('q')"  # noqa: S105 -- code
    said = [f"{name} {_answered(opened, code)}" for name, code in cells.items()]
    sheet.put("l input", peer, "; ".join(said))


def _answered(opened: Session, code: str) -> str:
    opened.drain()
    message_id = opened.client.execute(code, allow_stdin=True)
    try:
        asked = opened.client.get_stdin_msg(timeout=3)
    except queue.Empty:
        opened.collect(message_id, 3)
        return "not asked"
    opened.client.input("y")
    run = opened.collect(message_id)
    hidden = " (hidden)" if asked["content"].get("password") else ""
    return f"yes{hidden}" if run.status == "ok" else f"fails{hidden}"


def history(sheet: Sheet, opened: Session) -> None:
    """history_request."""
    opened.run("'history-mark'")
    content = {"hist_access_type": "tail", "n": 5, "output": False, "raw": True}
    reply = opened.ask("history_request", content)
    rows = (reply or {}).get("history", [])
    found = any("history-mark" in str(row) for row in rows)
    text = "no reply" if reply is None else f"{len(rows)} cells" if found else "empty"
    sheet.put("m history", opened.peer, text)


def comms(sheet: Sheet, opened: Session) -> None:
    """Comms in both directions."""
    peer = opened.peer
    content = {"comm_id": "unknown1", "target_name": "no-such-target", "data": {}}
    message = opened.client.session.msg("comm_open", content)
    opened.drain()
    opened.client.shell_channel.send(message)
    closed = any(m["msg_type"] == "comm_close" for m in opened.later(0.5))
    info = opened.ask("comm_info_request", {"target_name": ""})
    sheet.put("m comm_open of an unknown target → comm_close", peer, _yes(closed))
    answer = "no reply" if info is None else "yes" if "comms" in info else "wrong"
    sheet.put("m comm_info", peer, answer)
    opened_one = opened.run(peer.comm).of("comm_open")
    sheet.put("m comm opened by a cell", peer, _yes(opened_one))


def others(sheet: Sheet, opened: Session) -> None:
    """Requests that few kernels answer."""
    peer = opened.peer
    debug = opened.control(
        "debug_request",
        {"seq": 1, "type": "request", "command": "debugInfo", "arguments": {}},
    )
    sheet.put("m debug_request", peer, _answer(debug))
    info = opened.ask("kernel_info_request") or {}
    flags = f"{info.get('debugger', False)}; {info.get('protocol_version')}"
    features = info.get("supported_features", [])
    sheet.put("m debugger flag; protocol", peer, flags)
    sheet.put("m subshells", peer, _yes("kernel subshells" in features))
    connect = opened.ask("connect_request", seconds=2)
    sheet.put("m connect_request", peer, _answer(connect))


def _answer(reply: Any) -> str:
    if reply is None:
        return "no reply"
    return "yes" if reply.get("status", "ok") == "ok" else f"status {reply['status']}"


def while_busy(sheet: Sheet, opened: Session) -> None:
    """Heartbeat and control channel while a loop runs. The kernel is spent then."""
    message_id = opened.client.execute(opened.peer.busy)
    opened.wait_busy(message_id)
    info = opened.control("kernel_info_request", seconds=2)
    beats = _heartbeat(opened)
    row = "m heartbeat / control while a loop runs"
    sheet.put(row, opened.peer, f"{_yes(beats)} / {_yes(info)}")


def _heartbeat(opened: Session) -> bool:
    import zmq  # noqa: PLC0415 -- the client has no such call

    info = opened.manager.get_connection_info()
    with zmq.Context() as context, context.socket(zmq.REQ) as heart:
        heart.linger = 0
        heart.connect(f"tcp://{info['ip']}:{info['hb_port']}")
        heart.send(b"ping")
        return bool(heart.poll(2000)) and heart.recv() == b"ping"
