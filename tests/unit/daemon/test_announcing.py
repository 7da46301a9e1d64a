"""Who is told of VIPs, and where those of IPv6 are asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from ipaddress import IPv6Address

import pytest

from lbctl.core.model import Address, Announce, Protocol, Service
from lbctl.core.tables import ROUTED, Lan
from lbctl.daemon import surroundings
from lbctl.daemon.announcing import Announcer
from lbctl.daemon.surroundings import Surroundings
from lbctl.network.fake import FakeNetwork
from lbctl.network.port import Link
from tests.unit.daemon.rig import LAN, LINK, VIP

VIP6 = IPv6Address("2001:db8::100")
ROUTED_VIP6 = IPv6Address("2001:db8:f::100")
VLAN20 = replace(LINK, ifindex=20, name="eth0.20", device=LINK.ifindex, vlan=20)
LINKS = {"eth0": LINK, "eth0.20": VLAN20}


def service(vip: Address, *, interface: str = "eth0", announce: Announce = Announce.ARP) -> Service:
    return Service(
        name=str(vip),
        vip=vip,
        ports=(104,),
        protocol=Protocol.TCP,
        pool="p",
        interface=interface,
        idle_timeout_s=60,
        announce=announce,
    )


class Booth:
    """An announcer on a fake network with ``eth0`` and VLAN 20 of it."""

    def __init__(self) -> None:
        self.network = FakeNetwork(LINKS.values())
        self.surroundings = Surroundings(self.network)
        self.announcer = Announcer(self.surroundings)
        self.removed: dict[Address, Lan] = {}
        self.claimed: frozenset[Address] = frozenset()

    async def announce(self, *services: Service, **places: Lan) -> list[tuple[str, Address]]:
        """What is announced once, now that the VIPs of these services are active where they say."""
        self.network.announcements.clear()
        lans = {each.vip: places.get(each.interface.replace(".", "_"), LAN) for each in services}
        active = {vip: lan for vip, lan in lans.items() if vip != ROUTED_VIP6} | self.removed
        self.announcer.announce_new(frozenset(lans), active=active, forwarding=LINKS, claimed=lambda: self.claimed)
        await asyncio.sleep(0)
        return list(self.network.announcements)


def play(scene: Callable[[Booth], Awaitable[None]]) -> None:
    async def playing() -> None:
        booth = Booth()
        try:
            await scene(booth)
        finally:
            await booth.surroundings.close()

    asyncio.run(playing())


def test_vip_of_either_family_is_announced_once_and_a_routed_one_never() -> None:
    async def scene(booth: Booth) -> None:
        services = (service(VIP), service(VIP6), service(ROUTED_VIP6, announce=Announce.ROUTED))
        assert await booth.announce(*services) == [("eth0", VIP), ("eth0", VIP6)]
        assert await booth.announce(*services) == []

    play(scene)


def test_vip_that_moves_to_another_vlan_is_announced_there() -> None:
    async def scene(booth: Booth) -> None:
        await booth.announce(service(VIP))
        moved = await booth.announce(service(VIP, interface="eth0.20"), eth0_20=Lan(2, 20))
        assert moved == [("eth0.20", VIP)]

    play(scene)


def test_vip_that_is_still_answered_for_elsewhere_is_announced_there_alone() -> None:
    async def scene(booth: Booth) -> None:
        assert await booth.announce(service(VIP, interface="eth0.20"), eth0_20=LAN) == [("eth0", VIP)]

    play(scene)


def test_vip_that_was_removed_and_has_connections_is_announced_when_the_mac_changes() -> None:
    """Else its clients go on sending to a MAC that is nobody's."""

    async def scene(booth: Booth) -> None:
        booth.removed = {VIP6: LAN}
        await booth.announce(service(VIP))
        booth.announcer.links_changed(before=LINKS, after=LINKS | {"eth0": replace(LINK, mac=bytes(5) + b"\7")})
        assert await booth.announce(service(VIP)) == [("eth0", VIP), ("eth0", VIP6)]

    play(scene)


def test_vip_that_was_removed_and_is_somebody_elses_now_is_not_announced() -> None:
    async def scene(booth: Booth) -> None:
        booth.removed, booth.claimed = {VIP6: LAN}, frozenset({VIP, VIP6})
        assert await booth.announce(service(VIP)) == [("eth0", VIP)]

    play(scene)


