"""Heaps as files, and having a workspace own one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import update

from isoserver.heaps.content import unpack
from isoserver.heaps.records import HeapOrigin
from isoserver.heaps.tables import HEAPS

if TYPE_CHECKING:
    from tests.support.client import Client

    from isoserver.heaps.service import Heaps
    from isoserver.storage.database import Database


class Packed(NamedTuple):
    """A heap's file."""

    key: str
    data: bytes


SIZE_MAX = 64 << 20
VALUES = {"language": "javascript", "execution_count": 1, "automatic": False}


async def keep(
    heaps: Heaps, packed: Packed, workspace: str = "one", **fields: Any
) -> str:
    """Have a workspace own a heap, as if one of its contexts had it."""
    origin = HeapOrigin(workspace, **fields)
    return await heaps._add(unpack(packed.data, SIZE_MAX), origin, VALUES, no_content)


async def age(database: Database) -> None:
    """Have no heap have been used since 1970."""
    async with database.begin() as connection:
        await connection.execute(update(HEAPS).values(last_used=1.0))


def no_content(digest: str) -> bytes:
    """Return the contents of files, of which there are none."""
    raise KeyError(digest)


def checkpoint(client: Client, code: str) -> str:
    """Save a context that has run code, and delete it; the heap key."""
    here = client.create()
    client.run(code, context_id=here)
    answer = client.post(f"/contexts/{here}/checkpoint")
    assert answer.status_code == 200, answer.text
    key: str = answer.json()["heap"]
    client.delete(f"/contexts/{here}")
    return key


def restored(client: Client, key: str, code: str) -> Any:
    """What code evaluates to in a context that goes on from a heap."""
    answer = client.post("/contexts", json={"heap": key})
    assert answer.status_code == 201, answer.text
    here = answer.json()["id"]
    text = client.run(code, context_id=here)["items"][-1]["text"]
    client.delete(f"/contexts/{here}")
    return text
