"""A site on loopback, and contexts that may reach it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.support.networks import LoopThread, NetContext, Site

from isokernel.network.provider import Network

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(scope="module")
def thread() -> Iterator[LoopThread]:
    made = LoopThread()
    yield made
    made.close()


@pytest.fixture(scope="module")
def site(thread: LoopThread) -> Iterator[Site]:
    made = Site(thread)
    yield made
    made.close()


@pytest.fixture(autouse=True)
def _no_connection_stays(request: pytest.FixtureRequest) -> Iterator[None]:
    """Each test gives back its descriptors, though the site and contexts are shared."""
    yield
    names = set(request.fixturenames)
    if "online" in names:
        request.getfixturevalue("online").hang_up()
    if names & {"online", "site"}:
        request.getfixturevalue("site").end_connections()


@pytest.fixture
def open_context(thread: LoopThread, site: Site) -> Iterator[Callable[..., NetContext]]:
    """Make a context; `site` is the site's URL in it.

    Whatever `Network` takes can be given, and `decide`.
    """
    made: list[NetContext] = []

    def make(decide: Any = None, **network: Any) -> NetContext:
        providers = {"net": lambda: Network(**network)}
        decided = {} if decide is None else {"decide": decide}
        context = NetContext(thread, providers, **decided)
        made.append(context)
        context.run(f"globalThis.site = {site.url!r}")
        return context

    yield make
    for context in made:
        context.close()


@pytest.fixture(scope="module")
def online(thread: LoopThread, site: Site) -> Iterator[NetContext]:
    """A context for all of a module's tests that have no wishes of their own."""
    made = NetContext(thread, {"net": Network})
    made.run(f"globalThis.site = {site.url!r}")
    yield made
    made.close()