@pytest.mark.parametrize("change", [{"mac": bytes(5) + b"\7"}, {"ifindex": 21}, {"device": 7}, {"vlan": 21}])
def test_interface_that_changed_is_an_occasion_to_announce_its_vips(change: dict[str, object]) -> None:
    async def scene(booth: Booth) -> None:
        services = [service(VIP), service(VIP6, interface="eth0.20")]
        after = LINKS | {"eth0.20": replace(VLAN20, **change)}  # type: ignore[arg-type]
        await booth.announce(*services, eth0_20=Lan(2, 20))
        booth.announcer.links_changed(before=LINKS, after=after)
        assert [vip for _, vip in await booth.announce(*services, eth0_20=Lan(2, 20))] == [VIP6]

    play(scene)


def test_interface_listens_for_the_ipv6_vips_that_are_announced_on_it() -> None:
    active: Mapping[Address, Lan] = {VIP: LAN, VIP6: Lan(2, 20), ROUTED_VIP6: ROUTED}

    async def scene(booth: Booth) -> None:
        await booth.announcer.listen(LINKS, active=active)
        assert booth.network.listened_for == {2: frozenset(), 20: {VIP6}}
        await booth.announcer.listen(LINKS, active={})
        assert booth.network.listened_for == {2: frozenset(), 20: frozenset()}

    play(scene)


def test_interface_that_came_up_again_listens_again() -> None:
    async def scene(booth: Booth) -> None:
        down = LINKS | {"eth0": replace(LINK, is_up=False)}
        await booth.announcer.listen(LINKS, active={VIP6: LAN})
        for before, after in ((LINKS, down), (down, LINKS)):
            booth.network.listened_for.clear()
            booth.announcer.links_changed(before=before, after=after)
            await booth.announcer.listen(after, active={VIP6: LAN})
        assert booth.network.listened_for == {2: {VIP6}}

    play(scene)


def test_defence_is_a_single_announcement_and_only_where_there_is_a_link(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surroundings, "ANNOUNCEMENT_SPACING_S", 0)
    services = [service(VIP), service(ROUTED_VIP6, announce=Announce.ROUTED), service(VIP6, interface="eth9")]

    async def scene(booth: Booth) -> None:
        booth.announcer.defend([VIP, ROUTED_VIP6, VIP6], services, links=LINKS)
        for _ in range(10):
            await asyncio.sleep(0)
        assert booth.network.announcements == [("eth0", VIP)]

    play(scene)


def test_announcements_to_come_are_made_at_once_when_the_daemon_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of a NIC that has just come back may have met a switch port that did not forward yet."""
    monkeypatch.setattr(surroundings, "ANNOUNCEMENT_SPACING_S", 3600)

    async def scene(booth: Booth) -> None:
        around = Surroundings(booth.network)
        around.announce([VIP, VIP6], LINK)
        around.announce([VIP], VLAN20, times=1)
        for _ in range(10):
            await asyncio.sleep(0)
        booth.network.announcements.clear()
        await around.close()
        assert booth.network.announcements == [("eth0", VIP), ("eth0", VIP6)]

    play(scene)


class MacNetwork(FakeNetwork):
    """Notes with which MACs announcements are made."""

    def __init__(self) -> None:
        super().__init__(LINKS.values())
        self.announced_with: list[bytes] = []

    async def announce(self, link: Link, vip: Address) -> None:
        self.announced_with.append(link.mac)


def test_mac_that_changes_amid_announcements_is_the_only_one_announced_from_then_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(surroundings, "ANNOUNCEMENT_SPACING_S", 0)
    network, now = MacNetwork(), replace(LINK, mac=b"\2\0\0\0\0\7")

    async def scene(_: Booth) -> None:
        around = Surroundings(network)
        around.announce([VIP], LINK)
        await asyncio.sleep(0)
        around.announce([VIP], now)
        for _turn in range(20):
            await asyncio.sleep(0)
        await around.close()

    play(scene)
    assert network.announced_with == [LINK.mac, now.mac, now.mac, now.mac]
