"""Decisions of one context: by its policies, with approvals, noted and counted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeAlias

from isokernel.capabilities.policy import Policy, Verdict, decide, is_early
from isokernel.capabilities.targets import suggested
from isokernel.errors import CapabilityDeniedError

if TYPE_CHECKING:
    from isokernel.capabilities.grant import Asked

__all__ = ["Approve", "Decisions", "Note", "Noted"]

Outcome: TypeAlias = Literal["allowed", "approved", "denied", "passed"]

_KEPT_MAX: Final = 1000
_NOBODY: Final = "it needs an approval, and nobody here can be asked"


class Noted(NamedTuple):
    """Something that was asked for.

    Attributes:
        asked: What.
        verdict: What the policies say.
        outcome: What became of it; `passed` is what would have been denied.
    """

    asked: Asked
    verdict: Verdict
    outcome: Outcome


Approve: TypeAlias = Callable[["Asked", Verdict], Awaitable[bool]]
"""Returns once it is approved: whether that holds for the same thing again; raises
CapabilityDeniedError if it isn't."""
Note: TypeAlias = Callable[[Noted], Awaitable[None]]
"""Told of each decision before what was asked for is done, once for the same thing."""


class Decisions:
    """Decides what one context may do.

    Attributes:
        seen: What was asked for, by capability and pattern, and its last outcome; as
            many as are kept.
    """

    def __init__(self, note: Note | None = None) -> None:
        """Begin with nothing asked."""
        self._note = note
        self._noted: dict[tuple[Any, ...], Outcome] = {}
        self._approved: dict[tuple[Any, ...], None] = {}
        self.seen: dict[tuple[str, str], Outcome] = {}

    async def decide(
        self, policies: Sequence[Policy], asked: Asked, approve: Approve | None
    ) -> None:
        """Return if something may be done.

        Args:
            policies: Those in force now, at least one.
            asked: What.
            approve: Has it approved; None if nobody can be asked.

        Raises:
            CapabilityDeniedError: It may not.
        """
        verdict, audited = decide(policies, asked)
        if asked.facts.get("early") and verdict.effect != "deny":
            return  # an approval is for the version
        if verdict.effect == "allow":
            await self._told(
                Noted(asked, audited or verdict, "passed" if audited else "allowed")
            )
            return
        if verdict.effect == "require_approval" and approve is not None:
            key = _key(asked)
            if key not in self._approved and await approve(asked, verdict):
                _keep(self._approved, key, None)
            await self._told(Noted(asked, verdict, "approved"))
            return
        await self._told(Noted(asked, verdict, "denied"))
        needs = verdict.effect == "require_approval"
        reason = _NOBODY if needs else verdict.reason
        setting = verdict.setting(asked)
        raise CapabilityDeniedError(
            asked.capability, asked.target, setting, reason=reason
        )

    def is_approved(self, asked: Asked) -> bool:
        """Whether an approval holds for something, so that nobody need be asked."""
        return _key(asked) in self._approved

    async def _told(self, noted: Noted) -> None:
        asked, outcome = noted.asked, noted.outcome
        if is_early(asked) and outcome in {"allowed", "approved"}:
            return  # it is decided once more when the address is known
        place = asked.capability, suggested(asked)
        self.seen.pop(place, None)
        _keep(self.seen, place, outcome)
        key = (*_key(asked), noted.verdict.effect)
        if self._note is not None and self._noted.get(key) != outcome:
            _keep(self._noted, key, outcome)
            await self._note(noted)

    def shown(self) -> dict[str, Any]:
        """Return what was asked for, as plain data."""
        asked = [
            {"capability": capability, "target": target, "outcome": outcome}
            for (capability, target), outcome in self.seen.items()
        ]
        return {"asked": asked, "suggested": self.report()}

    def report(self) -> dict[str, list[str]]:
        """Return the policy that would allow what was asked for so far."""
        found: dict[str, list[str]] = {}
        for capability, pattern in sorted(self.seen):
            found.setdefault(capability, []).append(pattern)
        return found


def _key(asked: Asked) -> tuple[Any, ...]:
    """What an approval is for: an address may change, what is done may not."""
    done = asked.facts.get("method") or asked.facts.get("access")
    return asked.capability, asked.target, done


def _keep(kept: dict[Any, Any], key: Any, value: Any) -> None:
    kept[key] = value
    if len(kept) > _KEPT_MAX:
        del kept[next(iter(kept))]
