"""What ipykernel is started with, and runs for the server: code in Python."""

from __future__ import annotations

from typing import Final

__all__ = ["LEND", "PYTHON_OPTIONS", "TAKE_BACK", "VALUE_JSON"]

# jupyter_client can't send half of a surrogate pair, and loses all of a message that
# has one, such as everything that was printed together.
_PACK: Final = """
def pack(message, pack=session.pack):
    try:
        return pack(message)
    except UnicodeEncodeError:
        text = json.dumps(message, ensure_ascii=False, default=json_default)
        units = text.encode("utf-16", "surrogatepass")
        return units.decode("utf-16", "replace").encode()
session.pack = pack
"""
# ipykernel raises an error of its own where nobody can be asked, and names a front end.
_INPUT: Final = """
def ask(prompt="", ask=kernel.raw_input):
    if not kernel._allow_stdin:
        raise EOFError(f"input() {nobody}")
    return ask(prompt)
def ask_secretly(*asked, ask=kernel.getpass, **more):
    if not kernel._allow_stdin:
        raise EOFError(f"getpass() {nobody}")
    return ask(*asked, **more)
kernel.raw_input, kernel.getpass = ask, ask_secretly
"""
# ipykernel takes the cell for whose output it is from the context variables, which
# threads begin without (before Python 3.14), and else the latest cell.
_THREADS: Final = """
def start(thread, start=Thread.start):
    run, variables = thread.run, copy_context()
    thread.run = lambda: variables.run(run)
    return start(thread)
Thread.start = start
"""
_NAMES: Final = """{
    "Thread": __import__("threading").Thread,
    "copy_context": __import__("contextvars").copy_context,
    "kernel": get_ipython().kernel,
    "nobody": "has nobody to ask: no front has run this cell that takes questions",
    "session": get_ipython().kernel.session,
    "json": __import__("json"),
    "json_default": __import__("jupyter_client.jsonutil").jsonutil.json_default,
}"""
# Plain tracebacks as one text; what a terminal would colour stays uncoloured.
PYTHON_OPTIONS: Final = (
    "--InteractiveShell.xmode=Plain",
    "--InteractiveShell.colors=NoColor",
    "--HistoryManager.enabled=False",
    # Jedi takes seconds when first asked, in each new process; the names are there.
    "--IPCompleter.use_jedi=False",
    "--InlineBackend.figure_formats={'png','svg'}",
    f"--IPKernelApp.exec_lines={[f'exec({_PACK + _INPUT + _THREADS!r}, {_NAMES})']!r}",
)

# One expression each, so that no name is left behind; the values are JSON in a literal.
LEND: Final = """(lambda os, new: (
    setattr(os, "_isokernel_lent", {{name: os.environ.get(name) for name in new}}),
    os.environ.update(new),
))(__import__("os"), __import__("json").loads({literal}))"""
TAKE_BACK: Final = """(lambda os: [
    os.environ.pop(name, None)
    if value is None
    else os.environ.__setitem__(name, value)
    for name, value in os.__dict__.pop("_isokernel_lent", {}).items()
])(__import__("os"))"""

# What a cell ended with, as JSON; an error if it has no value, or one that JSON hasn't.
# The class makes IPython show the text as it is. The count is the next cell's by then.
_VALUE_SOURCE: Final = """
import json

class Json:
    def __init__(self, text): self.text = text
    def __repr__(self): return self.text

class Left:
    def __init__(self, each): self.id = id(each)

def shown(shell):
    value = shell.user_ns["Out"][shell.execution_count - 1]
    # What a message would have of it at most: a larger one would end the kernel.
    left, waiting, within = 60 << 20, [value], set()

    def enter(each):
        if id(each) in within:
            raise ValueError("it contains itself")
        within.add(id(each))
        waiting.append(Left(each))

    while waiting and left > 0:
        each = waiting.pop()
        if isinstance(each, str):
            left -= 6 * len(each) + 8
        elif isinstance(each, dict):
            left -= 8 * len(each)
            if left > 0:
                enter(each)
                waiting.extend(dict.keys(each))
                waiting.extend(dict.values(each))
        elif isinstance(each, (list, tuple)):
            left -= 4 * len(each)
            kind = list if isinstance(each, list) else tuple
            if type(each).__iter__ is not kind.__iter__:
                raise TypeError("it may have no end")
            if left > 0:
                enter(each)
                waiting.extend(each)
        elif type(each) is Left:
            within.remove(each.id)
        else:
            left -= 26
    if left <= 0:
        raise ValueError("it is too long")
    return Json(json.dumps(value, ensure_ascii=False, allow_nan=False))
"""
VALUE_JSON: Final = (
    f"(lambda names: (exec({_VALUE_SOURCE!r}, names), "
    "names['shown'](get_ipython()))[1])({})"
)
