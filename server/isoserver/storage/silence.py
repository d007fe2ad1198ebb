"""Sessions with PostgreSQL, which nobody waits for once it says nothing any more.

A machine that can't be reached is noticed by the kernel, as it acknowledges nothing.
One that acknowledges what it gets and answers nothing (PostgreSQL is stopped, its disk
hangs) looks like one that takes long. So a statement has a bound, and who finds out
otherwise that the database is silent ends all sessions: whoever waits is told at once.

PostgreSQL likewise: a server that was lost amid a transaction holds what others wait
for, until its session is ended. By itself, PostgreSQL would do that after two hours.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import Any, Final
from weakref import WeakSet

import asyncpg

from isokernel.timeouts import timeout

__all__ = ["UNHEARD", "Sessions"]

UNHEARD: Final = {
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "3",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "15000",  # ms
    # One that is stopped acknowledges what it gets, and its machine stays.
    "idle_in_transaction_session_timeout": "30000",  # ms
}
"""Variables by which PostgreSQL ends a session whose server isn't heard of."""
_CONNECT_SECONDS: Final = 5.0
_ANSWER_SECONDS: Final = 25.0
"""Less than clients have who wait for half a minute; few statements take a second."""
_CLOSE_SECONDS: Final = 2.0
_WATCHING: Final = (
    # Who waits for a server that can't be reached any more is told by the kernel.
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 4),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 2),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 10_000),
)


class _Session(asyncpg.Connection):  # type: ignore[misc]  # it has no types
    """A session that is closed in time, whether the database takes note or not."""

    async def close(self, *, timeout: float | None = None) -> None:
        """Close it; one that doesn't answer is cut off."""
        del timeout
        with suppress(OSError, asyncio.TimeoutError, asyncpg.PostgresError):
            await _within(super().close())


async def _within(closing: Any) -> None:
    async with timeout(_CLOSE_SECONDS):
        await closing


class Sessions:
    """The sessions of one server. In the event loop only.

    Attributes:
        last: Whether a silence is the end: none is begun after it.
    """

    def __init__(self) -> None:
        """Begin without one."""
        self.last = False
        self._over = False
        self._open: WeakSet[_Session] = WeakSet()

    async def begin(self, *place: Any, **options: Any) -> _Session:
        """Begin one; called by SQLAlchemy with what asyncpg is told.

        Raises:
            OSError: The database can't be reached, or isn't to be any more.
            asyncio.TimeoutError: It doesn't answer.
        """
        self._check()
        limits = {"timeout": _CONNECT_SECONDS, "command_timeout": _ANSWER_SECONDS}
        try:
            made: _Session = await asyncpg.connect(
                *place, connection_class=_Session, **limits, **options
            )
        except asyncio.TimeoutError:
            if self.last:
                self.give_up()
            raise
        try:
            self._check()  # it may be over by now
        except ConnectionAbortedError:
            made.terminate()
            raise
        its = made._transport.get_extra_info("socket")  # noqa: SLF001 - there is no other way
        if its.family != socket.AF_UNIX:
            for level, name, value in _WATCHING:
                its.setsockopt(level, name, value)
        self._open.add(made)
        return made

    def _check(self) -> None:
        if self._over:
            message = "the database isn't asked any more"
            raise ConnectionAbortedError(message)

    def hang_up(self) -> None:
        """End all, as the database is silent: whoever waits for it is told so."""
        self._over = self._over or self.last
        for session in tuple(self._open):
            session.terminate()

    def give_up(self) -> None:
        """End all, and begin none any more."""
        self.last = True
        self.hang_up()
