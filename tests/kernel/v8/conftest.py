"""An isolate with a small host, for tests below the context."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.support.isolates import HostedIsolate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from isokernel.v8.snapshot import Snapshot


@pytest.fixture
def benches() -> Iterator[Callable[..., HostedIsolate]]:
    """Makes benches; closes their isolates at the end."""
    made: list[HostedIsolate] = []

    def make(saved: Snapshot | None = None) -> HostedIsolate:
        made.append(HostedIsolate(saved))
        return made[-1]

    yield make
    for bench in made:
        bench.isolate.close()


@pytest.fixture
def bench(benches: Callable[..., HostedIsolate]) -> HostedIsolate:
    """One bench."""
    return benches()
