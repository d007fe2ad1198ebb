"""Whether a console should run a text or ask for more lines."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Literal

from isokernel.compiler.cells import may_be_object
from isokernel.compiler.imports import may_import
from isokernel.typescript.transpiler import SyntaxProblem, Transpiled, transpiler

if TYPE_CHECKING:
    from isokernel.settings import Language
    from isokernel.v8.isolate import Isolate, Thrown

__all__ = ["QUESTION", "Completeness", "completeness"]

Completeness = Literal["complete", "incomplete", "invalid", "unknown"]

# No JavaScript ends with a question mark.
QUESTION: Final = re.compile(r"\s*([\w$][\w$.\[\]'\"]*)(\?\??)\s*")
"""`Math.max?` and `Math.max??`, as in IPython, which the Jupyter kernel answers."""

_ASYNC_HEAD: Final = "(async () => {"
_OBJECT_HEAD: Final = "async () => ("
_INDENT: Final = "  "
_OPENERS: Final = ("{", "[", "(", "=>", "`")


def completeness(
    isolate: Isolate, code: str, language: Language
) -> tuple[Completeness, str]:
    """Return whether a console should run a text, and else the next line's indent.

    Raises:
        TranspilerError: The TypeScript compiler itself failed.
    """
    if QUESTION.fullmatch(code):
        return "complete", ""
    status = _javascript_completeness(isolate, code)
    if status == "invalid":
        texts = [f"({code}\n)"] if may_be_object(code) else []
        for text in [*texts, code]:
            made = transpiler().transpile(text)
            if isinstance(made, Transpiled):
                status = "complete"
                break
            if language == "typescript" and _is_cut(made, text.removesuffix("\n)")):
                status = "incomplete"
                break
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
    status = _status(problem, len(_ASYNC_HEAD) + length)
    if status == "complete" or (status == "incomplete" and "await" in code):
        return status
    if may_import(code):
        return _status(isolate.modules.refused(code), length)
    return _object_completeness(isolate, code) if may_be_object(code) else "invalid"


def _status(problem: Thrown | None, length: int) -> Completeness:
    """Return what V8's error says; what is wrong behind the text is missing."""
    if problem is None:
        return "complete"
    return "incomplete" if problem.position >= length else "invalid"


def _object_completeness(isolate: Isolate, code: str) -> Completeness:
    problem = isolate.compile_error(f"{_OBJECT_HEAD}{code}\n)")
    return _status(problem, len(_OBJECT_HEAD) + _utf16_length(code))


def _is_open_template(isolate: Isolate, code: str) -> bool:
    """Return whether a template literal is unterminated: a backtick repairs it."""
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
