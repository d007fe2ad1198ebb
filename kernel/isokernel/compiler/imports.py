"""Cells with import and export statements, which V8's REPL refuses.

Such a cell is split (see typescript/imports.js). Its import statements become a module
of their own, which is loaded first; its names are made constants of the REPL then, and
what is left of the cell runs as any other. `export` before a declaration goes, and
`export default` too: its value is the cell's, if it stands last.

TypeScript's imports of types vanish, also those that aren't marked: a name that the
cell doesn't use as a value is optional if it is used as a type, or not at all but
written as types are. It goes if the module doesn't export it.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from isokernel.compiler.cells import Compiled, has_return
from isokernel.typescript.transpiler import SyntaxProblem, Transpiled, transpiler

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "CellImports",
    "is_misplaced",
    "may_import",
    "refused_for_imports",
    "split_cell",
]

_KEYWORDS: Final = re.compile(r"\b(?:import|export)\b")
_REFUSALS: Final = (
    "Cannot use import statement outside a module",
    "Cannot use 'import.meta' outside a module",
    "Unexpected token 'export'",
)
_MISPLACED: Final = " statements must be at the top level"
"""As in `typescript/imports.js`."""
_STATEMENT: Final = re.compile(r"""\bimport\b[^;'"]*?\bfrom\s*(['"]).*?\1""")
_RETURNS_MAX: Final = 100
_AS_LONG: Final = {True: "void 0", False: "throw "}
"""Statements that SWC allows in the place of `return`, without and with a value."""


_STAND_INS: Final = re.compile(r"\bthrow\b|\bvoid 0")
_BASE64: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_FIRST_PLANE: Final = 0xFFFF
_MORE: Final = 32
"""Set in a digit of a source map's number that another one follows."""


class CellImports(NamedTuple):
    """What a cell imports.

    Attributes:
        text: The import statements, each in its place, and nothing else.
        statements: Their specifiers, attributes and names, with places; a name may be
            `optional`.
        meta: Whether the rest of the cell asks for `import.meta`.
    """

    text: str
    statements: list[dict[str, Any]]
    meta: bool


def refused_for_imports(message: str) -> bool:
    """Return whether V8 refused a cell for what belongs into modules only."""
    return message in _REFUSALS


def is_misplaced(problem: SyntaxProblem) -> bool:
    """Return whether a cell imports or exports within another statement."""
    return _MISPLACED in problem.message


def may_import(code: str) -> bool:
    """Return whether a text may have import or export statements."""
    return _KEYWORDS.search(code) is not None


def split_cell(
    code: str, source_map: str | None = None, *, written: str | None = None
) -> tuple[CellImports, Compiled] | SyntaxProblem:
    """Split a cell into what it imports and what runs then.

    Args:
        code: JavaScript or TypeScript.
        source_map: From the code to the user's, if it went through the compiler.
        written: What the user wrote, if that may be TypeScript and the code isn't.

    Raises:
        TranspilerError: The compiler itself failed.
    """
    answer = transpiler().split(code)
    if "error" in answer and _MISPLACED not in answer["error"]:
        made = _without_types(code)
        if isinstance(made, SyntaxProblem):
            return made
        written = code
        code, source_map = made.code, made.source_map
        answer = transpiler().split(code)
    if "error" in answer:
        column = answer["column"]
        return SyntaxProblem(answer["error"], answer["line"], column, column + 1)
    if written is not None:
        _mark_optional(answer, written)
    imports = CellImports(answer["imports"], answer["statements"], answer["meta"])
    return imports, Compiled(answer["body"], source_map)


def _without_types(code: str) -> Transpiled | SyntaxProblem:
    """Compile TypeScript that may both import and return, as a function's body does.

    The compiler knows no such thing, so it is shown other statements of that length.
    """
    places = []
    text = code
    for _ in range(_RETURNS_MAX):
        made = transpiler().transpile(text)
        if isinstance(made, Transpiled) or not has_return(made):
            break
        at = _return_near(text, _offset(code, made.line, made.column))
        if at is None:
            return made
        end = at + len("return")
        places.append(at)
        alone = re.match(r"[^\S\n]*(?:[;}\n]|$)", code[end:]) is not None
        text = text[:at] + _AS_LONG[alone] + text[end:]
    if isinstance(made, SyntaxProblem) or not places:
        return made
    if made.source_map is not None:
        return _with_returns(made, code, places)
    code = made.code
    for at in places:
        code = f"{code[:at]}return{code[at + len('return') :]}"
    return Transpiled(code, None)


