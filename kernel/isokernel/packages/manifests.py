"""package.json, read as Node.js reads it.

`exports` and `imports` follow the algorithms in Node.js's documentation ("Determining
module system", "Resolution algorithm specification"), whose names are in the comments.
What a package says is anybody's text: each value is looked at before it is used.
"""

from __future__ import annotations

import json
import re
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from isokernel.errors import ModuleSpecifierError, PackageExportError
from isokernel.packages.versions import satisfies

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

__all__ = ["EMPTY", "Manifest", "match", "overridden", "target_path"]

_INVALID_SEGMENT: Final = re.compile(r"(?:^|[\\/])(?:\.\.?|node_modules)(?=[\\/]|$)")
_LOWEST: Final = re.compile(r"(\d+)(?:\.(\d+))?(?:\.(\d+))?", re.ASCII)
_DEPTH_MAX: Final = 50
"""Conditions within conditions."""

EMPTY: Final = "empty:"
"""Where a browser map says false: a module that exports nothing."""


class Manifest:
    """A package.json, or an empty one where it is unusable.

    Attributes:
        content: The parsed object.
    """

    def __init__(self, content: Any) -> None:
        """Take what was parsed."""
        self.content: dict[str, Any] = content if isinstance(content, dict) else {}

    @classmethod
    def parse(cls, text: str) -> Manifest:
        """Read the file; unusable text makes an empty manifest."""
        try:
            return cls(json.loads(text.removeprefix("\ufeff")))
        except (ValueError, RecursionError):
            return cls({})

    @cached_property
    def name(self) -> str:
        """The package's own name, or nothing."""
        return self.text("name")

    @cached_property
    def is_module(self) -> bool | None:
        """Whether `.js` files are ES modules; None if it doesn't say."""
        return {"module": True, "commonjs": False}.get(self.text("type"))

    @cached_property
    def dependencies(self) -> dict[str, str]:
        """Ranges by name: of dependencies, optional ones, and peers."""
        found: dict[str, str] = {}
        for kind in ("peerDependencies", "optionalDependencies", "dependencies"):
            found |= self._texts(kind)
        return found

    @cached_property
    def required(self) -> dict[str, str]:
        """Ranges of the dependencies that are neither optional nor peers."""
        return self._texts("dependencies")

    @cached_property
    def installed(self) -> dict[str, str]:
        """Ranges by name of all that npm would install in a project's own folder."""
        return self._texts("devDependencies") | self.dependencies

    @cached_property
    def peers(self) -> dict[str, str]:
        """Ranges of peer dependencies by name."""
        return self._texts("peerDependencies")

    @cached_property
    def optional(self) -> frozenset[str]:
        """Names of dependencies that need not be there."""
        found = set(self._texts("optionalDependencies"))
        details = self.content.get("peerDependenciesMeta")
        if isinstance(details, dict):
            found |= {
                name
                for name, detail in details.items()
                if isinstance(detail, dict) and detail.get("optional") is True
            }
        return frozenset(found)

    @cached_property
    def exports(self) -> dict[str, Any] | None:
        """`exports` by subpath; None if there are none, which exports everything."""
        given = self.content.get("exports")
        if given is None:
            return None
        if isinstance(given, dict) and any(str(key).startswith(".") for key in given):
            return given
        return {".": given}

    @cached_property
    def imports(self) -> dict[str, Any]:
        """`imports` by name, such as `#internal`."""
        given = self.content.get("imports")
        return given if isinstance(given, dict) else {}

    @cached_property
    def browser(self) -> dict[str, Any]:
        """The browser map: what is replaced by what, or by nothing (false)."""
        given = self.content.get("browser")
        return given if isinstance(given, dict) else {}

    def main_files(self, *, browser: bool) -> list[str]:
        """List the files that may be the main one, the best first."""
        names = ["main", "module"]
        if browser:
            names.insert(0, "browser")
        return [found for name in names if (found := self.text(name))] + ["index"]

    def text(self, key: str) -> str:
        """Return a value that is a text, or nothing."""
        value = self.content.get(key)
        return value if isinstance(value, str) else ""

    def _texts(self, key: str) -> dict[str, str]:
        given = self.content.get(key)
        if not isinstance(given, dict):
            return {}
        return {name: value for name, value in given.items() if isinstance(value, str)}


