"""From a cell's text to the JavaScript that V8 runs, and from its places back.

TypeScript goes through SWC first (`f<T>(x)` is legal JavaScript with another meaning),
and what SWC refuses but V8 compiles as a sloppy script runs as it is. JavaScript goes
to V8 first, and to SWC only when V8 finds a syntax error. When both refuse, the error
of the language that was named is shown.

Code may also be the body of a function, whose `return` gives the value. Without a
`return` of its own it is a cell like any other. If its last statement is its only
`return`, it stays a cell too, so that later cells see its names: `return` becomes `0,`
and blanks, and no place moves. All else becomes the body of an async function, and its
names are the function's.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from isokernel.typescript.transpiler import (
    Lowered,
    SyntaxProblem,
    Transpiled,
    transpiler,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from isokernel.settings import Language
    from isokernel.v8.isolate import Isolate

__all__ = [
    "Compiled",
    "Move",
    "as_script",
    "compile_body",
    "compile_cell",
    "compile_function",
    "has_return",
    "may_be_object",
    "origin",
    "recompile",
]

_OBJECT: Final = re.compile(r"(?:\s|//[^\n]*\n|/\*(?:[^*]|\*(?!/))*\*/)*\{")
"""Text that begins with a brace, but for blanks and comments."""
# Every construct that TypeScript adds has one of these; all else is JavaScript and
# needn't wait for the compiler (40 ms at its first use). An overload without types
# slips through, and gets its second chance when V8 refuses it.
_MAY_HAVE_TYPES: Final = re.compile(
    r"[:<!?@]|\b(?:abstract|as|declare|enum|export|implements|import|interface|module|"
    r"namespace|override|private|protected|public|readonly|satisfies|type)\b"
)
_MAY_BE_LOWERED: Final = re.compile(r"@|\baccessor\b")
# An element's beginning, where an expression may begin.
_ELEMENT: Final = re.compile(
    r"(?:^|[=(,:?&|\[{};>]|\b(?:return|default))\s*<(?=[A-Za-z][\w.:-]*[\s/>]|>)",
    re.MULTILINE,
)
_ELEMENT_SPAN: Final = 200
"""Characters from its beginning within which compilers stumble."""
_STATEMENT_END: Final = re.compile(r";\s*$")


class Move(NamedTuple):
    """Where a part of the text begins that V8 ran, and where it stood before.

    Lines count from 1, columns from 0 and in UTF-16 units.

    Attributes:
        line: Where the part begins in what V8 ran.
        column: Likewise.
        from_line: Where it stood before; where it was put in, if it is new.
        from_column: Likewise.
        inserted: Whether it is new.
    """

    line: int
    column: int
    from_line: int
    from_column: int
    inserted: bool


def origin(moves: Sequence[Move], line: int, column: int) -> tuple[int, int]:
    """Return where a place in what V8 ran was before the moves."""
    for move in reversed(moves):
        if (move.line, move.column) <= (line, column):
            break
    else:
        return line, column
    if move.inserted:
        return move.from_line, move.from_column
    if line == move.line:
        column += move.from_column - move.column
    # A part's later lines have the columns that they had.
    return line + move.from_line - move.line, column


_PARENTHESIS: Final = (
    Move(1, 0, 1, 0, inserted=True),
    Move(1, 1, 1, 0, inserted=False),
)
_BODY_HEAD: Final = "await (async () => {"
_BODY_TAIL: Final = "\n})()"
_BODY_MOVES: Final = (
    Move(1, 0, 1, 0, inserted=True),
    Move(1, len(_BODY_HEAD), 1, 0, inserted=False),
)
_RESERVED: Final = "Unexpected reserved word"
_ILLEGAL: Final = ("Illegal return statement", "Return statement is not allowed here")


class Compiled(NamedTuple):
    """What V8 shall run for a cell.

    Attributes:
        code: JavaScript.
        source_map: Back to the user's text, if positions differ.
        moves: What was changed in it further, on top of the source map.
        helpers: A script to run first; its value is an object of functions that the
            code calls as globals.
        plain: Run it as a script, in which `await` is a name.
    """

    code: str
    source_map: str | None = None
    moves: tuple[Move, ...] = ()
    helpers: str | None = None
    plain: bool = False


def compile_cell(
    isolate: Isolate, code: str, language: Language
) -> Compiled | SyntaxProblem:
    """Turn a cell into JavaScript, before V8 has seen it.

    Raises:
        TranspilerError: The TypeScript compiler itself failed.
    """
    if language == "javascript" or not _MAY_HAVE_TYPES.search(code):
        return _as_expression(isolate, Compiled(code))
    compiled = _from_typescript(isolate, code)
    if isinstance(compiled, SyntaxProblem):
        if isolate.compile_error(code) is None:
            return Compiled(code)
        return _jsx(code, compiled) or compiled
    return compiled


def recompile(
    isolate: Isolate, code: str, *, body: bool = False
) -> Compiled | SyntaxProblem | None:
    """Compile JavaScript that V8 refused as TypeScript, which it may be.

    Args:
        isolate: Where it shall run.
        code: The cell.
        body: It may be a function's body, and return.

    Returns:
        A problem only if V8's own words for it are worse; None if nothing helps.

    Raises:
        TranspilerError: The TypeScript compiler itself failed.
    """
    if _MAY_BE_LOWERED.search(code):
        lowered = _lower(code, body=body)
        if lowered is not None:
            return lowered
    compiled = _from_typescript(isolate, code)
    return _jsx(code, compiled) if isinstance(compiled, SyntaxProblem) else compiled


def as_script(isolate: Isolate, compiled: Compiled, refused: str) -> Compiled | None:
    """Take a cell as a script, if its names are why V8 refuses it as a cell.

    `await` is a keyword where it can be used, and a name in every script.

    Args:
        isolate: Where it shall run.
        compiled: What V8 has refused.
        refused: V8's words.

    Returns:
        None if it is no script either.
    """
    if refused != _RESERVED or isolate.compile_error(compiled.code) is not None:
        return None
    return compiled._replace(plain=True)


def _jsx(code: str, problem: SyntaxProblem) -> SyntaxProblem | None:
    """Say that an element of JSX is none, if the compiler stumbled over one."""
    lines = code.split("\n")
    place = sum(len(line) + 1 for line in lines[: problem.line - 1]) + problem.column
    for found in _ELEMENT.finditer(code, max(0, place - _ELEMENT_SPAN), place + 1):
        start = found.end() - 1
        if "</" in code[start:] or "/>" in code[start:]:
            line = code.count("\n", 0, start) + 1
            column = start - code.rfind("\n", 0, start) - 1
            return SyntaxProblem("JSX isn't supported", line, column, column + 1)
    return None


def _lower(code: str, *, body: bool) -> Compiled | SyntaxProblem | None:
    """Compile a cell that has decorators or `accessor`; None if it has neither."""
    made = None
    if may_be_object(code):
        made = transpiler().lower(f"({code}\n)", head=1)
    if not isinstance(made, Lowered):
        wrap = (_BODY_HEAD, _BODY_TAIL) if body else ("", "")
        made = transpiler().lower(code, wrap=wrap) or made
    if not isinstance(made, Lowered):
        return made
    return Compiled(made.code, made.source_map, helpers=made.helpers)


def may_be_object(code: str) -> bool:
    """Return whether `{…}` may be meant as an object, as in every JavaScript console.

    A semicolon at the end says that it is a block.
    """
    return _OBJECT.match(code) is not None and _STATEMENT_END.search(code) is None


def _from_typescript(isolate: Isolate, code: str) -> Compiled | SyntaxProblem:
    """Compile TypeScript, as one expression if it may be an object and can be one."""
    refused = None
    if may_be_object(code):
        made = transpiler().transpile(f"({code}\n)", head=1)
        if isinstance(made, Transpiled):
            if made.source_map is not None:
                return Compiled(made.code, made.source_map)
            # Only types went, and for blanks: the parentheses are where they were.
            return _as_expression(isolate, Compiled(made.code[1:-2]))
        refused = made
    made = transpiler().transpile(code)
    if isinstance(made, Transpiled):
        return Compiled(made.code, made.source_map)
    if refused is None or refused.line > code.count("\n") + 1:  # at our parenthesis
        return made
    # What is wrong with it in the reading that went further.
    return max(made, refused, key=lambda problem: (problem.line, problem.column))


def _as_expression(isolate: Isolate, compiled: Compiled) -> Compiled:
    """Make `{a: 1}` an object if it can be one."""
    code = compiled.code
    if not may_be_object(code):
        return compiled
    if isolate.compile_error(f"async () => ({code}\n)") is not None:
        return compiled
    return Compiled(f"({code}\n)", compiled.source_map, _PARENTHESIS)


def has_return(problem: SyntaxProblem | str) -> bool:
    """Return whether V8 or SWC refused code for a `return` outside of functions."""
    message = problem.message if isinstance(problem, SyntaxProblem) else problem
    return message in _ILLEGAL


def compile_body(
    isolate: Isolate, code: str, language: Language
) -> Compiled | SyntaxProblem:
    """Turn a function's body into JavaScript, as a cell if it can be one.

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
    made = transpiler().transpile(
        f"{_BODY_HEAD}{code}{_BODY_TAIL}", head=len(_BODY_HEAD)
    )
    if isinstance(made, SyntaxProblem):
        # As with every cell, V8 may accept it: octal literals and the like.
        if isolate.compile_error(f"async () => {{{code}\n}}") is None:
            return _as_cell(code) or Compiled(
                f"{_BODY_HEAD}{code}{_BODY_TAIL}", None, _BODY_MOVES
            )
        return made
    if made.source_map is not None:
        return Compiled(made.code, made.source_map)
    body = made.code[len(_BODY_HEAD) : -len(_BODY_TAIL)]
    return _as_cell(body) or Compiled(made.code, None, _BODY_MOVES)


def _as_cell(code: str) -> Compiled | None:
    cell = transpiler().without_return(code)
    return None if cell is None else Compiled(cell)
