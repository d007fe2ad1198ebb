"""Rules about calls of tools: allow, require_approval or deny.

Of all rules that fit a call, the most restrictive wins; a call that no rule fits has
the default of its tool. So no order and no weight has to be understood: a rule that
denies can't be undone by another one.
"""

from __future__ import annotations

import re
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from isokernel.capabilities.conditions import EFFECTS, Condition, pattern
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

ALLOW: Final = "allow"
REQUIRE_APPROVAL: Final = "require_approval"
DENY: Final = "deny"


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
            pattern(str(condition.value))
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
    return max(verdicts, key=lambda verdict: EFFECTS[verdict.effect])


def hides(rules: Iterable[Rule], call: Call, path: str) -> bool:
    """Tell whether a tool is denied whatever its input is."""
    return any(
        rule.effect == DENY and not rule.conditions and rule.fits(call, path, {})
        for rule in rules
    )


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
