"""From a cell's text to what V8 runs: TypeScript stripped, object literals recognised.

TypeScript goes through SWC first (`f<T>(x)` is legal JavaScript with another meaning),
and what SWC refuses but V8 compiles as a sloppy script runs as it is. JavaScript goes
to V8 first, and to SWC only when V8 finds a syntax error. When both refuse, the error
of the language that was named is shown.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from isokernel.compiler.moves import Move
from isokernel.typescript.transpiler import SyntaxProblem, Transpiled, transpiler

if TYPE_CHECKING:
    from isokernel.settings import Language
    from isokernel.v8.isolate import Isolate

Completeness = Literal["complete", "incomplete", "invalid", "unknown"]

_OBJECT: Final = re.compile(r"\s*\{")
# What every construct that TypeScript adds has one of; all else is JavaScript, and
# needn't wait for the compiler (40 ms at its first use). An overload without types
# slips through, and gets its second chance when V8 refuses it.
_MAY_HAVE_TYPES: Final = re.compile(
    r"[:<!?@]|\b(?:abstract|as|declare|enum|export|implements|import|interface|module|"
    r"namespace|override|private|protected|public|readonly|satisfies|type)\b"
)
_PARENTHESIS: Final = (
    Move(1, 0, 1, 0, inserted=True),
    Move(1, 1, 1, 0, inserted=False),
)
_STATEMENT_END: Final = re.compile(r";\s*$")
_ASYNC_HEAD: Final = "(async () => {"
_INDENT: Final = "  "
_OPENERS: Final = ("{", "[", "(", "=>", "`")


class Compiled(NamedTuple):
    """What V8 shall run.

    Attributes:
        code: JavaScript.
        source_map: Back to the user's text, if positions differ.
        moves: What we changed in it, after what the source map tells.
    """

    code: str
    source_map: str | None = None
    moves: tuple[Move, ...] = ()


def compile_cell(
    isolate: Isolate, code: str, language: Language
) -> Compiled | SyntaxProblem:
    """Turn a cell into JavaScript, before V8 has seen it.

    Raises:
        TranspilerError: The TypeScript compiler itself failed.
    """
    if language == "javascript" or not _MAY_HAVE_TYPES.search(code):
        return _as_expression(isolate, Compiled(code))
    made = transpiler().transpile(code)
    if isinstance(made, SyntaxProblem):
        if isolate.compile_error(code) is None:
            return Compiled(code)
        return made
    return _as_expression(isolate, Compiled(made.code, made.source_map))


def recompile(isolate: Isolate, code: str) -> Compiled | None:
    """A second chance for JavaScript that V8 refused: it may be TypeScript.

    Raises:
        TranspilerError: The TypeScript compiler itself failed.
    """
    made = transpiler().transpile(code)
    if isinstance(made, Transpiled):
        return _as_expression(isolate, Compiled(made.code, made.source_map))
    return None


def _as_expression(isolate: Isolate, compiled: Compiled) -> Compiled:
    """`{a: 1}` is an object when it can be one, as in every JavaScript console."""
    code = compiled.code
    if not _OBJECT.match(code) or _STATEMENT_END.search(code):
        return compiled
    if isolate.compile_error(f"async () => ({code}\n)") is not None:
        return compiled
    return Compiled(f"({code}\n)", compiled.source_map, _PARENTHESIS)


def completeness(
    isolate: Isolate, code: str, language: Language
) -> tuple[Completeness, str]:
    """Whether a console should run this text or ask for more; and the next indent.

    Raises:
        TranspilerError: The TypeScript compiler itself failed.
    """
    status = _javascript_completeness(isolate, code)
    if status == "invalid":
        made = transpiler().transpile(code)
        if isinstance(made, Transpiled):
            status = "complete"
        elif language == "typescript" and _is_cut(made, code):
            status = "incomplete"
    return status, _indent(code) if status == "incomplete" else ""


def _javascript_completeness(isolate: Isolate, code: str) -> Completeness:
    if _in_comment(code):
        return "incomplete"
    problem = isolate.compile_error(code)
    length = _utf16_length(code)
    if problem is None:
        return "complete"
    if problem.position >= length or _is_open_template(isolate, code):
        return "incomplete"
    # It may be top-level await, which a plain script doesn't know: look at it as the
    # body of an async function. What is wrong only behind the text is what is missing.
    problem = isolate.compile_error(f"{_ASYNC_HEAD}{code}\n}})")
    if problem is None:
        return "complete"
    if "await" in code and problem.position >= len(_ASYNC_HEAD) + length:
        return "incomplete"
    return "invalid"


def _is_open_template(isolate: Isolate, code: str) -> bool:
    """An unterminated template literal is one that a backtick repairs."""
    if "`" not in code:
        return False
    problem = isolate.compile_error(f"{code}\n`")
    return problem is None or problem.position > _utf16_length(code)


def _in_comment(code: str) -> bool:
    start = code.rfind("/*")
    return start >= 0 and "*/" not in code[start:] and "\n//" not in f"\n{code[:start]}"


def _is_cut(problem: SyntaxProblem, code: str) -> bool:
    if "got '<eof>'" in problem.message:
        return True
    lines = code.split("\n")
    at_end = problem.line == len(lines) and problem.column >= len(lines[-1].rstrip())
    return at_end or problem.message.startswith("Unterminated template")


def _indent(code: str) -> str:
    last = code.rstrip("\n").rsplit("\n", 1)[-1]
    current = last[: len(last) - len(last.lstrip())]
    return current + _INDENT if last.rstrip().endswith(_OPENERS) else current


def _utf16_length(text: str) -> int:
    return len(text) + sum(char > "\uffff" for char in text)
