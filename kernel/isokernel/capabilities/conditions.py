"""Conditions of rules: what plain data must be like."""

from __future__ import annotations

import json
from typing import Any, Final, Literal

import msgspec

__all__ = ["EFFECTS", "Condition", "Effect", "pattern"]

Effect = Literal["allow", "require_approval", "deny"]
EFFECTS: Final[dict[str, int]] = {"allow": 0, "require_approval": 1, "deny": 2}
"""How restrictive each one is."""

Operator = Literal["equals", "not_equals", "contains", "starts_with", "matches"]
_MISSING: Final = object()
_PATTERNS: Final[dict[str, Any]] = {}
_PATTERNS_MAX: Final = 1000


class Condition(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an argument must be like.

    Attributes:
        key: Which argument, dots between levels; digits are places in a list.
        operator: How it is compared.
        value: What it is compared with.
    """

    key: str
    operator: Operator
    value: Any = None

    def holds(self, arguments: Any) -> bool:
        """Tell whether an input meets the condition."""
        actual = _find(arguments, self.key)
        if self.operator == "not_equals":
            return actual is _MISSING or not _equal(actual, self.value)
        if actual is _MISSING:
            return False
        if self.operator == "equals":
            return _equal(actual, self.value)
        if self.operator == "contains":
            return _contains(actual, self.value)
        text = _text(actual)
        if self.operator == "starts_with":
            return text.startswith(_text(self.value))
        return bool(pattern(str(self.value)).is_valid(text))


def pattern(text: str) -> Any:
    """Compile the pattern of a condition; it matches anywhere, in linear time.

    Returns:
        A validator of JSON Schema.

    Raises:
        ValueError: It can't be compiled: look-around and back-references are out.
    """
    import jsonschema_rs  # noqa: PLC0415 - few rules have one

    found = _PATTERNS.get(text)
    if found is None:
        found = jsonschema_rs.validator_for(
            {"type": "string", "pattern": text},
            pattern_options=jsonschema_rs.RegexOptions(),
        )
        if len(_PATTERNS) >= _PATTERNS_MAX:
            _PATTERNS.clear()
        _PATTERNS[text] = found
    return found


def _find(arguments: Any, path: str) -> Any:
    found = arguments
    for name in path.split("."):
        if isinstance(found, dict) and name in found:
            found = found[name]
        elif isinstance(found, list) and name.isdecimal() and int(name) < len(found):
            found = found[int(name)]
        else:
            return _MISSING
    return found


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)


def _equal(actual: Any, value: Any) -> bool:
    # As text, so that 5 and "5" are one: some APIs take either.
    return _text(actual) == _text(value)


def _contains(actual: Any, value: Any) -> bool:
    if isinstance(actual, list):
        return any(_equal(item, value) for item in actual)
    if isinstance(actual, dict):
        return _text(value) in actual
    return _text(value) in _text(actual)
