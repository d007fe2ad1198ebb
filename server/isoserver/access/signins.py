"""People who have signed in with a browser, which can't send keys in headers."""

from __future__ import annotations

import hashlib
import secrets
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

import msgspec
from sqlalchemy import (
    Column,
    Double,
    LargeBinary,
    String,
    Table,
    delete,
    func,
    insert,
    select,
    update,
)

from isoserver.storage.database import SHARED

if TYPE_CHECKING:
    from collections.abc import Callable

    from isoserver.storage.database import Database

__all__ = [
    "SIGN_INS",
    "SIGN_IN_SECONDS",
    "SharedSignIns",
    "SignIn",
    "SignIns",
    "SignInsHolder",
]

SIGN_INS: Final = Table(
    "sign_ins",
    SHARED,
    # What somebody has signed in with, readable only with what their browser has.
    Column("digest", String, primary_key=True),
    Column("workspace", String, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("used_at", Double, nullable=False),
)

SIGN_IN_SECONDS: Final = 12 * 3600.0
"""Without any request, after which a key is asked for again."""
_SIGN_INS_MAX: Final = 10_000
"""That are remembered; those unused for longest go."""
_NOTED_SECONDS: Final = 60.0
"""Between two notes in the database that somebody still looks at pages."""
_NONCE_BYTES: Final = 12


class SignIn(NamedTuple):
    """What somebody has signed in with.

    Attributes:
        credential: The key or token; checked anew with each request.
        workspace: The workspace that they named, if they named one.
        used: When it was last used, by the clock.
    """

    credential: str
    workspace: str | None
    used: float


class SignInsHolder(Protocol):
    """What stands in for keys and tokens.

    A cookie goes to every server on the same host, whatever its port. So it doesn't
    hold the key, but a random text that means something only here.
    """

    async def add(self, credential: str, workspace: str | None) -> str:
        """Remember a key or token; return what its owner's browser keeps."""

    async def find(self, token: str) -> SignIn | None:
        """Return what somebody signed in with; None if that is over, or never was."""

    async def end(self, token: str) -> None:
        """Forget one; nothing happens if there is none."""


class SignIns:
    """Those of one server, in memory alone; a `SignInsHolder`."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Begin with nobody.

        Args:
            clock: Returns the time in seconds.
        """
        self._clock = clock
        self._known: OrderedDict[bytes, SignIn] = OrderedDict()

    async def add(self, credential: str, workspace: str | None) -> str:
        """Remember a key or token; return what its owner's browser keeps."""
        token = secrets.token_urlsafe(32)
        self._known[_digest(token)] = SignIn(credential, workspace, self._clock())
        while len(self._known) > _SIGN_INS_MAX:
            self._known.popitem(last=False)
        return token

    async def find(self, token: str) -> SignIn | None:
        """Return what somebody signed in with; None if that is over, or never was."""
        key = _digest(token)
        found = self._known.pop(key, None)
        now = self._clock()
        if found is None or now - found.used > SIGN_IN_SECONDS:
            return None
        self._known[key] = found = found._replace(used=now)
        return found

    async def end(self, token: str) -> None:
        """Forget one; nothing happens if there is none."""
        self._known.pop(_digest(token), None)


class SharedSignIns:
    """Those of several servers, in their database; a `SignInsHolder`.

    The database alone says nothing of the keys, as they are sealed with the text that
    the browser keeps, of which it has a hash.
    """

    def __init__(self, database: Database) -> None:
        """Use a database.

        Args:
            database: The servers', which is PostgreSQL.
        """
        self._database = database

    async def add(self, credential: str, workspace: str | None) -> str:
        """Remember a key or token; see `SignInsHolder`."""
        token = secrets.token_urlsafe(32)
        nonce = secrets.token_bytes(_NONCE_BYTES)
        text = msgspec.json.encode([credential, workspace])
        sealed = nonce + _seal(token).encrypt(nonce, text, None)
        row = {
            "digest": _digest(token).hex(),
            "workspace": workspace or "",
            "sealed": sealed,
            "used_at": _NOW,
        }
        columns = SIGN_INS.c
        newest = select(columns.digest).order_by(columns.used_at.desc())
        too_many = newest.offset(_SIGN_INS_MAX).scalar_subquery()
        old = columns.used_at < _NOW - SIGN_IN_SECONDS
        async with self._database.begin() as connection:
            await connection.execute(insert(SIGN_INS).values(row))
            await connection.execute(
                delete(SIGN_INS).where(old | columns.digest.in_(too_many))
            )
        return token

    async def find(self, token: str) -> SignIn | None:
        """Return what somebody signed in with; see `SignInsHolder`."""
        columns = SIGN_INS.c
        its = columns.digest == _digest(token).hex()
        query = select(columns.sealed, _NOW - columns.used_at, _NOW).where(its)
        async with self._database.connect() as connection:
            row = (await connection.execute(query)).first()
        if row is None or row[1] > SIGN_IN_SECONDS:
            return None
        if row[1] > _NOTED_SECONDS:
            async with self._database.begin() as connection:
                await connection.execute(
                    update(SIGN_INS).where(its).values(used_at=_NOW)
                )
        sealed = bytes(row[0])
        nonce, rest = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
        text = _seal(token).decrypt(nonce, rest, None)
        credential, workspace = msgspec.json.decode(text)
        return SignIn(credential, workspace, float(row[2]))

    async def end(self, token: str) -> None:
        """Forget one; see `SignInsHolder`."""
        its = SIGN_INS.c.digest == _digest(token).hex()
        async with self._database.begin() as connection:
            await connection.execute(delete(SIGN_INS).where(its))


_NOW: Final = func.extract("epoch", func.clock_timestamp())
"""The time of the database: those of servers may differ."""


def _seal(token: str) -> Any:
    """Return what only somebody with the token can open."""
    from cryptography.hazmat.primitives.ciphers.aead import (  # noqa: PLC0415 - 20 ms
        AESGCM,
    )

    text = token.encode("utf-8", "surrogateescape")
    return AESGCM(
        hashlib.blake2b(text, digest_size=32, person=b"sign-in seal").digest()
    )


def _digest(token: str) -> bytes:
    """Return what is looked up, so that its time says nothing about tokens."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
