"""What a setting is: its type, its default, what it means, and which values it takes.

A class of settings has an annotated attribute for each, which `setting` makes. Values
are converted from text, as flags and variables have it, and checked here. Only the
standard library is imported, so that whoever gets a flag wrong is told at once; tables
of the configuration file have readers of their own, which import what they need.
"""

from __future__ import annotations

import json
import math
import re
import sys
from functools import cached_property
from pathlib import Path
from types import NoneType, UnionType
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    ClassVar,
    Final,
    Literal,
    NamedTuple,
    Union,
    get_args,
    get_origin,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = [
    "SWITCH",
    "Limits",
    "NonNegativeFloat",
    "NonNegativeInt",
    "PositiveFloat",
    "PositiveInt",
    "Setting",
    "Settings",
    "setting",
]

SWITCH: Final = {
    **dict.fromkeys(("on", "true", "yes", "1", "t", "y"), True),
    **dict.fromkeys(("off", "false", "no", "0", "f", "n"), False),
}
"""What a switch is turned on and off by."""
_NONE: Final = frozenset({"none", "null"})


class Limits(NamedTuple):
    """Which values of its type a setting takes.

    Attributes:
        ge: The least number.
        gt: What a number must be above.
        le: The greatest number.
        items_min: How many items a list must have.
        empty: Whether a list may have empty items, which are left out then.
        pattern: A regular expression that text must match.
        words: How to say what it takes, where the limits don't say it well.
    """

    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    items_min: int = 0
    empty: bool = True
    pattern: str = ""
    words: str = ""


PositiveInt = Annotated[int, Limits(gt=0)]
NonNegativeInt = Annotated[int, Limits(ge=0)]
PositiveFloat = Annotated[float, Limits(gt=0)]
NonNegativeFloat = Annotated[float, Limits(ge=0)]


class _Kind(NamedTuple):
    """What an annotation says.

    Attributes:
        base: The type: bool, int, float, str, Path, Literal, or list, of text.
        choices: The values of a Literal.
        limits: Which values of the type are taken.
        optional: Whether None is.
    """

    base: Any
    choices: tuple[str, ...]
    limits: Limits
    optional: bool


class Setting:
    """One setting.

    Attributes:
        name: Its name.
        default: Its only default.
        description: What it means, for the help.
        shown: Whether its value may be shown; a secret may not.
        variable: Another program's variable, which counts if nothing of ours is set.
        is_table: Whether it is a list of tables of the configuration file.
    """

    name: str
    _owner: type

    def __init__(
        self,
        default: Any,
        description: str,
        *,
        shown: bool,
        variable: str,
        read: Callable[[list[Any]], Any] | None,
    ) -> None:
        self.default = default
        self.description = description
        self.shown = shown
        self.variable = variable
        self.is_table = read is not None
        self._read = read

    def __set_name__(self, owner: type, name: str) -> None:
        """Keep where the annotation is."""
        self.name, self._owner = name, owner

    @property
    def flag(self) -> str:
        """Its flag: `--port` of `port`."""
        return f"--{self.name.replace('_', '-')}"

    @cached_property
    def kind(self) -> _Kind:
        """What its annotation says, unless it is a list of tables."""
        text = self._owner.__annotations__[self.name]
        # Our own source, evaluated when it is needed: hardly any is for a wrong flag.
        annotation = eval(text, vars(sys.modules[self._owner.__module__]))  # noqa: S307
        union = get_origin(annotation) in {Union, UnionType}
        options = get_args(annotation) if union else (annotation,)
        [found] = (option for option in options if option is not NoneType)
        limits = Limits()
        if get_origin(found) is Annotated:
            found, limits = get_args(found)
        choices = get_args(found) if get_origin(found) is Literal else ()
        return _Kind(get_origin(found) or found, choices, limits, len(options) > 1)

    @property
    def is_switch(self) -> bool:
        """Whether it is either on or off."""
        return not self.is_table and self.kind.base is bool

    @property
    def is_list(self) -> bool:
        """Whether it has items: text or tables."""
        return self.is_table or self.kind.base is list

    @property
    def takes(self) -> str:
        """What it takes, in words."""
        kind = self.kind
        words = kind.limits.words or _WORDS[kind.base].format(", ".join(kind.choices))
        words += _bounds(kind.limits)
        return f"{words}, or none" if kind.optional else words

    def convert(self, value: Any) -> Any:
        """Return a value as the settings have it.

        Args:
            value: As it was given: text, or what TOML or a program has.

        Raises:
            InvalidSettingsError: A table is wrong.
            ValueError: The setting doesn't take it; the message says what it takes.
        """
        if self._read is not None:
            return self._read(_tables(value))
        kind = self.kind
        none = value is None or (isinstance(value, str) and value.lower() in _NONE)
        if none and kind.optional:
            return None
        try:
            return _CONVERT[kind.base](value, kind)
        except (TypeError, ValueError, OverflowError):
            message = f"must be {self.takes}"
            raise ValueError(message) from None  # the value may be a secret


