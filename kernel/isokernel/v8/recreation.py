"""Objects of Intl and Temporal in saved heaps.

Each is a shell around an object of ICU's or of a library in Rust, which V8 can't write.
What is inside is read as plain data and taken out before a heap is written; after it
was read, the same shell gets the insides of a new object that was made of that data. So
identity, prototype and properties stay. None of the user's code runs: V8's own
functions are called, and all options are plain.
"""

from __future__ import annotations

import ctypes
import functools
import json
from itertools import chain, combinations
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from isokernel.errors import SnapshotFormatError
from isokernel.v8 import symbols
from isokernel.v8.objects import (
    TAG,
    TAGGED,
    address_of,
    cage_of,
    offsets_of,
    point,
)
from isokernel.v8.scopes import HandleScope, TryCatch
from isokernel.v8.values import UNDEFINED, Value, new_string, to_local, to_python

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from isokernel.v8.isolate import Isolate

__all__ = ["Recipe", "Recipes", "empty", "recreate"]

Plain: TypeAlias = "dict[str, Any] | str"

_NOTHING: Final = 0  # the small integer zero
_OWN_ONLY, _ALL, _SKIP_INDICES, _NO_NUMBERS = 0, 0, 1, 2  # see `natives`
_METHOD: Final = b"Intl"  # what errors would call the caller

_DATE_FORMAT: Final = "Intl.DateTimeFormat"
_NUMBER_FORMAT: Final = "Intl.NumberFormat"
_LOCALE: Final = "Intl.Locale"
_DURATION: Final = "Temporal.Duration"
_UNITS: Final = (
    *("years", "months", "weeks", "days", "hours", "minutes"),
    *("seconds", "milliseconds", "microseconds", "nanoseconds"),
)
_DERIVED: Final = frozenset({"hour12", "pluralCategories"})
"""Resolved options that follow from others."""
_WIDTHS: Final = ("numeric", "2-digit", "")
_VARIANTS: Final = {
    **dict.fromkeys(("minute", "second", "hour", "day", "year"), _WIDTHS),
    "month": (*_WIDTHS, "short", "long", "narrow"),
    "dayPeriod": ("",),
    "weekday": ("",),
}
"""What a DateTimeFormat's options may have been instead; nothing for none."""
_TIMES: Final = tuple(
    # Milliseconds in which all fields of a date differ, for a comparison of patterns.
    float(time)
    for time in (0, 981173106007, 1136214245090, 1331247599999, -62e12, 1733961600000)
)

_NUMBERS: Final = (
    3.0,
    1234.5678,
    1.2345678901234567e-4,
    -98765.432109876,
    1.2345678901234567e19,
)


class Recipe(NamedTuple):
    """What an object is made again of.

    Attributes:
        kind: Its kind, as in `symbols.UNSAVABLE`.
        value: The object.
        data: Plain data, which can be written as JSON.
    """

    kind: str
    value: Value
    data: Plain

    @property
    def key(self) -> str:
        """The same for objects that are made alike."""
        return f"{self.kind} {json.dumps(self.data)}"


class Recipes:
    """Finds out what objects can be made again of. The isolate must be entered."""

    def __init__(self, isolate: Isolate) -> None:
        """Know nothing yet."""
        self._isolate = isolate
        # How what was made of a kind and its data behaves: most objects of a kind are
        # like others.
        self._known: dict[str, Any] = {}

    def of(self, kind: str, value: Value) -> Recipe | None:
        """Return what an object can be made again of; None if it can't.

        An object is made of it and compared.
        """
        isolate = self._isolate
        maker = _maker(isolate, kind)
        if maker is None:
            return None
        with (
            HandleScope(isolate.scope_slots),
            TryCatch(isolate.library, isolate.pointer),
        ):
            wanted = maker.behavior(value.slot)
            for data in maker.candidates(wanted):
                found = Recipe(kind, value, data)
                key = found.key
                if key not in self._known:
                    made = maker.make(value.slot, data)
                    self._known[key] = maker.behavior(made) if made else None
                if self._known[key] == wanted:
                    return found
        return None


