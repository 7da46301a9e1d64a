"""The contract of `Network`, on the kernel and on its twin."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from ipaddress import IPv4Interface, IPv6Address, IPv6Interface, ip_address
from types import SimpleNamespace

import pytest

from lbctl.core.model import Address
from lbctl.errors import NetworkError
from lbctl.network.fake import FakeNetwork
from lbctl.network.port import Link, Neighbour, NeighbourChanged, Network
from tests.netns.network_rig import Director, Family, director, family, hosts, peer
from tests.netns.ns_helpers import Host

__all__ = ["director", "family", "hosts", "peer"]  # fixtures


@pytest.fixture(params=["kernel", "fake"])
def either(request: pytest.FixtureRequest, family: Family) -> Iterator[SimpleNamespace]:
    """A network with one peer that answers for its address, and the loop to run it in."""
    if request.param == "kernel":
        director: Director = request.getfixturevalue("director")
        peer: Host = request.getfixturevalue("peer")
        yield SimpleNamespace(
            run=director.loop.run, network=director.network, peer=ip_address(family.of(peer)), peer_mac=peer.mac
        )
        return
    peer_address, peer_mac = family.subnet[2], bytes.fromhex("020000000002")
    link = Link(
        ifindex=2,
        name="eth0",
        mac=bytes.fromhex("020000000001"),
        addresses=(IPv4Interface("10.77.0.1/24"), IPv6Interface("fd77::1/64")),
        is_up=True,
        mtu=1500,
    )
    with asyncio.Runner() as runner:
        network = FakeNetwork([link], macs={peer_address: peer_mac})
        yield SimpleNamespace(run=runner.run, network=network, peer=peer_address, peer_mac=peer_mac)


async def entry_of(network: Network, address: Address) -> Neighbour | None:
    link = await network.link("eth0")
    return next((entry for entry in await network.neighbours(link.ifindex) if entry.address == address), None)


async def resolved(network: Network, address: Address) -> Neighbour:
    async with asyncio.timeout(10):
        while True:
            entry = await entry_of(network, address)
            if entry is not None and entry.usable:
                return entry
            await asyncio.sleep(0.01)  # the pause between two looks


async def first_news_of(network: Network, address: Address) -> Neighbour:
    async with asyncio.timeout(10):
        async for event in network.events():
            if isinstance(event, NeighbourChanged) and event.neighbour.address == address:
                return event.neighbour
    raise AssertionError("the stream ended")


def test_contract_managed_neighbour_is_resolved_and_released(either: SimpleNamespace) -> None:
    async def scenario() -> None:
        link = await either.network.link("eth0")
        await either.network.manage_neighbours(link.ifindex, [either.peer])
        await either.network.manage_neighbours(link.ifindex, [either.peer])
        assert (await resolved(either.network, either.peer)).mac == either.peer_mac
        assert (await first_news_of(either.network, either.peer)).mac == either.peer_mac
        await either.network.release_neighbours(link.ifindex, [either.peer])
        await either.network.release_neighbours(link.ifindex, [either.peer])
        assert await entry_of(either.network, either.peer) is None

    either.run(scenario())


def test_contract_unknown_link_and_index_are_refused(either: SimpleNamespace) -> None:
    with pytest.raises(NetworkError, match="nic9"):
        either.run(either.network.link("nic9"))
    with pytest.raises(NetworkError, match="4711"):
        either.run(either.network.manage_neighbours(4711, [either.peer]))


def test_contract_free_vip_has_no_duplicate_and_can_be_announced(either: SimpleNamespace, family: Family) -> None:
    async def scenario() -> None:
        link = await either.network.link("eth0")
        assert await either.network.find_duplicate(link, family.vip) is None
        await either.network.announce(link, family.vip)

    either.run(scenario())


def test_contract_owned_neighbours_are_the_managed_ones(either: SimpleNamespace) -> None:
    async def scenario() -> None:
        link = await either.network.link("eth0")
        assert await either.network.owned_neighbours(link.ifindex) == frozenset()
        await either.network.manage_neighbours(link.ifindex, [either.peer])
        assert await either.network.owned_neighbours(link.ifindex) == {either.peer}

    either.run(scenario())


def test_contract_listening_and_untagging_are_idempotent_and_need_an_interface(either: SimpleNamespace) -> None:
    async def scenario() -> None:
        link = await either.network.link("eth0")
        for _ in range(2):
            await either.network.listen_for(link.ifindex, frozenset([IPv6Address("fd77::100")]))
            assert await either.network.untag(link.ifindex) == ""
        with pytest.raises(NetworkError, match="4711"):
            await either.network.listen_for(4711, frozenset())
        with pytest.raises(NetworkError, match="4711"):
            await either.network.untag(4711)

    either.run(scenario())
