"""Code as the body of a function: `return` gives the value.

Code without a `return` of its own is a cell like any other, whose last expression is
the value. One whose last statement is its only `return` stays a cell too, so that its
names are there for later cells: `return` becomes `0,` and blanks, and no place moves.
All else becomes the body of an async function, and its names are the function's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from isokernel.compiler.cells import Compiled, compile_cell
from isokernel.compiler.moves import Move
from isokernel.typescript.transpiler import SyntaxProblem, transpiler

if TYPE_CHECKING:
    from isokernel.settings import Language
    from isokernel.v8.isolate import Isolate

__all__ = ["compile_body", "compile_function", "has_return"]

_HEAD: Final = "await (async () => {"
_TAIL: Final = "\n})()"
_MOVES: Final = (
    Move(1, 0, 1, 0, inserted=True),
    Move(1, len(_HEAD), 1, 0, inserted=False),
)
_ILLEGAL: Final = ("Illegal return statement", "Return statement is not allowed here")


def has_return(problem: SyntaxProblem | str) -> bool:
    """Whether V8 or SWC refused code for a `return` outside of functions."""
    message = problem.message if isinstance(problem, SyntaxProblem) else problem
    return message in _ILLEGAL


def compile_body(
    isolate: Isolate, code: str, language: Language
) -> Compiled | SyntaxProblem:
    """Turn a function's body into JavaScript, as a cell as long as that may do.

    Raises:
        TranspilerError: The TypeScript compiler itself failed.
    """
    compiled = compile_cell(isolate, code, language)
    if isinstance(compiled, SyntaxProblem) and has_return(compiled):
        return compile_function(isolate, code)
    return compiled


def compile_function(isolate: Isolate, code: str) -> Compiled | SyntaxProblem:
    """Turn a function's body that returns into JavaScript.

    Raises:
        TranspilerError: The TypeScript compiler itself failed.
    """
    made = transpiler().transpile(f"{_HEAD}{code}{_TAIL}", head=len(_HEAD))
    if isinstance(made, SyntaxProblem):
        # As with every cell, V8 has a say: octal literals and the like.
        if isolate.compile_error(f"async () => {{{code}\n}}") is None:
            return _as_cell(code) or Compiled(f"{_HEAD}{code}{_TAIL}", None, _MOVES)
        return made
    if made.source_map is not None:
        return Compiled(made.code, made.source_map)
    body = made.code[len(_HEAD) : -len(_TAIL)]
    return _as_cell(body) or Compiled(made.code, None, _MOVES)


def _as_cell(code: str) -> Compiled | None:
    cell = transpiler().without_return(code)
    return None if cell is None else Compiled(cell)