def empty(isolate: Isolate, recipes: Iterable[Recipe]) -> None:
    """Take out of objects what V8 can't write. They must not be used any more.

    Nothing can be written before the garbage that they leave was collected.
    """
    with isolate.entered():
        for _, value, _ in recipes:
            address = address_of(value.slot)
            for offset in _insides(isolate, value.slot):
                TAGGED(address + offset).value = _NOTHING


def recreate(isolate: Isolate, recipes: Iterable[Recipe]) -> None:
    """Give objects that were emptied new insides, after the heap was read.

    Raises:
        SnapshotFormatError: One can't be made again.
    """
    made: dict[str, Value] = {}
    with isolate.entered():
        for recipe in recipes:
            # All that are made alike share what is inside, which never changes.
            with HandleScope(isolate.scope_slots):
                model = made.get(recipe.key)
                if model is None:
                    model = made[recipe.key] = _make(isolate, recipe)
                _fill(isolate, recipe.value.slot, model.slot)
    for model in made.values():
        model.close()


def _make(isolate: Isolate, recipe: Recipe) -> Value:
    kind, value, data = recipe
    maker = _maker(isolate, kind)
    with TryCatch(isolate.library, isolate.pointer):
        handle = maker.make(value.slot, data) if maker is not None else None
        if not handle:
            message = f"the heap's {kind} can't be made again of {data}"
            raise SnapshotFormatError(message)
        return isolate.own(handle)


# -- the shells --------------------------------------------------------------------


def _insides(isolate: Isolate, handle: int) -> Iterator[int]:
    """Yield the offsets of an object's pointers to what isn't JavaScript's."""
    address, cage = address_of(handle), cage_of(isolate)
    for offset in offsets_of(isolate, handle):
        word = TAGGED(address + offset).value
        if word & TAG and isolate.library.is_foreign(cage | word):
            yield offset


def _fill(isolate: Isolate, handle: int, model: int) -> None:
    """Have an object point to the same insides as a new one."""
    address, source = address_of(handle), address_of(model)
    for offset in _insides(isolate, model):
        point(isolate, address, offset, TAGGED(source + offset).value)


# -- how the kinds are made --------------------------------------------------------


class _Maker:
    """Describes objects of one kind, and makes others. Entered, in a handle scope."""

    def __init__(self, isolate: Isolate) -> None:
        self._isolate = isolate
        self._library = isolate.library

    def behavior(self, handle: int) -> Any:
        """Return what an object does, to be compared."""
        raise NotImplementedError

    def candidates(self, behavior: Any) -> Iterable[Plain]:
        """Return what an object may be made again of, the likeliest first."""
        return (behavior,)

    def make(self, handle: int, data: Plain) -> int | None:
        """Make a new object; None if V8 refuses."""
        raise NotImplementedError

    def _hidden_class(self, handle: int) -> int:
        """Return a handle of an object's hidden class, to be disposed of."""
        word = cage_of(self._isolate) | TAGGED(address_of(handle)).value
        kept: int = self._library.globalize(self._isolate.pointer, word)
        return kept

    def _text(self, text: str) -> int:
        return new_string(self._library, self._isolate.pointer, text)

    def _object(self, data: Mapping[str, Any]) -> int:
        """Make an object that inherits nothing: what reads it runs no other code."""
        isolate = self._isolate
        words = ctypes.c_void_p * len(data)
        names = words(*(self._text(name) for name in data))
        values = words(*(to_local(isolate, value) for value in data.values()))
        made: int = self._library.object_new(
            isolate.pointer,
            isolate.constant(None),
            ctypes.addressof(names),
            ctypes.addressof(values),
            len(data),
        )
        return made

    def _read(self, handle: int) -> dict[str, Any]:
        """Read an object of V8's own making: texts, numbers and booleans."""
        isolate, library = self._isolate, self._library
        names = library.property_names(
            handle, isolate.context, _OWN_ONLY, _ALL, _SKIP_INDICES, _NO_NUMBERS
        )
        found: dict[str, Any] = {}
        for index in range(self._length(names)):
            at = library.number_new(isolate.pointer, index)
            name = library.object_get(names, isolate.context, at)
            value = to_python(
                isolate, library.object_get(handle, isolate.context, name)
            )
            if not isinstance(value, Value) and value is not UNDEFINED:
                found[str(to_python(isolate, name))] = value
        return found

    def _length(self, array: int) -> int:
        length = self._text("length")
        found = self._library.object_get(array, self._isolate.context, length)
        return int(to_python(self._isolate, found))


