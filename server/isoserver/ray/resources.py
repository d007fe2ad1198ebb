"""What a server takes of its node, as Ray wants it to be said; needs no Ray itself."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from isoserver.errors import RayError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["actor_options", "check_amount"]

_OPTIONS: Final = {"CPU": "num_cpus", "GPU": "num_gpus", "memory": "memory"}
"""What has an option of its own; Ray refuses these names among `resources`."""
_REFUSED: Final = {
    "": "it has no name",
    "object_store_memory": "Ray reserves none of it",
    "bundle": "Ray keeps that name for itself",
}
_AMOUNT_MIN: Final = 0.0001
"""Ray counts in ten thousandths."""


def check_amount(name: str, amount: float) -> None:
    """Refuse what Ray wouldn't take from a server.

    What kinds of accelerators may be shared is left to Ray, which knows more of them
    with each version; but for GPU, which it refuses only as an actor is made.

    Args:
        name: A resource of Ray's, such as `GPU`, or one of the user's own.
        amount: How much a server takes; of `memory`, bytes.

    Raises:
        RayError: It can't be had like that, and the message says why.
    """
    wrong = _wrong_name(name) or _wrong_amount(name, amount)
    if wrong:
        message = f"a server can't take {name}={amount:g} of Ray's resources: {wrong}"
        raise RayError(message)


def actor_options(resources: Mapping[str, float]) -> dict[str, Any]:
    """Return the options of an actor that takes resources.

    Args:
        resources: Amounts by Ray's names of them; without CPU, it takes none.

    Raises:
        RayError: Ray wouldn't take them.
    """
    for name, amount in resources.items():
        check_amount(name, amount)
    own = {
        option: resources[name]
        for name, option in _OPTIONS.items()
        if name in resources
    }
    others = {name: resources[name] for name in resources if name not in _OPTIONS}
    return {"num_cpus": 0, **own, "resources": others}


def _wrong_name(name: str) -> str:
    """Return what is wrong with a name, if anything is."""
    if not name.isascii():
        return "the name isn't ASCII"
    return _REFUSED.get(name, "")


def _wrong_amount(name: str, amount: float) -> str:
    """Return what is wrong with an amount, if anything is."""
    if not math.isfinite(amount) or amount < 0:
        return "the amount is no number from 0 on"
    if 0 < amount < _AMOUNT_MIN:
        return f"the amount is less than {_AMOUNT_MIN}"
    if name == "GPU" and amount > 1 and amount % 1:
        return "more than one is a whole number"
    return ""
