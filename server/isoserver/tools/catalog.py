"""The tools of one workspace at one moment: found by name, ranked by words."""

from __future__ import annotations

import math
from collections import defaultdict
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from isoserver.tools.names import key, nearest, words
from isoserver.tools.schemas import Checker

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from isoserver.tools.tool import Tool

__all__ = ["Catalog", "Hit"]

_STOP: Final = frozenset(
    [
        "a",
        "an",
        "the",
        "of",
        "to",
        "in",
        "on",
        "for",
        "and",
        "or",
        "with",
        "by",
        "from",
        "is",
        "are",
        "be",
        "this",
        "that",
        "it",
        "as",
        "at",
    ]
)
_PATH_WEIGHT: Final = 4.0
_TEXT_WEIGHT: Final = 1.0
_TEXT_WORDS_MAX: Final = 200
_TEXT_MAX: Final = 4000
_B: Final = 0.6
_K: Final = 1.5
_PREFIX_MIN: Final = 3
_PREFIX_SHARE: Final = 0.5
_WORDS_MAX: Final = 32
_CHECKERS_MAX: Final = 2048


class Hit(NamedTuple):
    """A tool that fits a query.

    Attributes:
        tool: The tool.
        score: How well; comparable within one query.
    """

    tool: Tool
    score: float


class Catalog:
    """All tools of a workspace.

    Ranking is BM25 over two fields in one: words of the path count four times. A word
    that is nowhere counts as a prefix, half. The best score possible for a query is
    not known, so scores mean nothing but an order.

    Attributes:
        tools: They, in the order of their paths.
        version: Another one whenever they are others.
    """

    def __init__(self, tools: Sequence[Tool], version: str) -> None:
        """Sort the tools; the index is made by the first search.

        Args:
            tools: The tools of all sources.
            version: Another one whenever the tools are others.
        """
        self.tools = sorted(tools, key=lambda tool: tool.path)
        self.version = version
        self._by_key = {tool.key: tool for tool in self.tools}
        self._checkers: dict[str, Checker] = {}
        self._index: dict[str, dict[int, float]] | None = None
        self._lengths: list[float] = []

    def find(self, path: str) -> Tool | None:
        """Find a tool by its name in any spelling."""
        return self._by_key.get(key(path))

    def nearest(self, path: str, visible: Callable[[Tool], bool]) -> list[str]:
        """Return the names that are most like an unknown one."""
        return nearest(path, (tool.path for tool in self.tools if visible(tool)))

    def checker(self, tool: Tool) -> Checker:
        """Return the checker of a tool's input, compiled when it is first needed."""
        found = self._checkers.get(tool.path)
        if found is None:
            if len(self._checkers) >= _CHECKERS_MAX:
                self._checkers.clear()
            found = self._checkers[tool.path] = Checker(tool)
        return found

    def search(self, query: str) -> list[Hit]:
        """Return the tools that have words of a query, best first."""
        if self._index is None:
            self._index = self._make_index()
        scores: dict[int, float] = defaultdict(float)
        for word in dict.fromkeys(_words(query)[:_WORDS_MAX]):
            for share, postings in self._postings(word):
                self._add(scores, share, postings)
        ranked = sorted(scores.items(), key=lambda item: (-item[1], item[0]))
        return [Hit(self.tools[place], round(score, 3)) for place, score in ranked]

    def _postings(self, word: str) -> list[tuple[float, dict[int, float]]]:
        index = self._index or {}
        if word in index:
            return [(1.0, index[word])]
        if len(word) < _PREFIX_MIN:
            return []
        return [
            (_PREFIX_SHARE, postings)
            for other, postings in index.items()
            if other.startswith(word)
        ]

    def _add(
        self, scores: dict[int, float], share: float, postings: dict[int, float]
    ) -> None:
        count = len(self.tools)
        rarity = math.log(1 + (count - len(postings) + 0.5) / (len(postings) + 0.5))
        mean = sum(self._lengths) / max(count, 1) or 1.0
        for place, weight in postings.items():
            norm = _K * (1 - _B + _B * self._lengths[place] / mean)
            scores[place] += share * rarity * weight * (_K + 1) / (weight + norm)

    def _make_index(self) -> dict[str, dict[int, float]]:
        index: dict[str, dict[int, float]] = defaultdict(dict)
        self._lengths = []
        for place, tool in enumerate(self.tools):
            weights: dict[str, float] = defaultdict(float)
            for word in _words(tool.path):
                weights[word] += _PATH_WEIGHT
            for word in _words(tool.description)[:_TEXT_WORDS_MAX]:
                weights[word] += _TEXT_WEIGHT
            self._lengths.append(sum(weights.values()))
            for word, weight in weights.items():
                index[word][place] = weight
        return dict(index)


def _words(text: str) -> list[str]:
    return [_stem(word) for word in words(text[:_TEXT_MAX]) if word not in _STOP]


@lru_cache(maxsize=8192)
def _stem(word: str) -> str:
    """Strip English endings: crudely, but alike in texts and queries."""
    for end, rest in (("ies", "y"), ("sses", "ss"), ("ing", ""), ("ed", ""), ("s", "")):
        if word.endswith(end) and len(word) - len(end) >= _PREFIX_MIN:
            if end == "s" and word.endswith(("ss", "us")):
                break
            word = word[: -len(end)] + rest
            break
    return word.removesuffix("e") if len(word) > _PREFIX_MIN else word
