"""What modules import and export, found by lexers in V8; nothing of them is run.

V8 belongs to a thread, so this is used in the packer's process only.
"""

from __future__ import annotations

import json
import os
from typing import Any, Final

from isokernel.packages.packs import Analysis
from isokernel.runtime import scripts
from isokernel.v8.callbacks import Operation
from isokernel.v8.isolate import Isolate

__all__ = ["Lexer"]

_FOLDER: Final = os.path.dirname(__file__)  # noqa: PTH120 -- as in scripts


class Lexer:
    """es-module-lexer and cjs-module-lexer in an isolate. Belongs to one thread."""

    def __init__(self) -> None:
        """Load both, so that a process can be confined afterwards."""
        self._isolate = isolate = Isolate(
            {"load": Operation(lambda name: scripts.load(isolate, name))}
        )
        require = scripts.boot(isolate)
        module = isolate.run_script(
            "(load) => { const module = { exports: {} };"
            " load(module.exports, () => undefined, module); return module.exports; }",
            "isokernel:module",
        )
        del require
        lexers = isolate.call(
            module, scripts.load(isolate, "vendor/lexers", "packages")
        )
        with open(f"{_FOLDER}/lexers.js", encoding="utf-8") as file:  # noqa: PTH123
            make = isolate.run_script(file.read(), "isokernel:lexers")
        self._analyse = isolate.call(
            make,
            isolate.get(lexers, "parseModule"),
            isolate.get(lexers, "parseCommonJS"),
        )

    def analyse(self, text: str, known: str = "") -> Analysis:
        """Find what a JavaScript file imports and exports.

        Args:
            text: The file.
            known: Its format, if its name or package.json says; else it is found as
                Node.js does: a module if it has a module's syntax.
        """
        found: dict[str, Any] = json.loads(
            self._isolate.call(self._analyse, text, known)
        )
        return Analysis(
            found["format"],
            [(name, attributes) for name, attributes in found.get("imports", ())],
            found.get("requires", []),
            found.get("exports", []),
            found.get("reexports", []),
            found.get("error", ""),
        )

    def close(self) -> None:
        """Free the isolate."""
        self._isolate.close()
