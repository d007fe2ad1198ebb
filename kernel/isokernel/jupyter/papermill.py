"""Parameters for papermill, as JavaScript: `papermill -p x 1 in.ipynb out.ipynb`.

papermill knows no JavaScript and has no entry point for translators. It does load every
engine that an installed package names (`papermill.engine`) when it is imported, so this
module is named as one, and registers the translators of our kernels as it is loaded.
The engine itself is papermill's own, by another name.
"""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any, Final

from papermill.engines import NBClientEngine
from papermill.models import Parameter
from papermill.translators import Translator, papermill_translators

from isokernel.jupyter.install import KERNELS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nbformat import NotebookNode

__all__ = ["JavaScriptTranslator", "NBClientEngine"]

_SAFE_INTEGER_MAX: Final = 2**53 - 1
"""The largest integer up to which a JavaScript number holds each of them."""
_NAME: Final = re.compile(r"[\w$]+")
_PARAMETER: Final = re.compile(
    r"^(?:(?:const|let|var)\s+)?(?P<name>[\w$]+)\s*(?::\s*(?P<type>[^=;]+?))?\s*"
    r"=(?![=>])\s*(?P<default>(?:\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|`[^`]*`|"
    r"(?!//)[^\"'`;])*?)\s*;?\s*(?://\s*(?P<help>.*))?$",
    re.MULTILINE,
)
"""A line that gives a parameter its default: `let x: number = 1; // how many`."""


class JavaScriptTranslator(Translator):  # type: ignore[misc]  # papermill has no types
    """From papermill's parameters to a cell of JavaScript, which is TypeScript too."""

    @classmethod
    def translate(cls, val: Any) -> str:
        """Return a value as a literal."""
        if isinstance(val, bool) or val is None:
            return json.dumps(val)
        if isinstance(val, int):
            # A number would round it; a bigint is another type, but the right value.
            return f"{val}n" if abs(val) > _SAFE_INTEGER_MAX else f"{val}"
        if isinstance(val, float):
            return _number(val)
        if isinstance(val, dict):
            items = (f"{_key(str(name))}: {cls.translate(val[name])}" for name in val)
            return f"{{{', '.join(items)}}}"
        if isinstance(val, (list, tuple)):
            return f"[{', '.join(map(cls.translate, val))}]"
        # YAML knows dates, which JSON doesn't.
        text = val.isoformat() if hasattr(val, "isoformat") else str(val)
        return json.dumps(text, ensure_ascii=False)

    @classmethod
    def comment(cls, cmt_str: str) -> str:
        """Return a comment of one line or more."""
        return "\n".join(f"// {line}".rstrip() for line in cmt_str.split("\n"))

    @classmethod
    def assign(cls, name: str, str_val: str) -> str:
        """Return a declaration; `let` takes the place of any other of the name."""
        return f"let {name} = {str_val};"

    @classmethod
    def codify(cls, parameters: Mapping[str, Any], comment: str = "Parameters") -> str:
        """Return the cell.

        Raises:
            ValueError: A name is none in JavaScript.
        """
        for name in parameters:
            if _NAME.fullmatch(name) is None or name[0].isdigit():
                message = f"parameter {name!r} is no name in JavaScript"
                raise ValueError(message)
        return str(super().codify(parameters, comment))

    @classmethod
    def inspect(cls, parameters_cell: NotebookNode) -> list[Parameter]:
        """Return what the cell tagged `parameters` declares, a line each."""
        return [
            Parameter(
                found["name"],
                (found["type"] or "None").strip(),
                found["default"],
                (found["help"] or "").strip(),
            )
            for found in _PARAMETER.finditer(parameters_cell["source"])
        ]


def _number(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return repr(value)


def _key(name: str) -> str:
    # Without the brackets it would set the object's prototype.
    return '["__proto__"]' if name == "__proto__" else json.dumps(name)


for _kernel in KERNELS:
    papermill_translators.register(_kernel, JavaScriptTranslator)
