"""Token buckets and rates of workspaces, with a clock of the test's own."""

from __future__ import annotations

from typing import Any

import pytest

from isoserver.access import rates
from isoserver.access.rates import Buckets, RateLimits
from isoserver.errors import RateLimitError
from isoserver.principal import Principal
from isoserver.settings.reading import read_settings

RED, BLUE = Principal("red"), Principal("blue", "somebody", admin=False)


class Clock:
    """Time that goes when the test says so."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """A clock that stands."""
    return Clock()


def test_a_bucket_is_full_at_first_and_is_refilled_evenly(clock: Clock) -> None:
    buckets = Buckets(clock)
    assert [buckets.take("a", 60) for _ in range(60)] == [0.0] * 60
    assert buckets.take("a", 60) == pytest.approx(1.0)
    clock.now += 0.75
    assert buckets.take("a", 60) == pytest.approx(0.25)
    clock.now += 0.25
    assert buckets.take("a", 60) == 0.0
    assert buckets.wait("a", 60) == pytest.approx(1.0)
    assert buckets.take("b", 60) == 0.0
    clock.now += 3600
    assert [buckets.take("a", 60) for _ in range(61)].count(0.0) == 60


def test_a_rate_below_one_a_minute(clock: Clock) -> None:
    buckets = Buckets(clock)
    assert buckets.take("a", 0.5) == 0.0
    assert buckets.take("a", 0.5) == pytest.approx(120.0)
    clock.now += 120
    assert buckets.take("a", 0.5) == 0.0


def test_buckets_do_not_pile_up(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "BUCKETS_MAX", 10)
    buckets = Buckets(clock)
    for number in range(100):
        buckets.take("used", 1000)
        buckets.take(str(number), 1)
    assert len(buckets) == 10
    assert buckets.take("used", 1000) == 0.0
    assert buckets.take("99", 1) > 0  # it is remembered
    assert buckets.take("0", 1) == 0.0  # it was forgotten


def _limits(clock: Clock, **settings: Any) -> tuple[RateLimits, list[str]]:
    refused: list[str] = []
    made = read_settings(**settings)
    return RateLimits(made, refused.append, clock), refused


def _count(limits: RateLimits, principal: Principal, kind: Any, tries: int) -> int:
    done = 0
    for _ in range(tries):
        try:
            limits.check(principal, kind)
        except RateLimitError:
            return done
        done += 1
    return done


def test_a_workspace_may_execute_a_hundred_times_a_minute(clock: Clock) -> None:
    limits, refused = _limits(clock)
    assert _count(limits, RED, "execute", 500) == 100
    with pytest.raises(RateLimitError, match="too many executions: try again in 1 s"):
        limits.check(RED._replace(client="other", admin=False), "execute")
    assert refused == ["execute_rate", "execute_rate"]
    assert _count(limits, BLUE, "execute", 500) == 100
    clock.now += 60
    assert _count(limits, RED, "execute", 500) == 100


def test_requests_have_no_bound_unless_one_is_set(clock: Clock) -> None:
    limits, refused = _limits(clock)
    assert _count(limits, RED, "request", 5000) == 5000
    assert refused == []
    limits, _ = _limits(clock, request_rate_per_minute=10, execute_rate_per_minute=0)
    assert _count(limits, RED, "request", 500) == 10
    assert _count(limits, RED, "execute", 5000) == 5000


def test_a_workspace_has_rates_of_its_own(clock: Clock) -> None:
    workspaces = [
        {"name": "red", "execute_rate_per_minute": 3, "request_rate_per_minute": 0}
    ]
    limits, _ = _limits(clock, workspaces=workspaces, request_rate_per_minute=7)
    assert _count(limits, RED, "execute", 500) == 3
    assert _count(limits, BLUE, "execute", 500) == 100
    assert _count(limits, RED, "request", 500) == 500
    assert _count(limits, BLUE, "request", 500) == 7


def test_it_is_said_when_to_come_back(clock: Clock) -> None:
    limits, _ = _limits(clock, execute_rate_per_minute=2)
    assert _count(limits, RED, "execute", 9) == 2
    with pytest.raises(RateLimitError) as caught:
        limits.check(RED, "execute")
    assert caught.value.retry_after == 30
    clock.now += caught.value.retry_after
    limits.check(RED, "execute")
