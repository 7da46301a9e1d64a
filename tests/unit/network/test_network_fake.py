"""The fake behaves as the daemon's tests rely on."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv6Address

from lbctl.network.fake import FakeNetwork
from lbctl.network.port import Link, LinkChanged, Neighbour, NeighbourChanged, Network, ProbePath

SERVER = IPv4Address("192.0.2.11")
VIP = IPv4Address("192.0.2.100")
VIP6 = IPv6Address("2001:db8::100")
MAC = bytes.fromhex("020000000011")
NEW_MAC = bytes.fromhex("020000000012")
LINK = Link(
    ifindex=2,
    name="eth0",
    mac=bytes.fromhex("020000000001"),
    addresses=(IPv4Interface("192.0.2.10/24"),),
    is_up=True,
    mtu=1500,
)


def as_port(network: Network) -> Network:
    """For mypy: the fake is a `Network`."""
    return network


async def entry(network: FakeNetwork) -> Neighbour:
    (only,) = await network.neighbours(LINK.ifindex)
    return only


def test_fake_manages_releases_and_tells() -> None:
    async def scenario() -> None:
        fake = FakeNetwork([LINK], macs={SERVER: MAC})
        network = as_port(fake)
        await network.manage_neighbours(2, [SERVER])
        assert (await entry(fake)).mac == MAC
        events = aiter(network.events())
        assert await anext(events) == NeighbourChanged(neighbour=await entry(fake))

        fake.move_neighbour(2, SERVER, NEW_MAC)
        assert await anext(events) == NeighbourChanged(neighbour=await entry(fake))
        assert (await entry(fake)).mac == NEW_MAC

        fake.move_neighbour(2, SERVER, None)
        await anext(events)
        assert ((await entry(fake)).state, (await entry(fake)).usable) == ("failed", False)

        await network.release_neighbours(2, [SERVER])
        assert await anext(events) == NeighbourChanged(
            neighbour=Neighbour(ifindex=2, address=SERVER, mac=None, usable=False, state="deleted")
        )
        assert await network.neighbours(2) == ()

    asyncio.run(scenario())


def test_fake_pushed_link_change_is_seen_by_link() -> None:
    async def scenario() -> None:
        fake = FakeNetwork([LINK])
        down = replace(LINK, is_up=False)
        fake.push(LinkChanged(ifindex=2, link=down))
        assert await fake.link("eth0") == down

    asyncio.run(scenario())


def test_fake_permanent_entry_is_left_alone() -> None:
    async def scenario() -> None:
        fake = FakeNetwork([LINK], macs={SERVER: MAC})
        pinned = Neighbour(ifindex=2, address=SERVER, mac=NEW_MAC, usable=True, state="permanent")
        fake.push(NeighbourChanged(neighbour=pinned))
        await fake.manage_neighbours(2, [SERVER])
        await fake.release_neighbours(2, [SERVER])
        assert await entry(fake) == pinned

    asyncio.run(scenario())


def test_fake_records_what_was_asked_of_it() -> None:
    async def scenario() -> None:
        fake = FakeNetwork([LINK])
        fake.duplicates[VIP] = MAC
        paths = frozenset([ProbePath(mark=1, vips=frozenset([VIP]), via=SERVER, ifindex=2)])
        await fake.announce(LINK, VIP)
        await fake.set_probe_paths(paths)
        assert fake.announcements == [("eth0", VIP)]
        assert fake.paths == paths
        assert await fake.find_duplicate(LINK, VIP) == MAC
        assert await fake.find_duplicate(LINK, VIP6) is None
        await fake.listen_for(2, frozenset([VIP6]))
        assert fake.listened_for == {2: {VIP6}}
        assert (await fake.untag(2), fake.untagged) == ("", {2})
        await fake.close()
        assert fake.is_closed

    asyncio.run(scenario())


def test_fake_interface_that_keeps_its_tags_says_why() -> None:
    async def scenario() -> None:
        fake = FakeNetwork([LINK])
        fake.taggers[2] = "its driver has it fixed"
        assert (await fake.untag(2), fake.untagged) == ("its driver has it fixed", set())

    asyncio.run(scenario())
