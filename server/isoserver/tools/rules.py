"""Rules about calls of tools: allow, require_approval or deny.

Of all rules that fit a call, the most restrictive wins; a call that no rule fits has
the default of its tool. So no order and no weight has to be understood: a rule that
denies can't be undone by another one.
"""

from __future__ import annotations

import json
import re
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import jsonschema_rs
import msgspec

from isoserver.errors import SourceError
from isoserver.settings.tools import Effect  # noqa: TC001 - msgspec reads it
from isoserver.tools.names import key

if TYPE_CHECKING:
    from collections.abc import Iterable

    from isoserver.settings.tools import RuleModel
    from isoserver.tools.calls import Call

__all__ = [
    "ALLOW",
    "DENY",
    "REQUIRE_APPROVAL",
    "Condition",
    "Rule",
    "Verdict",
    "decide",
    "hides",
    "read_rule",
    "strictest",
]

Operator = Literal["equals", "not_equals", "contains", "starts_with", "matches"]
ALLOW: Final = "allow"
REQUIRE_APPROVAL: Final = "require_approval"
DENY: Final = "deny"

_STRICTNESS: Final[dict[str, int]] = {ALLOW: 0, REQUIRE_APPROVAL: 1, DENY: 2}
_MISSING: Final = object()
_PATTERNS: Final[dict[str, jsonschema_rs.Validator]] = {}
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
        return bool(_pattern(str(self.value)).is_valid(text))


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, dict=True):
    """One rule.

    Attributes:
        effect: What happens to calls that it fits.
        tool: Glob over the tool's path: `*` is one segment, or a part of one, `**` any
            number of segments.
        source: The source; None for every one.
        session: The context that persists; None for every one. Clients choose its
            name, so what is bound to it makes nothing laxer.
        client: Who started the task; None for everybody.
        conditions: What the arguments must be like; all must hold.
        id: The rule's id; of the configuration file's rules, their place there.
    """

    effect: Effect
    tool: str
    source: str | None = None
    session: str | None = None
    client: str | None = None
    conditions: tuple[Condition, ...] = ()
    id: str = ""

    @cached_property
    def _glob(self) -> re.Pattern[str]:
        return _compile(self.tool)

    def covers(self, path: str) -> bool:
        """Tell whether the rule is about a tool at all."""
        if self.source is not None and key(self.source) != key(path).partition(".")[0]:
            return False
        return self._glob.fullmatch(key(path)) is not None

    def fits(self, call: Call, path: str, arguments: Any) -> bool:
        """Tell whether the rule is about a call."""
        return (
            self.session in (None, call.session)
            and self.client in (None, call.client)
            and self.covers(path)
            and all(condition.holds(arguments) for condition in self.conditions)
        )


class Verdict(NamedTuple):
    """What the policy says.

    Attributes:
        effect: What happens to the call.
        rule: The id of the rule that says so; empty for the tool's default.
    """

    effect: Effect
    rule: str = ""


def read_rule(given: RuleModel, rule_id: str = "") -> Rule:
    """Return the rule that the configuration file or REST describes.

    Raises:
        SourceError: A pattern can't be compiled.
    """
    conditions = tuple(
        Condition(each.key, each.operator, each.value) for each in given.conditions
    )
    for condition in conditions:
        if condition.operator != "matches":
            continue
        try:
            _pattern(str(condition.value))
        except ValueError as error:
            message = (
                f"the pattern for {condition.key} can't be compiled; look-around and "
                "back-references are not supported"
            )
            raise SourceError(message) from error
    return Rule(
        effect=given.effect,
        tool=given.tool,
        source=given.source,
        session=given.session,
        client=given.client,
        conditions=conditions,
        id=rule_id,
    )


def decide(
    rules: Iterable[Rule], call: Call, path: str, arguments: Any, default: Effect
) -> Verdict:
    """Decide about one call of one tool.

    Args:
        rules: The workspace's rules.
        call: The call.
        path: The tool's canonical path.
        arguments: The input.
        default: What holds if no rule fits.
    """
    fitting = [rule for rule in rules if rule.fits(call, path, arguments)]
    bound = [rule for rule in fitting if rule.session is not None]
    free = [rule for rule in fitting if rule.session is None]
    verdicts = [Verdict(rule.effect, rule.id) for rule in free] or [Verdict(default)]
    return strictest([*verdicts, *(Verdict(rule.effect, rule.id) for rule in bound)])


def strictest(verdicts: Iterable[Verdict]) -> Verdict:
    """Return the most restrictive of some verdicts, the first if there are several."""
    return max(verdicts, key=lambda verdict: _STRICTNESS[verdict.effect])


def hides(rules: Iterable[Rule], call: Call, path: str) -> bool:
    """Tell whether a tool is denied whatever its input is."""
    return any(
        rule.effect == DENY and not rule.conditions and rule.fits(call, path, {})
        for rule in rules
    )


def _pattern(text: str) -> jsonschema_rs.Validator:
    """Compile the pattern of a condition; it matches anywhere, in linear time.

    Raises:
        ValueError: It can't be compiled: look-around and back-references are out.
    """
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


def _compile(glob: str) -> re.Pattern[str]:
    """Compile a glob; it can't backtrack much, as segments have no dots."""
    made = ""
    segments = [key(segment) for segment in glob.split(".")]
    for place, segment in enumerate(segments):
        last = place == len(segments) - 1
        if segment == "**":
            made += r"(?:[^.]+(?:\.[^.]+)*)?" if last else r"(?:[^.]+\.)*"
            if last and place:
                # `a.**` is about `a` as well: nothing, or a dot and the rest.
                made = made.removesuffix(r"(?:[^.]+(?:\.[^.]+)*)?")
                made = made.removesuffix(r"\.") + r"(?:\.[^.]+)*"
            continue
        parts = [re.escape(part) for part in re.split(r"\*+", segment)]
        made += "[^.]+" if segment == "*" else "[^.]*".join(parts)
        made += "" if last else r"\."
    return re.compile(made)


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
