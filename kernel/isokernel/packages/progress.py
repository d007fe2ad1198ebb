"""How far the downloads of one import have come, and when anybody is told."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, NamedTuple

from isokernel.capabilities import Stage

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from isokernel.packages.registry import Received

__all__ = ["Announcer", "Progress", "Reports"]

_STEP_SECONDS: Final = 0.1
"""At most so often is progress reported, but for the end."""
_QUIET_SECONDS: Final = 0.5
"""Nobody is told of downloads that take no longer."""
_MB: Final = 1e6


class Progress(NamedTuple):
    """How far the downloads of one import have come.

    Attributes:
        package: What has come last, as name@version.
        packages_done: Packages that have come.
        packages_total: Packages that are known to be needed so far.
        bytes_done: Bytes that have come.
        bytes_total: Bytes that are known to come.
    """

    package: str
    packages_done: int
    packages_total: int
    bytes_done: int
    bytes_total: int

    @property
    def text(self) -> str:
        """All of it as one line."""
        return (
            f"Downloading packages: {self.packages_done} of {self.packages_total}, "
            f"{_shown(self.bytes_done)} of {_shown(self.bytes_total)} MB "
            f"({self.package})"
        )


class Reports:
    """Tells how far the downloads of one import have come."""

    def __init__(self, tell: Callable[[Progress], Awaitable[None]] | None) -> None:
        self._tell = tell
        self._needed: set[str] = set()
        self._there: set[str] = set()
        self._bytes: dict[str, tuple[int, int]] = {}
        self._told = 0.0

    def needs(self, package: str) -> None:
        """Count a package that is needed."""
        self._needed.add(package)

    async def received(self, received: Received) -> None:
        """Count bytes that have come."""
        total = received.bytes_total or received.bytes_done
        self._bytes[received.what] = (received.bytes_done, total)
        await self._report(received.what)

    async def has(self, package: str) -> None:
        """Count a package that is there."""
        self._there.add(package)
        if package in self._bytes:  # what was in the cache is nobody's wait
            await self._report(package, last=self._there == self._needed)

    async def _report(self, package: str, *, last: bool = False) -> None:
        now = time.monotonic()
        if self._tell is None or (now < self._told + _STEP_SECONDS and not last):
            return
        self._told = now
        done = sum(pair[0] for pair in self._bytes.values())
        total = sum(pair[1] for pair in self._bytes.values())
        there, needed = len(self._there), len(self._needed)
        await self._tell(Progress(package, there, needed, done, total))


class Announcer:
    """Tells whoever shows it of the downloads of one import, if they take long."""

    def __init__(self, tell: Callable[[Stage], None]) -> None:
        """Say nothing yet.

        Args:
            tell: See `Grant.tell`.
        """
        self._tell = tell
        self._begun: float | None = None
        self._last: Progress | None = None
        self._told = False

    async def progress(self, step: Progress) -> None:
        """Take a report; see `Access.progress`."""
        now = time.monotonic()
        if self._begun is None:
            self._begun = now
        self._last = step
        if now - self._begun < _QUIET_SECONDS and not self._told:
            return
        self._told = True
        self._tell(Stage(step.text, step.bytes_done, step.bytes_total))

    def close(self, *, failed: bool) -> None:
        """Tell those who have heard of it that it is over."""
        step = self._last
        if not self._told or step is None or self._begun is None:
            return
        seconds = time.monotonic() - self._begun
        done, size = step.packages_done, _shown(step.bytes_done)
        many = "package" if done == 1 else "packages"
        if failed:
            text = f"Downloaded {done} of {step.packages_total} packages ({size} MB)"
        else:
            text = f"Downloaded {done} {many} ({size} MB) in {seconds:.1f} s"
        self._tell(Stage(text, step.bytes_done, step.bytes_total, over=True))


def _shown(size: int) -> str:
    return f"{size / _MB:.1f}"
