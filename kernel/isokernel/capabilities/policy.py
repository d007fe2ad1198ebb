"""Policies: rules about what code may do beyond its context, and what they come to.

Of all rules that fit, the most restrictive wins; what no rule fits has the default of
its capability. Several policies may be in force, of a workspace, a context and an
execution: the most restrictive of their verdicts wins, so that each one can only narrow
what the others allow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from isokernel.capabilities.conditions import EFFECTS, Condition, Effect, pattern
from isokernel.capabilities.targets import (
    CAPABILITIES,
    NETWORKS,
    Fit,
    Pattern,
    read_pattern,
    suggested,
)
from isokernel.errors import SettingsError

if TYPE_CHECKING:
    from isokernel.capabilities.grant import Asked

__all__ = ["Policy", "Rule", "Verdict", "decide", "read_policy", "read_rule"]

_LATER: Final = frozenset({"address", "network", "version"})
"""Facts that aren't known before a name is looked up, or a registry asked."""


class Rule(NamedTuple):
    """One rule.

    Attributes:
        effect: What happens to what it fits.
        capability: `modules`, `net`, `files` or `env`.
        pattern: What it is about.
        networks: Of rules for `net` that allow: what the address may be besides public.
        conditions: On the facts; all must hold.
        id: What names it in the audit.
    """

    effect: Effect
    capability: str
    pattern: Pattern
    networks: frozenset[str] = frozenset()
    conditions: tuple[Condition, ...] = ()
    id: str = ""

    def fits(self, asked: Asked, *, public_only: bool) -> bool:
        """Whether the rule is about what is asked for.

        As long as the address or the version isn't known, a rule that allows may be
        about it, and one that restricts isn't, unless that holds for all of them.
        """
        if asked.capability != self.capability:
            return False
        allows = self.effect != "deny"
        fit = self._fit(asked) if allows else self.pattern.fit(asked)
        loose = fit.loosely and self.effect == "allow"
        if loose or not (fit.possible if allows else fit.certain):
            return False
        early = is_early(asked)
        for condition in self.conditions:
            if early and condition.key.partition(".")[0] in _LATER:
                if not allows:
                    return False
            elif not condition.holds(dict(asked.facts)):
                return False
        if not (allows and public_only) or early or asked.capability != "net":
            return True
        network = asked.facts.get("network")
        return network == "public" or fit.names or network in self.networks

    def _fit(self, asked: Asked) -> Fit:
        """Compare the pattern; what allows a package allows what it depends on."""
        fit = self.pattern.fit(asked)
        for target in asked.facts.get("dependents", ()):
            if fit.possible:
                break
            fit = self.pattern.fit(asked._replace(target=target))
        return fit


def is_early(asked: Asked) -> bool:
    """Whether something will be decided again when more is known of it.

    A request is decided before its host is looked up, a package (whose facts have
    `early`) before its registry is asked for its version: what is denied in any case
    isn't told to anybody.
    """
    if asked.capability == "net":
        return "address" not in asked.facts
    return bool(asked.facts.get("early"))


class Policy(NamedTuple):
    """Rules, and what holds where none fits.

    Attributes:
        rules: In any order.
        defaults: By capability; one that isn't there is allowed.
        setting: How to allow something, with `{capability}` and `{pattern}` in it.
        public_only: Whether addresses that aren't public must be named by a rule.
        mode: `audit` lets pass what would be denied, and notes it.
    """

    rules: tuple[Rule, ...] = ()
    defaults: Mapping[str, Effect] = {}
    setting: str = "a rule for {capability} with {pattern}"
    public_only: bool = False
    mode: Literal["enforce", "audit"] = "enforce"

    def decide(self, asked: Asked) -> Verdict:
        """Decide about something."""
        fitting = [
            Verdict(rule.effect, rule.id, self)
            for rule in self.rules
            if rule.fits(asked, public_only=self.public_only)
        ]
        if fitting:
            # What doesn't name the address lets nothing through to it by itself, but
            # asks for an approval of what another rule lets through.
            fitting += [
                Verdict(rule.effect, rule.id, self)
                for rule in self.rules
                if rule.effect == "require_approval"
                and rule.fits(asked, public_only=False)
            ]
            return _strictest(fitting)
        if self.public_only and asked.capability == "net" and "address" in asked.facts:
            network = asked.facts.get("network")
            if network != "public":
                address = asked.facts["address"]
                reason = f"{address} is {network}, and no policy names it"
                return Verdict("deny", "", self, reason, is_guarded=True)
        return Verdict(self.defaults.get(asked.capability, "allow"), "", self)


class Verdict(NamedTuple):
    """What a policy says.

    Attributes:
        effect: What happens.
        rule: The id of the rule that says so; empty for the default.
        policy: Whose verdict it is.
        reason: Why it is denied, if more is known than that nothing allows it.
        is_guarded: It is denied in the mode `audit` as well.
    """

    effect: Effect
    rule: str
    policy: Policy
    reason: str = ""
    is_guarded: bool = False

    @property
    def passes(self) -> bool:
        """Whether it is only noted."""
        return self.policy.mode == "audit" and not self.is_guarded

    def setting(self, asked: Asked) -> str:
        """Return what would allow it."""
        if self.rule and self.effect == "deny":
            return f"taking back the rule {self.rule}"
        return self.policy.setting.format(
            capability=asked.capability,
            CAPABILITY=asked.capability.upper(),
            pattern=suggested(asked),
        )


