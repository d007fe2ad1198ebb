"""The examples of README and docs, as tests run them from the text itself.

A fenced block is a step. What the tests do with it depends on its info string:

- `sh`, `console`: commands of a shell, with a server at hand for those that name port
  3000. In a `console` block the output follows each command; after an `sh` block it is
  the next block, `text` or `json`.
- `python`, `js`, `ts`: code. `mcp`: calls of tools, with their answers.
- `toml`: a configuration file. `json`: by itself, of a client of MCP.
- A second word `no-test:` and a reason: nothing.

What differs each time (ids, times, sizes) may differ; an id that an answer has shown is
the same in what follows. `…` stands for anything.
"""

from __future__ import annotations

import contextlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_BLOCK = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LAYOUT = re.compile(r"\s*([{}\[\],:])\s*|(?<=(\n)) +")
_IDS = (
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
    r"|\b[0-9a-f]{64}\b|\btask_[A-Za-z0-9_-]{22}|(?<=[\"/])[A-Za-z0-9_-]{21}(?=[\"/])"
    r"|(?<=[\"/])\d{16}(?=[\"/])"
)
_ID = re.compile(_IDS)
_SHORT = re.compile(r"\b([0-9a-f]{4,8})…")
_VARYING = re.compile(
    rf"(?P<id>{_IDS})|(?P<short>[0-9a-f]{{4,8}}…)|(?P<any>…)"
    r"|(?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z)"
    r"|(?P<field>\"(?:size|compressed_size|score|engine|cwd)\":)"
    r"(?:[\d.]+|\"[^\"]*\")"
)
_PATTERNS = {
    "short": r"[0-9a-f-]{36,64}",
    "any": r".*?",
    "time": r"\d{4}-\d\d-\d\dT[\d:.]+Z",
}


@dataclass
class Block:
    """One fenced block.

    Attributes:
        line: Where it begins.
        kind: The first word of its info string.
        rest: The other words.
        text: What is in it.
    """

    line: int
    kind: str
    rest: str
    text: str

    @property
    def untested(self) -> bool:
        """Whether the text says that it can't be run, and why."""
        return self.rest.startswith("no-test: ") and len(self.rest) > len("no-test: ")


def blocks(path: Path) -> list[Block]:
    """The blocks of a document, in order."""
    text = path.read_text(encoding="utf-8")
    found = []
    for match in _BLOCK.finditer(text):
        kind, _, rest = match[1].partition(" ")
        line = text.count("\n", 0, match.start()) + 1
        found.append(Block(line, kind, rest, match[2]))
    return found


def commands(text: str) -> list[tuple[str, str]]:
    """The commands of a console block, each with its output."""
    found = []
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        lines = part.splitlines()
        size = 1
        # A command goes on while a quote is open, or after a backslash.
        while "\n".join(lines[:size]).count("'") % 2 or lines[size - 1].endswith("\\"):
            size += 1
        found.append(("\n".join(lines[:size]), "\n".join(lines[size:]).strip()))
    return found


class Expectation:
    """What outputs must be, with what earlier ones have shown."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def translate(self, text: str) -> str:
        """A command with the ids of this run in place of those of the document."""
        text = _ID.sub(lambda found: self._known.get(found[0], found[0]), text)
        return _SHORT.sub(lambda found: self._whole(found[1]) or found[0], text)

    def _whole(self, beginning: str) -> str | None:
        """The id of this run for one of which the document has the beginning."""
        names = (name for name in self._known if name.startswith(beginning))
        return self._known.get(next(names, ""))

    def check(self, expected: str, actual: str) -> bool:
        """Whether an output is as in the document; if so, learn its ids."""
        wanted, seen = _plain(expected, actual)
        names: list[str] = []
        pattern, end = "", 0
        for found in _VARYING.finditer(wanted):
            pattern += re.escape(wanted[end : found.start()])
            pattern += self._pattern(found, names)
            end = found.end()
        pattern += re.escape(wanted[end:])
        match = re.fullmatch(pattern, seen, re.DOTALL)
        if match is not None:
            self._known |= dict(zip(names, match.groups(), strict=True))
        return match is not None

    def _pattern(self, found: re.Match[str], names: list[str]) -> str:
        kind = found.lastgroup or ""
        if kind == "field":
            return re.escape(found["field"]) + r"(?:[\d.]+|\"[^\"]*\")"
        if kind != "id":
            return _PATTERNS[kind]
        known = self._known.get(found["id"])
        if known is not None:
            return re.escape(known)
        if found["id"] in names:
            return rf"\{names.index(found['id']) + 1}"
        names.append(found["id"])
        return r"([A-Za-z0-9_-]+)"


def _plain(*texts: str) -> list[str]:
    """Texts without their layout; if all are JSON, in the order of its names."""
    with contextlib.suppress(ValueError):
        values = [json.loads(text) for text in texts]
        texts = tuple(
            json.dumps(value, sort_keys=True, ensure_ascii=False) for value in values
        )
    return [_LAYOUT.sub(r"\1", text.strip()) for text in texts]
