"""Ranges of versions, tags, and which version npm would take.

Ranges are read by node-semver, a port of npm's own; it takes 60 ms to import, so that
is done when a range must be read: exact versions need none.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any, Final

from isokernel.errors import ModuleSpecifierError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

__all__ = ["ANY", "is_exact", "newest", "pick", "satisfies"]

ANY: Final = frozenset({"", "*", "x", "X"})
"""Ranges that every release is in."""

_VERSION: Final = re.compile(
    r"(0|[1-9]\d{0,14})\.(0|[1-9]\d{0,14})\.(0|[1-9]\d{0,14})"
    r"(?:-([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?(?:\+[0-9A-Za-z.-]+)?",
    re.ASCII,
)
_ONE_MAJOR: Final = re.compile(r"[\^~=]?(\d+)(?:\.[^\s|]*)?")
"""Ranges whose versions all begin with the same number, as nearly all do."""
_RELEASE: Final = re.compile(r"(0|[1-9]\d{0,14})(?:\.(?:0|[1-9]\d{0,14})){2}", re.ASCII)
_CARET: Final = re.compile(
    r"\^(0|[1-9]\d{0,14})\.(0|[1-9]\d{0,14})\.(0|[1-9]\d{0,14})", re.ASCII
)
"""What most dependencies are: read here, the import of node-semver is saved."""
_TAG: Final = re.compile(r"[\w.~-]+", re.ASCII)
_OTHER_SOURCES: Final = re.compile(
    r"(?:git|file|link|workspace|portal|patch|https?|ssh|github|gitlab|gist)\b.*[:/]"
)


def is_exact(text: str) -> bool:
    """Tell whether a text is one version."""
    return _VERSION.fullmatch(text) is not None


def order(version: str) -> tuple[Any, ...]:
    """Return what versions sort by: a release is newer than what comes before it."""
    found = _VERSION.fullmatch(version)
    if found is None:
        return (-1, 0, 0, 0, ())
    parts = tuple(
        (0, int(part), "") if part.isdigit() else (1, 0, part)
        for part in (found[4] or "").split(".")
    )
    numbers = (int(found[1]), int(found[2]), int(found[3]))
    return (*numbers, not found[4], parts)


@functools.lru_cache(maxsize=1000)
def _test(wanted: str) -> Callable[[str], bool] | None:
    """Return the test of a range; None if it is no range."""
    import nodesemver  # noqa: PLC0415 - 60 ms

    try:
        found = nodesemver.make_range(wanted, loose=True)
    except (ValueError, TypeError, AttributeError):
        return None

    def test(version: str) -> bool:
        try:
            return bool(found.test(version))
        except (ValueError, TypeError):
            return False

    return test


def satisfies(version: str, wanted: str) -> bool:
    """Tell whether a version is in a range; never in what is no range."""
    if wanted in ANY:
        return is_exact(version) and "-" not in version.partition("+")[0]
    if is_exact(wanted):
        return version == wanted
    found = _CARET.fullmatch(wanted)
    if found is not None and _RELEASE.fullmatch(version):
        lowest = tuple(map(int, found.groups()))
        given = tuple(map(int, version.split(".")))
        # What may not change: all up to the first number that isn't 0.
        fixed = next((place for place in range(3) if lowest[place]), 2) + 1
        return given >= lowest and given[:fixed] == lowest[:fixed]
    test = _test(wanted)
    return test is not None and test(version)


def newest(versions: Iterable[str], wanted: str) -> str | None:
    """Return the newest of some versions that are in a range."""
    # Testing 3,000 versions takes 100 ms.
    if found := _ONE_MAJOR.fullmatch(wanted):
        major = f"{int(found[1])}."
        versions = [version for version in versions if version.startswith(major)]
    for version in sorted(versions, key=order, reverse=True):
        if satisfies(version, wanted):
            return version
    return None


def pick(
    name: str,
    wanted: str,
    versions: Collection[str],
    tags: Mapping[str, str],
    deprecated: Collection[str] = (),
) -> str | None:
    """Return the version that npm would install; None if there is none.

    That is the one with the tag `latest` if the range has it, else the newest that
    isn't deprecated, else the newest.

    Raises:
        ModuleSpecifierError: What is wanted is neither a range nor could it be a tag.
    """
    if wanted in versions:
        return wanted
    if wanted in tags:
        return tags[wanted] if tags[wanted] in versions else None
    latest = tags.get("latest", "")
    if wanted in ANY and latest in versions:
        return latest  # also when it is no release yet
    asked = f"{name}@{wanted}"
    if _OTHER_SOURCES.match(wanted):
        why = "packages come from registries only, not from folders, Git or archives"
        raise ModuleSpecifierError(asked, why)
    if wanted not in ANY and not is_exact(wanted) and _test(wanted) is None:
        if _TAG.fullmatch(wanted):
            return None  # a tag that the package doesn't have
        why = "what stands behind the @ is neither a version, a range nor a tag"
        raise ModuleSpecifierError(asked, why)
    if latest in versions and satisfies(latest, wanted):
        return latest
    return newest(set(versions) - set(deprecated), wanted) or newest(versions, wanted)
