"""Earlier results by number: _, __, ___, _N, Out and In."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.local_contexts import LocalContext


def test_shortcuts(context: LocalContext) -> None:
    """The last three results have names; cells without a result don't count."""
    for code in ("'a'", "'b'", "undefined", "'c'"):
        context.run(code)
    assert context.value("[_, __, ___, _1, Out[2], In[1]]") == (
        "[ 'c', 'b', 'a', 'a', 'b', \"'a'\" ]"
    )
    assert context.value("Object.keys(Out).join()") == "'1,2,4,5'"


def test_users_underscore_is_left_alone(context: LocalContext) -> None:
    """A `_` that the user assigned stays theirs."""
    context.run("globalThis._ = 'mine'")
    context.run("42")
    assert context.value("_") == "'mine'"


def test_not_enumerable(context: LocalContext) -> None:
    """The names don't show up in Object.keys(globalThis)."""
    context.run("1")
    assert context.value("Object.keys(globalThis).length") == "0"


def test_bound(sessions: Callable[..., LocalContext]) -> None:
    """Only as many results as the setting says are kept, the oldest go first."""
    context = sessions(results_kept_max=3)
    for number in range(10):
        context.run(f"{number}")
    assert context.value("[Object.keys(Out).join(), typeof _1, _10]") == (
        "[ '8,9,10', 'undefined', 9 ]"
    )
    assert context.value("Object.keys(In).join()") == "'10,11,12'"


def test_not_stored(context: LocalContext) -> None:
    """A cell outside the history leaves no result."""
    context.run("'kept'")
    context.run("'gone'", store_history=False)
    assert context.value("_") == "'kept'"