class _Formatter(_Maker):
    """Formatters and the like, which tell all of their options."""

    def __init__(self, isolate: Isolate, name: str) -> None:
        super().__init__(isolate)
        lookup = isolate.library.lookup
        self._resolved = lookup(symbols.resolved_options(name), "p", "pp")
        self._new = lookup(symbols.formatter_new(name), "p", "pppps")

    def behavior(self, handle: int) -> Any:
        found = self._read(self._resolved(self._isolate.pointer, handle))
        return {name: found[name] for name in found if name not in _DERIVED}

    def candidates(self, behavior: Any) -> Iterable[Plain]:
        yield behavior
        # One that is its locale's own may become part of the locale when it is given.
        yield {name: behavior[name] for name in behavior if name != "collation"}

    def make(self, handle: int, data: Plain) -> int | None:
        if not isinstance(data, dict):
            return None
        pointer = self._isolate.pointer
        kept = self._hidden_class(handle)
        locale, options = self._text(str(data["locale"])), self._object(data)
        made: int | None = self._new(pointer, kept, locale, options, _METHOD)
        self._library.dispose_global(kept)
        return made


class _Shown(_Formatter):
    """A formatter whose options say not all: what it gives is compared, too."""

    samples: tuple[float, ...]

    def behavior(self, handle: int) -> Any:
        return (
            super().behavior(handle),
            [self._formatted(handle, sample) for sample in self.samples],
        )

    def _formatted(self, handle: int, sample: float) -> list[dict[str, Any]]:
        isolate, library = self._isolate, self._library
        with HandleScope(isolate.scope_slots):
            value = library.number_new(isolate.pointer, sample)
            parts = self._parts(handle, value)
            return [
                self._read(
                    library.object_get(
                        parts, isolate.context, library.number_new(isolate.pointer, at)
                    )
                )
                for at in range(self._length(parts))
            ]

    def _parts(self, handle: int, value: int) -> int:
        """Format a value; returns an array of V8's objects."""
        raise NotImplementedError


class _NumberFormat(_Shown):
    """A NumberFormat that strips zeros tells wrong digits and priorities (V8 14.4)."""

    samples = _NUMBERS

    def candidates(self, behavior: Any) -> Iterable[Plain]:
        data: dict[str, Any] = behavior[0]
        yield data
        for priority in ("auto", "morePrecision", "lessPrecision"):
            for digits in ("none", "SignificantDigits", "FractionDigits"):
                kept = {name: data[name] for name in data if not name.endswith(digits)}
                yield {**kept, "roundingPriority": priority}

    def _parts(self, handle: int, value: int) -> int:
        parts: int = self._library.number_parts(self._isolate.pointer, handle, value)
        return parts


class _DateFormat(_Shown):
    """A DateTimeFormat tells what its pattern has, and so more or less than was asked.

    What was asked is found by trying. Of 1,500 at random, with up to ten options each
    in 15 locales, 13 weren't.
    """

    samples = _TIMES

    def candidates(self, behavior: Any) -> Iterable[Plain]:
        data: dict[str, Any] = behavior[0]
        yield data
        changes = [
            {name: value}
            for name, values in _VARIANTS.items()
            for value in values
            if value != data.get(name)
        ]
        pairs = ({**one, **other} for one, other in combinations(changes, 2))
        for change in chain(changes, pairs):
            changed = {**data, **change}
            yield {name: changed[name] for name in changed if changed[name]}

    def _parts(self, handle: int, value: int) -> int:
        parts: int = self._library.date_parts(
            self._isolate.pointer,
            handle,
            value,
            False,  # noqa: FBT003 -- C's
            _METHOD,
        )
        return parts