def overridden(
    project: Manifest, name: str, wanted: str, chain: Sequence[tuple[str, str]]
) -> str:
    """Return the range that a project has in place of a package's own (`overrides`).

    Args:
        project: The package.json of the project's folder.
        name: What a package depends on.
        wanted: Its range.
        chain: Names and versions of the packages that lead to it, the first one first.

    Raises:
        ModuleSpecifierError: It refers to a dependency that the project hasn't got.
    """
    found = _override(project.content.get("overrides"), name, wanted, chain, _DEPTH_MAX)
    if found is None:
        return wanted
    if not found.startswith("$"):
        return found
    own = project.installed.get(found[1:])
    if own is None:
        why = (
            f"overrides in package.json say {found!r} for {name}, which is none of its "
            "dependencies"
        )
        raise ModuleSpecifierError(name, why)
    return own


def _override(
    rules: Any, name: str, wanted: str, chain: Sequence[tuple[str, str]], depth: int
) -> str | None:
    """Find the rule for a dependency; one below a package comes before one for all."""
    if not isinstance(rules, dict) or not depth:
        return None
    found = deeper = None
    for key, value in rules.items():
        of, _, versions = key[1:].partition("@")
        of = key[:1] + of
        if of == name and _covers(versions, wanted):
            text = value.get(".") if isinstance(value, dict) else value
            found = text if isinstance(text, str) else found
        for index, (parent, version) in enumerate(chain):
            if parent == of and (not versions or satisfies(version, versions)):
                below = chain[index + 1 :]
                deeper = _override(value, name, wanted, below, depth - 1) or deeper
                break
    return deeper or found


def _covers(versions: str, wanted: str) -> bool:
    """Whether a rule for some versions is about a range: by its lowest version."""
    if not versions or versions == wanted:
        return True
    lowest = _LOWEST.search(wanted)
    if lowest is None:
        return False
    numbers = [lowest[1], lowest[2] or "0", lowest[3] or "0"]
    return satisfies(".".join(numbers), versions)


def match(
    table: Mapping[str, Any], key: str, conditions: Collection[str]
) -> str | None:
    """Look up a subpath in `exports`, or a name in `imports`.

    Returns:
        The target as it is written, the pattern filled in; None if there is none.

    Raises:
        PackageExportError: The target is none that Node.js takes.
    """
    # PACKAGE_IMPORTS_EXPORTS_RESOLVE
    if key in table and "*" not in key and not key.endswith("/"):
        return _target(table[key], conditions, None, _DEPTH_MAX)
    for pattern in sorted(table, key=_pattern_order):
        before, star, after = pattern.partition("*")
        if not star or "*" in after or key == before:
            continue
        # The length: what the star stands for isn't empty.
        long_enough = len(key) >= len(pattern)
        if key.startswith(before) and key.endswith(after) and long_enough:
            filled = key[len(before) : len(key) - len(after)]
            return _target(table[pattern], conditions, filled, _DEPTH_MAX)
    return None


def _pattern_order(pattern: str) -> tuple[int, int]:
    """Sort the most specific patterns first (PATTERN_KEY_COMPARE)."""
    before, star, _ = pattern.partition("*")
    return (-len(before) - len(star), -len(pattern))


def _target(
    target: Any, conditions: Collection[str], filled: str | None, depth: int
) -> str | None:
    # PACKAGE_TARGET_RESOLVE. None is both null and "no condition holds": either way
    # nothing is exported, but in a list the next one is tried.
    if not depth:
        message = f"conditions are nested more than {_DEPTH_MAX} deep"
        raise PackageExportError(message)
    if isinstance(target, str):
        return _filled(target, filled)
    found = None
    if isinstance(target, list):
        for each in target:
            found = _target(each, conditions, filled, depth - 1)
            if found is not None:
                break
    elif isinstance(target, dict):
        for condition, value in target.items():
            if condition == "default" or condition in conditions:
                found = _target(value, conditions, filled, depth - 1)
                if found is not None or value is None:
                    break
    return found


def _filled(target: str, filled: str | None) -> str:
    if filled is None:
        return target
    if _INVALID_SEGMENT.search(unquote(filled)):
        message = f"{filled!r} leaves the package's folder"
        raise PackageExportError(message)
    return target.replace("*", filled)


def target_path(target: str) -> str:
    """Return the path in the package that a target of `exports` means.

    Raises:
        PackageExportError: It leaves the package's folder.
    """
    path = unquote(target.removeprefix("./"))
    if not target.startswith("./") or _INVALID_SEGMENT.search(path):
        message = f"the target {target!r} isn't in the package's folder"
        raise PackageExportError(message)
    return path