def _return_near(text: str, at: int) -> int | None:
    """Return where the `return` is that SWC has refused at about a place.

    It counts columns otherwise where characters outside of the first plane are before.
    """
    start = text.rfind("\n", 0, at) + 1
    wide = sum(ord(one) > _FIRST_PLANE for one in text[start:at])
    near = re.finditer(r"\breturn\b", text[max(start, at - wide) :][: 2 * wide + 6])
    places = [max(start, at - wide) + found.start() for found in near]
    return min(places, key=lambda place: abs(place - at), default=None)


def _with_returns(
    made: Transpiled, code: str, places: list[int]
) -> Transpiled | SyntaxProblem:
    """Put `return` back into code that the compiler wrote anew, as enums have it do.

    Args:
        made: What it wrote, with other statements in their places.
        code: The user's code.
        places: Where that has `return`.
    """
    source_map = made.source_map
    assert source_map is not None  # noqa: S101 -- it was written anew
    wanted = {_place(code, at) for at in places}
    lines = made.code.split("\n")
    for number, line in enumerate(lines):
        moved = 0
        for found in _STAND_INS.finditer(line):
            column = len(line[: found.start()].encode("utf-16-le")) // 2
            place = transpiler().original(made.source_map or "", number + 1, column)
            if place not in wanted:
                continue
            wanted.remove(place)
            start = found.start() + moved
            written = lines[number]
            lines[number] = f"{written[:start]}return{written[start + len(found[0]) :]}"
            longer = len("return") - len(found[0])
            if longer:
                source_map = _shifted(source_map, number, column + moved, longer)
                moved += longer
    if wanted:
        # Somewhere the compiler has left a statement out.
        first = transpiler().transpile(code)
        assert isinstance(first, SyntaxProblem)  # noqa: S101 -- for its `return`
        return first
    return Transpiled("\n".join(lines), source_map)


def _shifted(source_map: str, line: int, column: int, by: int) -> str:
    """Return a source map in which what follows a place in its line is further right.

    Columns are relative to the segment before, so one number changes.
    """
    fields = json.loads(source_map)
    lines = fields["mappings"].split(";")
    segments = lines[line].split(",")
    reached = 0
    for index, segment in enumerate(segments):
        digits = next(
            count for count, one in enumerate(segment, 1) if _BASE64.index(one) < _MORE
        )
        value = _read_number(segment[:digits])
        reached += value
        if reached > column:
            segments[index] = _write_number(value + by) + segment[digits:]
            break
    lines[line] = ",".join(segments)
    fields["mappings"] = ";".join(lines)
    return json.dumps(fields)


def _read_number(text: str) -> int:
    """Read a number of a source map: base 32, the lowest first, then the sign."""
    value = 0
    for place, one in enumerate(text):
        value += (_BASE64.index(one) % _MORE) << 5 * place
    return -(value >> 1) if value & 1 else value >> 1


def _write_number(value: int) -> str:
    rest = (-value << 1) | 1 if value < 0 else value << 1
    text = ""
    while rest >= _MORE:
        text += _BASE64[rest % _MORE + _MORE]
        rest //= _MORE
    return text + _BASE64[rest]


def _place(code: str, at: int) -> tuple[int, int]:
    """Return line, from 1, and column in UTF-16 units of a place."""
    start = code.rfind("\n", 0, at) + 1
    column = len(code[start:at].encode("utf-16-le", "surrogatepass")) // 2
    return code.count("\n", 0, at) + 1, column


def _offset(code: str, line: int, column: int) -> int:
    """Return the place of a line, from 1, and a column in UTF-16 units."""
    start = 0
    for _ in range(line - 1):
        start = code.find("\n", start) + 1
    units = code[start:].encode("utf-16-le", "surrogatepass")[: 2 * column]
    return start + len(units.decode("utf-16-le", "surrogatepass"))


def _mark_optional(answer: Mapping[str, Any], written: str) -> None:
    used = set(answer["used"])
    elsewhere = set(re.findall(r"[\w$]+", _STATEMENT.sub("", written)))
    for statement in answer["statements"]:
        for name in statement["names"]:
            local = name["name"]
            if local not in used:
                name["optional"] = local in elsewhere or local[:1].isupper()