class _Locale(_Maker):
    """A Locale is its tag."""

    def behavior(self, handle: int) -> Any:
        text = self._library.locale_text(self._isolate.pointer, handle)
        return str(to_python(self._isolate, text))

    def make(self, handle: int, data: Plain) -> int | None:
        kept = self._hidden_class(handle)
        tag, options = self._text(str(data)), self._object({})
        made: int | None = self._library.locale_new(
            self._isolate.pointer, kept, tag, options
        )
        self._library.dispose_global(kept)
        return made


class _Temporal(_Maker):
    """Temporal's values are their texts."""

    def __init__(self, isolate: Isolate, name: str) -> None:
        super().__init__(isolate)
        lookup = isolate.library.lookup
        self._no_options = name in symbols.TEMPORAL_WITHOUT_OPTIONS
        arguments = "pp" if self._no_options else "ppp"
        self._from = lookup(symbols.temporal_from(name), "p", arguments)
        self._to_text = lookup(symbols.temporal_text(name), "p", "ppp")

    def _shown(self, handle: int) -> str:
        isolate = self._isolate
        options = self._object({"calendarName": "always"})
        text = self._to_text(isolate.pointer, handle, options)
        return str(to_python(isolate, text))

    def behavior(self, handle: int) -> Any:
        return self._shown(handle)

    def make(self, handle: int, data: Plain) -> int | None:  # noqa: ARG002 -- the others need it
        return self._made(self._text(str(data)))

    def _made(self, like: int) -> int | None:
        isolate = self._isolate
        options = () if self._no_options else (isolate.constant(UNDEFINED),)
        made: int | None = self._from(isolate.pointer, like, *options)
        return made


class _Duration(_Temporal):
    """A Duration's text sums up what is below a second; so its fields are asked."""

    def behavior(self, handle: int) -> Any:
        isolate, library = self._isolate, self._library
        data: dict[str, Any] = {}
        for unit in _UNITS:
            others = self._object({name: 0 for name in _UNITS if name != unit})
            alone = library.duration_with(isolate.pointer, handle, others)
            data[unit] = self._shown(alone)
        return data

    def make(self, handle: int, data: Plain) -> int | None:  # noqa: ARG002 -- as above
        if not isinstance(data, dict):
            return None
        return self._made(
            self._object({unit: _amount(unit, data[unit]) for unit in _UNITS})
        )


_SUBSECONDS: Final = {"milliseconds": 3, "microseconds": 6, "nanoseconds": 9}


def _amount(unit: str, text: str) -> float:
    """Return how many of a unit a text such as `-PT1.5S` has, which has no other."""
    sign = -1 if text.startswith("-") else 1
    whole, _, rest = text.lstrip("-PT").rstrip("YMWDHS").partition(".")
    digits = _SUBSECONDS.get(unit, 0)
    return float(sign * int(whole + rest.ljust(digits, "0")))


@functools.cache
def _makers() -> dict[str, Callable[[Isolate], _Maker]]:
    makers: dict[str, Callable[[Isolate], _Maker]] = {
        kind: functools.partial(_Formatter, name=symbols.UNSAVABLE[kind])
        for kind in symbols.FORMATTERS
    }
    makers |= {
        kind: functools.partial(_Temporal, name=name)
        for kind, name in symbols.UNSAVABLE.items()
        if kind.startswith("Temporal.")
    }
    makers[_DATE_FORMAT] = functools.partial(
        _DateFormat, name=symbols.UNSAVABLE[_DATE_FORMAT]
    )
    makers[_NUMBER_FORMAT] = functools.partial(
        _NumberFormat, name=symbols.UNSAVABLE[_NUMBER_FORMAT]
    )
    makers[_DURATION] = functools.partial(_Duration, name=symbols.UNSAVABLE[_DURATION])
    makers[_LOCALE] = _Locale
    return makers


def _maker(isolate: Isolate, kind: str) -> _Maker | None:
    make = _makers().get(kind)
    return None if make is None else make(isolate)
