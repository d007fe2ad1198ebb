"""What code may do beyond its context, and who does it.

    call        a call, its answer, and a `Provider`, which does what is asked for
    grant       what one context may have: its policy, its folder, its limits
    hosts       hosts, ports and origins in canonical form
    targets     patterns of rules, and what they fit
    conditions  what else rules can ask for
    policy      rules and defaults, and what they come to
    decisions   what policies say of one context's calls, with approvals, noted
    holder      takes the calls of contexts and gives them to the providers

The context's process stays sealed; whoever holds a `Holder` does the work: the server
on its loop, the Jupyter kernel on one in a thread. Nothing here is imported before code
makes its first call.
"""

from __future__ import annotations

from isokernel.capabilities.call import Answer, Call, Provider, Providers
from isokernel.capabilities.decisions import Decisions, Noted
from isokernel.capabilities.grant import Asked, Grant, Limits, Stage, Tell
from isokernel.capabilities.holder import Answered, Holder
from isokernel.capabilities.policy import Policy, Rule, read_policy, read_rule
from isokernel.errors import CapabilityDeniedError, CapabilityError

__all__ = [
    "Answer",
    "Answered",
    "Asked",
    "Call",
    "CapabilityDeniedError",
    "CapabilityError",
    "Decisions",
    "Grant",
    "Holder",
    "Limits",
    "Noted",
    "Policy",
    "Provider",
    "Providers",
    "Rule",
    "Stage",
    "Tell",
    "read_policy",
    "read_rule",
]