def setting(
    default: Any,
    description: str,
    *,
    shown: bool = True,
    variable: str = "",
    read: Callable[[list[Any]], Any] | None = None,
) -> Any:
    """Make a setting, in a class of settings; its annotation says what it takes.

    Args:
        default: Its only default.
        description: What it means, for the help.
        shown: Whether its value may be shown; a secret may not.
        variable: Another program's variable, which counts if nothing of ours is set.
        read: Reads it, if it is a list of tables of the configuration file.
    """
    return Setting(default, description, shown=shown, variable=variable, read=read)


class Settings:
    """A class of settings; its objects don't change.

    Attributes:
        fields: The settings by their names, those of the classes below it too.
    """

    fields: ClassVar[dict[str, Setting]] = {}

    def __init_subclass__(cls, **arguments: Any) -> None:
        """Collect the settings."""
        super().__init_subclass__(**arguments)
        cls.fields = {
            name: found
            for kind in reversed(cls.__mro__)
            for name, found in vars(kind).items()
            if isinstance(found, Setting)
        }

    def __init__(self, **values: Any) -> None:
        """Take values as `Setting.convert` returns them; the others are defaults.

        Raises:
            InvalidSettingsError: They don't go together.
        """
        if unknown := values.keys() - self.fields:
            message = f"there are no settings {', '.join(sorted(unknown))}"
            raise TypeError(message)
        for name, found in self.fields.items():
            default = found.default
            vars(self)[name] = default[:] if isinstance(default, list) else default
        vars(self).update(values)
        self.check()

    def __setattr__(self, name: str, value: object) -> None:
        """Refuse to change."""
        message = f"settings don't change: {name}"
        raise AttributeError(message)

    def __repr__(self) -> str:
        """Show what differs from the defaults, without secrets."""
        shown = (
            f"{name}={value!r}"
            for name, value in vars(self).items()
            if self.fields[name].shown and value != self.fields[name].default
        )
        return f"{type(self).__name__}({', '.join(shown)})"

    def check(self) -> None:
        """Check what depends on several settings.

        Raises:
            InvalidSettingsError: They don't go together.
        """


_WORDS: Final = {
    bool: "on or off",
    int: "an integer",
    float: "a number",
    str: "text",
    Path: "a path",
    list: "a list of text",
    Literal: "one of {}",
}


def _bounds(limits: Limits) -> str:
    """Return limits in words, behind those for the type."""
    if limits.words:
        return ""
    if limits.items_min:
        return f" with {limits.items_min} or more items"
    if None not in (limits.ge, limits.le):
        return f" from {limits.ge} to {limits.le}"
    found = []
    if limits.gt is not None:
        found.append(f" above {limits.gt}")
    if limits.ge is not None:
        found.append(f" of at least {limits.ge}")
    if limits.le is not None:
        found.append(f" of at most {limits.le}")
    return " and".join(found)


def _switch(value: Any, _kind: _Kind) -> bool:
    if isinstance(value, str):
        value = SWITCH.get(value.lower())
    if value not in {True, False}:
        raise ValueError
    return bool(value)


def _integer(value: Any, kind: _Kind) -> int:
    number = int(value)
    if isinstance(value, bool) or (isinstance(value, float) and value != number):
        raise ValueError
    _check_bounds(number, kind.limits)
    return number


def _number(value: Any, kind: _Kind) -> float:
    number = float(value)
    if isinstance(value, bool) or math.isnan(number):
        raise ValueError
    _check_bounds(number, kind.limits)
    return number


def _check_bounds(number: float, limits: Limits) -> None:
    if not (
        (limits.ge is None or number >= limits.ge)
        and (limits.gt is None or number > limits.gt)
        and (limits.le is None or number <= limits.le)
    ):
        raise ValueError


def _text(value: Any, kind: _Kind) -> str:
    if not isinstance(value, str):
        raise TypeError
    if kind.limits.pattern and not re.fullmatch(kind.limits.pattern, value):
        raise ValueError
    return value


def _choice(value: Any, kind: _Kind) -> str:
    if value not in kind.choices:
        raise ValueError
    return str(value)


def _path(value: Any, _kind: _Kind) -> Path:
    return Path(value)


def _list(value: Any, kind: _Kind) -> list[str]:
    """Split at commas, as a variable or a single flag has them, and leave out empty."""
    parts = [value] if isinstance(value, str) else list(value)
    items = [item.strip() for part in parts for item in _text(part, kind).split(",")]
    if "" in items and not kind.limits.empty:
        raise ValueError
    found = [item for item in items if item]
    if len(found) < kind.limits.items_min:
        raise ValueError
    return found


_CONVERT: Final[dict[Any, Callable[[Any, _Kind], Any]]] = {
    bool: _switch,
    int: _integer,
    float: _number,
    str: _text,
    Path: _path,
    list: _list,
    Literal: _choice,
}


def _tables(value: Any) -> list[Any]:
    """Return tables, as they are in the file or as JSON."""

    def read() -> Iterator[Any]:
        for part in value if isinstance(value, list) else [value]:
            found = json.loads(part) if isinstance(part, str) else part
            yield from found if isinstance(found, list) else [found]

    try:
        return list(read())
    except ValueError:
        message = "must be JSON; tables in the file are easier to write"
        raise ValueError(message) from None
