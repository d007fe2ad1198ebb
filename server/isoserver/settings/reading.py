"""Reads the server's settings: a flag, else a variable, else the TOML file."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from isoserver.errors import InvalidSettingsError
from isoserver.settings.server import CONFIG_VARIABLE, PREFIX, ServerSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["nearest", "read_settings"]


class _Given(NamedTuple):
    """A value of a setting, and what to call it in messages."""

    value: Any
    called: str


def read_settings(**flags: Any) -> ServerSettings:
    """Read the settings.

    Args:
        flags: What goes before the environment and the file, as text or as values.

    Raises:
        InvalidSettingsError: Some are unknown, wrong, or don't go together.
        OSError: The file can't be read.
    """
    given = dict(_from_others())
    given.update(_from_file(flags.get("config")))
    given.update(_from_environment())
    for name, value in flags.items():
        known = ServerSettings.fields.get(name)
        given[name] = _Given(value, name if known is None else known.flag)
    values: dict[str, Any] = {}
    problems: list[str] = []
    for name, (value, called) in given.items():
        found = ServerSettings.fields.get(name)
        if found is None:
            near = nearest(name, ServerSettings.fields)
            problems.append(f"{called}: there is no such setting{near}")
            continue
        try:
            values[name] = found.convert(value)
        except InvalidSettingsError as error:
            problems += [f"{called}.{problem}" for problem in error.problems]
        except ValueError as error:
            problems.append(f"{called}: {error}")
    if problems:
        raise InvalidSettingsError(*problems)
    return ServerSettings(**values)


def _from_others() -> Iterator[tuple[str, _Given]]:
    """Yield what variables set that aren't ours alone."""
    for name, found in ServerSettings.fields.items():
        if found.variable and (text := os.environ.get(found.variable)):
            yield name, _Given(text, found.variable)


def _from_file(named: Any) -> Iterator[tuple[str, _Given]]:
    place = named or os.environ.get(CONFIG_VARIABLE)
    if not place:
        return
    if not Path(place).is_file():
        message = f"there is no file {place}"
        raise FileNotFoundError(message)
    if sys.version_info >= (3, 11):
        import tomllib  # noqa: PLC0415 - if there is a file
    else:
        import tomli as tomllib  # noqa: PLC0415 - as above

    try:
        table = tomllib.loads(Path(place).read_text(encoding="utf-8"))
    except ValueError as error:
        message = f"{place}: {error}"
        raise InvalidSettingsError(message) from error
    for name, value in table.items():
        yield name, _Given(value, f"{place}: {name}")


def _from_environment() -> Iterator[tuple[str, _Given]]:
    """Yield what variables set; an empty one sets nothing, others' are left alone."""
    for variable, text in os.environ.items():
        name = variable.lower().removeprefix(PREFIX.lower())
        if text and len(name) < len(variable) and name in ServerSettings.fields:
            yield name, _Given(text, variable)


def nearest(name: str, known: Any) -> str:
    """Return a question whether a name was meant that is like another; else nothing."""
    from difflib import get_close_matches  # noqa: PLC0415 - for mistakes alone

    near = get_close_matches(name, known, 1)
    return f"; did you mean {near[0]}?" if near else ""
