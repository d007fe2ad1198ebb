"""Names that change their meaning: a name server on loopback that rebinds."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.names import NameClient, NameServer, in_turn

from isokernel.capabilities import Decisions, Grant, Holder, read_policy
from isokernel.network.provider import Network
from isokernel.network.settings import NetworkSettings

if TYPE_CHECKING:
    from collections.abc import Callable

PUBLIC = "93.184.216.34"
SECONDS = 20.0
BRIEF = NetworkSettings(connect_timeout_seconds=0.5)


class World:
    """A site on loopback, which nobody may reach, and a name server."""

    def __init__(self, names: NameServer, port: int, reached: list[bytes]) -> None:
        self.names = names
        self.port = port
        self.reached = reached

    async def fetch(self, net: list[str], host: str) -> dict[str, Any]:
        """What becomes of a request to the site by a name."""
        policy = read_policy({"net": net}, public_only=True)
        decisions = Decisions()

        async def decide(asked: Any) -> None:
            await decisions.decide([policy], asked, None)

        holder = Holder(
            {"net": lambda: Network(BRIEF, NameClient(self.names.port))},
            lambda _name, _error: None,
        )
        given = f'{{"handle":1,"method":"GET","headers":[],"url":"http://{host}:{self.port}/"}}'
        answered = await holder.answer("net.open", given, None, Grant("c", decide))
        await holder.close("c")
        return {"kind": answered.kind, "text": answered.text}


def run(answers: list[list[str]], scenario: Callable[[World], Any]) -> None:
    """Run a scenario with a name server that gives these answers."""

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        reached: list[bytes] = []

        async def answer(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter
        ) -> None:
            reached.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret")
            await writer.drain()
            writer.close()

        site = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = site.sockets[0].getsockname()[1]
        transport, names = await loop.create_datagram_endpoint(
            lambda: NameServer(in_turn(answers)), local_addr=("127.0.0.1", 0)
        )
        try:
            await scenario(World(names, port, reached))
        finally:
            transport.close()
            site.close()
            await site.wait_closed()

    asyncio.run(asyncio.wait_for(serve(), SECONDS))


@pytest.mark.parametrize(
    "answers",
    [
        [["127.0.0.1"]],
        [["127.0.0.1"], [PUBLIC]],
        [["10.0.0.1", "127.0.0.1"]],
        [["0.0.0.0"]],  # noqa: S104 - which leads to this machine as well
        [["169.254.169.254"]],
    ],
)
def test_a_name_leads_to_no_private_address(answers: list[list[str]]) -> None:
    async def scenario(world: World) -> None:
        for net in (["on"], ["*"], ["rebind.example"], ["*.example"]):
            world.names.forget()
            said = await world.fetch(net, "rebind.example")
            assert said["kind"] == "error", said
            assert "capability_denied" in said["text"]
        assert not world.reached

    run(answers, scenario)


def test_what_was_decided_is_what_is_connected_to() -> None:
    """The name is looked up once: a second look would lead to this machine."""

    async def scenario(world: World) -> None:
        said = await world.fetch(["on"], "rebind.example")
        # Nobody is at the port of the public address, or nobody lets us go there.
        assert said["kind"] == "error", said
        assert "capability_denied" not in said["text"]
        assert world.names.asked == 1
        assert not world.reached

    run([[PUBLIC], ["127.0.0.1"]], scenario)


def test_of_several_addresses_only_the_allowed_ones_are_used() -> None:
    async def scenario(world: World) -> None:
        said = await world.fetch(["rebind.example", "127.0.0.1"], "rebind.example")
        assert said["kind"] == "value", said
        assert len(world.reached) == 1
        assert b"Host: rebind.example" in world.reached[0]

    run([["10.0.0.1", "127.0.0.1"]], scenario)


def test_a_name_that_is_named_with_its_network_gets_there() -> None:
    async def scenario(world: World) -> None:
        said = await world.fetch(["127.0.0.0/8"], "inside.example")
        assert said["kind"] == "value", said
        denied = await world.fetch(["10.0.0.0/8"], "inside.example")
        assert "capability_denied" in denied["text"]

    run([["127.0.0.1"]], scenario)
