"""A server whose contexts' processes can be told to leave their sandbox.

A program, of the tests; its arguments are those of `isokernel`. A cell that begins with
the mark isn't JavaScript's: what it names is tried by the context's own process, as by
code that had found a way past V8. All else is the server's own.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).parents[3]))

from tests.support.attempts import ATTEMPTS, Outside, denied_calls, refused_of

from isokernel.context import Context
from isokernel.forkserver import client, contexts

MARK: Final = "//attempts:"


class Nowhere:
    """In place of a socket that was left: contexts have their own two, and no other."""

    def connect(self, _address: object) -> None:
        """Fail, as there is none."""
        raise OSError

    bind = connect


def attempt(given: dict[str, Any]) -> dict[str, list[str]]:
    """Try everything."""
    outside = Outside(
        Path(given["folder"]),
        given["victim"],
        given["port"],
        Nowhere(),  # type: ignore[arg-type]
    )
    return {"refused": refused_of(ATTEMPTS, outside), "denied": denied_calls()}


def main(*numbers: int) -> None:
    """Be a fork server, whose contexts know the mark."""
    begin = Context.begin

    def begin_or_attempt(self: Context, code: str, **options: Any) -> None:
        if code.startswith(MARK):
            tried = attempt(json.loads(code.removeprefix(MARK)))
            code = f"console.log({json.dumps(json.dumps(tried))})"
        begin(self, code, **options)

    Context.begin = begin_or_attempt  # type: ignore[method-assign]
    contexts.main(*numbers)


if __name__ == "__main__":
    client._START = (  # type: ignore[misc]
        "import sys, json; sys.path[:] = json.loads(sys.argv[1]); "
        "from tests.support.programs.taken import main; "
        "main(*map(int, sys.argv[2:]))"
    )
    from isoserver.cli.main import main as serve

    sys.argv[0] = "isokernel"
    serve()
