"""Languages: the names that requests use, and what runs them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from isoserver.errors import FieldProblem, InvalidRequestError, LanguageError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["ALIASES", "Engine", "Language", "Languages"]

Engine = Literal["v8", "kernel"]


_FENCED: Final = re.compile(
    r"\s*(?P<fence>```|~~~)[\w+.-]*[ \t]*\r?\n(?P<code>.*?)(?P=fence)\s*", re.DOTALL
)


def unfenced(code: str) -> str:
    """Return code without the Markdown fence that models like to put around it.

    Its lines keep their numbers. Neither language has code that begins with a fence.
    """
    found = _FENCED.fullmatch(code)
    if found is None or f"\n{found['fence']}" in found["code"]:
        return code
    return "\n" * code.count("\n", 0, found.start("code")) + found["code"]


class Language(NamedTuple):
    """A language that code can be in.

    Attributes:
        name: Our name for it.
        number: The API's number for it; 0 if the API has none.
        engine: What runs it: V8, or a Jupyter kernel.
        kernelspec: For kernels, the kernelspec's name.
    """

    name: str
    number: int
    engine: Engine
    kernelspec: str = ""

    def runs_in(self, other: Language) -> bool:
        """Whether a context of another language can run this one."""
        return self.engine == other.engine and self.kernelspec == other.kernelspec


PYTHON: Final = Language("python", 1, "kernel", "python3")
JAVASCRIPT: Final = Language("javascript", 2, "v8")
TYPESCRIPT: Final = Language("typescript", 2, "v8")

ALIASES: Final[dict[str, Language]] = {
    "python": PYTHON,
    "py": PYTHON,
    "python3": PYTHON,
    "typescript": TYPESCRIPT,
    "ts": TYPESCRIPT,
    "javascript": JAVASCRIPT,
    "js": JAVASCRIPT,
    "bun": TYPESCRIPT,
    "node": JAVASCRIPT,
}
"""The documented names."""


class Languages:
    """The languages that a server offers."""

    def __init__(self, names: Iterable[str], default: str) -> None:
        """Set which languages are served.

        Args:
            names: Names of languages, and of installed kernelspecs.
            default: What code is in if a request doesn't say.
        """
        self.served: dict[str, Language] = {}
        for name in names:
            language = ALIASES.get(name) or Language(name, 0, "kernel", name)
            self.served.setdefault(language.name, language)
        self.default = default

    @property
    def asks_for_kernelspecs(self) -> bool:
        """Whether any language is served by a kernelspec that may not be installed."""
        return bool(self._kernelspecs)

    @property
    def _kernelspecs(self) -> set[str]:
        """The kernelspecs that are needed, but for V8's and the one of ipykernel."""
        asked = {language.kernelspec for language in self.served.values()}
        return asked - {"", PYTHON.kernelspec}

    def check(self, installed: Iterable[str]) -> None:
        """Check that everything that is to be served is installed.

        Args:
            installed: Names of the installed kernelspecs.

        Raises:
            LanguageError: Something isn't, or the default language is not served.
        """
        missing = sorted(self._kernelspecs.difference(installed))
        if missing:
            known = ", ".join(sorted(set(ALIASES) | set(installed)))
            message = f"there is no language or kernel {missing[0]!r}; known: {known}"
            raise LanguageError(message)
        if self.default not in ALIASES and self.default not in self.served:
            message = f"the default language {self.default!r} is not served"
            raise LanguageError(message)

    def names(self, language: Language) -> list[str]:
        """Return every name that a language goes by."""
        aliases = [name for name, known in ALIASES.items() if known == language]
        return aliases or [language.name]

    def runs(self, engine: Engine) -> bool:
        """Tell whether any language is served that an engine runs."""
        return any(each.engine == engine for each in self.served.values())

    def preferred(self, engine: Engine) -> Language:
        """Return the default language if that engine runs it, else the first it runs.

        Raises:
            LanguageError: It runs none that is served.
        """
        served = [each for each in self.served.values() if each.engine == engine]
        if not served:
            message = f"no language is served that {engine} runs"
            raise LanguageError(message)
        return self.suggested if self.suggested in served else served[0]

    @property
    def suggested(self) -> Language:
        """What people are offered first: the default, or the first that is served.

        The default, Python unless set, may be one that isn't served: then requests
        have to name theirs.
        """
        known = ALIASES.get(self.default)
        default = self.served.get(known.name if known else self.default)
        return default or next(iter(self.served.values()))

    def find(self, name: str | None) -> Language:
        """Find a language by any of its names.

        Args:
            name: As the request has it; None for the default.

        Raises:
            InvalidRequestError: There is no such language here.
        """
        asked = self.default if name is None else name
        known = ALIASES.get(asked)
        language = self.served.get(known.name if known else asked)
        if language is None:
            offered = ", ".join(self.served)
            problem = f"{asked[:64]!r} is not served here; there are: {offered}"
            raise InvalidRequestError(FieldProblem("language", problem))
        return language
