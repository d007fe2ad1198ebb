"""Rows of the table: what a cell may say, and what comes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.bench.peers import PYTHON

if TYPE_CHECKING:
    from tests.bench.session import Session, Sheet

ANSI = "\x1b"


def language(sheet: Sheet, opened: Session) -> None:
    """What JavaScript and TypeScript kernels do with usual cells."""
    peer = opened.peer
    if peer is PYTHON:
        return
    for code in ("let a = 1; const b = 2; class C {}", "1"):
        opened.run(code)
    again = opened.run("let a = 3; const b = 4; class C { x = 1 }; [a, b, new C().x]")
    sheet.put("j let/const/class again", peer, _ok(again.status, again.shown()))
    awaited = opened.run("await new Promise((d) => setTimeout(d, 5, 'waited'))")
    sheet.put("j top-level await", peer, _ok(awaited.status, awaited.shown()))
    typed = opened.run("const n: number = 41; enum E { A = 1 }; n + E.A")
    sheet.put("j TypeScript", peer, _ok(typed.status, typed.shown()))
    stray = opened.run("strayName = 5; strayName + 1")
    sheet.put("j stray `x = 5`", peer, _outcome(stray))
    written = opened.run("process.stdout.write('written')")
    text = "yes" if written.text() == "written" else "no"
    sheet.put("j process.stdout.write captured", peer, text)
    _late(sheet, opened)
    _values(sheet, opened)


def _late(sheet: Sheet, opened: Session) -> None:
    peer = opened.peer
    cells = {
        "j late timer output": "setTimeout(() => console.log('late-mark'), 50); 0",
        "j late throw": "setTimeout(() => { throw new Error('late-mark'); }, 50); 0",
        "j unhandled rejection": "Promise.reject(new Error('late-mark')); 0",
    }
    for row, code in cells.items():
        run = opened.run(code)
        messages = run.messages + opened.later(0.6)
        found = [m for m in messages if "late-mark" in _all_text(m)]
        text = "not shown" if not found else _where(found[0])
        alive = opened.run("1", seconds=5).status == "ok"
        sheet.put(row, peer, text + ("" if alive else "; kernel dead"))


def _where(message: dict[str, Any]) -> str:
    name = message["content"].get("name", "")
    return f"shown, {message['msg_type']} {name}".strip()


def _all_text(message: dict[str, Any]) -> str:
    content = message["content"]
    if message["msg_type"] == "execute_input":
        return ""
    return str(content.get("text", "")) + str(content.get("evalue", ""))


def _values(sheet: Sheet, opened: Session) -> None:
    peer = opened.peer
    value = opened.run("({ a: [1, 'x'] })").shown()
    ansi = "with ANSI codes" if ANSI in value else "plain text"
    null = opened.run("null").shown() or "nothing"
    undefined = opened.run("undefined").shown() or "nothing"
    semicolon = opened.run("1;").shown() or "nothing"
    sheet.put(
        "j last value",
        peer,
        f"{ansi}; null → {_plain(null)}, undefined → {_plain(undefined)}, "
        f"`1;` → {_plain(semicolon)}",
    )


def requests(sheet: Sheet, opened: Session) -> None:
    """The options of execute_request."""
    peer = opened.peer
    run = opened.run("1", user_expressions={"e": "40 + 2"})
    found = run.reply.get("user_expressions", {}).get("e", {})
    plain = _plain(str(found.get("data", {}).get("text/plain", "")))
    sheet.put("j user_expressions", peer, plain or "empty")
    count = opened.run("1").reply.get("execution_count")
    silent = opened.run("1 + 1", silent=True)
    after = opened.run("1").reply.get("execution_count")
    shows = bool(silent.of("execute_result", "execute_input"))
    counts = after != (count or 0) + 1
    text = " and ".join(["shows the result"] * shows + ["is counted"] * counts)
    sheet.put("j silent", peer, f"no: {text}" if text else "yes")
    ids = [opened.client.execute(code) for code in (peer.error, "1", "2")]
    states = [opened.collect(one, 5).status or "no reply" for one in ids]
    later = opened.run("1").status
    sheet.put(
        "j stop_on_error: two queued cells; one later", peer, _queue(states, later)
    )


def _queue(states: list[str], later: str) -> str:
    return f"{states[1]}, {states[2]}; {later}"


def errors(sheet: Sheet, opened: Session) -> None:
    """How errors look."""
    peer = opened.peer
    if peer is PYTHON:
        return
    bad = (
        "function bad() {\n  const x = 1;\n"
        "  throw new TypeError('bad thing');\n}\nbad()"
    )
    traceback = _traceback(opened.run(bad))
    line = next((w for w in traceback.split("\n") if "bad (" in w or "at bad" in w), "")
    sheet.put("n frame of a throw in line 3", peer, f"`{line.strip()}`", traceback)
    shown = "const x" in traceback or "throw new TypeError" in traceback
    sheet.put("n source line shown", peer, "yes" if shown else "no")
    typed = (
        "enum Level { Low, High }\nclass Box {\n  constructor(private n: number) {}\n"
        "  get(): number {\n    throw new Error('in line five');\n  }\n}\n"
        "new Box(1).get()"
    )
    traceback = _traceback(opened.run(typed))
    line = next((w for w in traceback.split("\n") if " at " in w), "no frame")
    sheet.put("n TypeScript throw in line 5", peer, f"`{line.strip()}`", traceback)
    syntax = opened.run("let ok = 1;\nlet = ;")
    sent = syntax.of("error")
    text = f"{sent[0]['ename']}: {sent[0]['evalue']}" if sent else "no error message"
    where = "line 2" if ":2" in _traceback(syntax) else "no line"
    sheet.put("n syntax error", peer, f"{_first_line(text)}; {where}")
    caused = opened.run("throw new Error('outer', {cause: new Error('inner-mark')})")
    both = "shown" if "inner-mark" in _traceback(caused) else "dropped"
    sheet.put("n error.cause", peer, both)
    for code in ("throw 'str'", "throw {code: 5}"):
        sent = opened.run(code).of("error")
        text = f"`{sent[0]['ename']}: {sent[0]['evalue']}`" if sent else "no message"
        sheet.put(f"n {code}", peer, _first_line(_plain(text)))
    opened.run("1")


def _traceback(run: Any) -> str:
    sent = run.of("error")
    return "" if not sent else _plain("\n".join(sent[0]["traceback"]))


def _plain(text: str) -> str:
    """Text without colour codes."""
    parts = text.split("\x1b[")
    return parts[0] + "".join(p.partition("m")[2] for p in parts[1:])


def _first_line(text: str) -> str:
    return text.split("\n", maxsplit=1)[0][:100]


def _ok(status: str, shown: str) -> str:
    return f"yes: `{_plain(shown)}`" if status == "ok" else f"no ({status})"


def _outcome(run: Any) -> str:
    if run.status == "ok":
        return "works"
    sent = run.of("error")
    return str(sent[0]["ename"]) if sent else run.status