def _strictest(verdicts: Sequence[Verdict]) -> Verdict:
    return max(verdicts, key=lambda verdict: EFFECTS[verdict.effect])


def decide(policies: Sequence[Policy], asked: Asked) -> tuple[Verdict, Verdict | None]:
    """Decide by some policies, at least one.

    Returns:
        The most restrictive verdict; and, if that allows it, the one that would not but
        is of a policy whose mode is `audit`.
    """
    verdicts = [policy.decide(asked) for policy in policies]
    strictest = _strictest(verdicts)
    if strictest.effect == "allow":
        return strictest, None
    enforced = [one for one in verdicts if one.effect == "allow" or not one.passes]
    held = _strictest(enforced) if enforced else strictest._replace(effect="allow")
    if held.effect != "allow":
        return held, None
    return held, strictest


# -- reading -----------------------------------------------------------------------


_EFFECTS: Final[Mapping[tuple[str | bool, ...], Effect]] = {
    ("on", False): "allow",
    ("on", True): "allow",
    ("ask", False): "require_approval",
}
"""By words that stand for everything, and whether it is about variables: whoever reads
one can't wait for an answer."""


def read_policy(given: Mapping[str, Any], **fields: Any) -> Policy:
    """Read a policy.

    Args:
        given: By capability: `on`, `off`, `ask` (not for env), for files also `read`,
            or a list of patterns of what is allowed, all else being denied. `rules` is
            a list of rules, as `read_rule` takes them. A capability that isn't there
            has no default.
        **fields: Further ones of `Policy`.

    Raises:
        SettingsError: It can't be understood.
    """
    rules: list[Rule] = []
    defaults: dict[str, Effect] = {}
    unknown = set(given) - {*CAPABILITIES, "rules"}
    if unknown:
        message = f"{min(unknown)!r} is none of {', '.join(CAPABILITIES)}, rules"
        raise SettingsError(message)
    for capability in CAPABILITIES:
        value = given.get(capability)
        if value is None:
            continue
        if isinstance(value, str):
            value = [part for part in map(str.strip, value.split(",")) if part]
        if not isinstance(value, (list, tuple)) or not all(
            isinstance(text, str) for text in value
        ):
            message = f"{capability} must be on, off or patterns"
            raise SettingsError(message)
        effect = _EFFECTS.get((*value, capability == "env"))
        defaults[capability] = effect or "deny"
        if effect is not None:
            continue
        if list(value) == ["read"] and capability == "files":
            only = {"key": "access", "operator": "equals", "value": "read"}
            allowing = {"effect": "allow", "capability": capability}
            rules.append(read_rule({**allowing, "conditions": [only]}))
        elif list(value) != ["off"]:
            words = "on, off, read" if capability == "files" else "on, off"
            rules += [
                Rule("allow", capability, read_pattern(capability, text, words))
                for text in value
            ]
    for number, rule in enumerate(given.get("rules") or (), 1):
        rules.append(read_rule(rule, f"rule {number}"))
    return Policy(tuple(rules), defaults, **fields)


_RULE_FIELDS: Final = frozenset(
    {"effect", "capability", "target", "networks", "conditions"}
)
_OPERATORS: Final = frozenset(
    {"equals", "not_equals", "contains", "starts_with", "matches"}
)


def read_rule(given: Mapping[str, Any], rule_id: str = "") -> Rule:
    """Read a rule: effect, capability, target, networks, conditions.

    Raises:
        SettingsError: It can't be understood.
    """
    if set(given) - _RULE_FIELDS:
        message = f"a rule has the fields {', '.join(sorted(_RULE_FIELDS))}"
        raise SettingsError(message)
    effect, capability = given.get("effect"), given.get("capability")
    if effect not in EFFECTS or capability not in CAPABILITIES:
        message = (
            f"a rule has an effect ({', '.join(EFFECTS)}) and a capability "
            f"({', '.join(CAPABILITIES)})"
        )
        raise SettingsError(message)
    networks = frozenset(given.get("networks") or ())
    if networks - NETWORKS or (networks and capability != "net"):
        message = f"networks of rules for net are {', '.join(sorted(NETWORKS))}"
        raise SettingsError(message)
    target = given.get("target", "*")
    if not isinstance(target, str):
        message = "the target of a rule is a pattern"
        raise SettingsError(message)
    conditions = tuple(_condition(one) for one in given.get("conditions") or ())
    return Rule(
        effect,
        capability,
        read_pattern(capability, target),
        networks,
        conditions,
        rule_id,
    )


def _condition(given: Any) -> Condition:
    if (
        not isinstance(given, Mapping)
        or set(given) - {"key", "operator", "value"}
        or not isinstance(given.get("key"), str)
        or given.get("operator") not in _OPERATORS
    ):
        message = f"a condition has key, operator ({', '.join(_OPERATORS)}) and value"
        raise SettingsError(message)
    made = Condition(given["key"], given["operator"], given.get("value"))
    if made.operator == "matches":
        try:
            pattern(str(made.value))
        except ValueError as error:
            message = (
                f"the pattern for {made.key} can't be compiled; look-around and "
                "back-references are not supported"
            )
            raise SettingsError(message) from error
    return made
