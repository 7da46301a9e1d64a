"""`KernelNetwork` against a real kernel: announcements and duplicate addresses."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Iterator
from contextlib import closing

import pytest

from lbctl.core.model import Address
from lbctl.errors import NetworkError
from lbctl.network import packets, resolution
from lbctl.network.port import Link
from tests.netns.network_rig import Director, Family, director, family, hosts, peer
from tests.netns.ns_helpers import Host, eventually

__all__ = ["director", "family", "hosts", "peer"]  # fixtures

RIVAL = bytes.fromhex("020000000042")


@pytest.fixture
def wire(peer: Host, family: Family) -> Iterator[socket.socket]:
    """What comes to the peer: ARP, or neighbour discovery."""
    opened = peer.call(lambda: packets.open_socket("eth0", version=family.subnet.version))
    opened.settimeout(10)
    with closing(opened):
        yield opened


def station(mac: bytes) -> Link:
    return Link(ifindex=0, name="eth0", mac=mac, addresses=(), is_up=True, mtu=1500)


def hear(wire: socket.socket, address: Address) -> bytes:
    """The next frame about the address; others have their own business there."""
    while True:
        frame = wire.recv(2048)
        packet = resolution.parse(frame)
        if packet is not None and packet.target == address:
            return frame


def test_announce_is_seen_by_a_peer_as_gratuitous_arp_or_unsolicited_advertisement(
    director: Director, wire: socket.socket, family: Family
) -> None:
    director.loop.run(director.network.announce(director.link, family.vip))
    frame = hear(wire, family.vip)
    assert frame == resolution.announcement(director.link, family.vip)
    assert frame[0] & 1, "to everybody"


def test_announce_moves_the_vip_in_a_peers_cache(director: Director, peer: Host, family: Family) -> None:
    peer.run(f"ip neigh add {family.vip} lladdr 02:00:00:00:00:01 dev eth0 nud reachable")
    director.loop.run(director.network.announce(director.link, family.vip))
    eventually(lambda: director.link.mac.hex(":") in peer.run(f"ip neigh show {family.vip}"))


def test_announce_on_a_link_that_is_down_is_refused(director: Director, family: Family) -> None:
    director.host.run("ip link set eth0 down")
    with pytest.raises(NetworkError, match=f"announce {family.vip} on eth0"):
        director.loop.run(director.network.announce(director.link, family.vip))


def test_find_duplicate_address_taken_tells_the_mac(director: Director, peer: Host, family: Family) -> None:
    peer.run(f"ip addr add {family.vip}/{family.subnet.prefixlen} dev eth0{family.at_once}")
    assert director.loop.run(director.network.find_duplicate(director.link, family.vip)) == peer.mac


def test_find_duplicate_address_free_tells_none(director: Director, wire: socket.socket, family: Family) -> None:
    assert director.loop.run(director.network.find_duplicate(director.link, family.vip)) is None
    seen = [hear(wire, family.vip) for _ in range(3)]
    assert seen == [resolution.probe(director.link, family.vip)] * 3


def test_find_duplicate_own_address_is_no_conflict(director: Director, family: Family) -> None:
    own = next(own.ip for own in director.link.addresses if own.ip in family.subnet)
    assert director.loop.run(director.network.find_duplicate(director.link, own)) is None


def found_against(
    director: Director, wire: socket.socket, vip: Address, frame: bytes, *, spacing_s: float
) -> bytes | None:
    """What is found when this frame comes in answer to the first probe."""

    async def probe_against_a_rival() -> bytes | None:
        probing = asyncio.create_task(director.network.find_duplicate(director.link, vip, spacing_s=spacing_s))
        await asyncio.to_thread(hear, wire, vip)
        wire.send(frame)
        return await probing

    return director.loop.run(probe_against_a_rival())


def test_find_duplicate_rival_that_probes_too_is_told(director: Director, wire: socket.socket, family: Family) -> None:
    probe = resolution.probe(station(RIVAL), family.vip)
    assert found_against(director, wire, family.vip, probe, spacing_s=5) == RIVAL


def test_find_duplicate_station_of_another_vlan_is_no_conflict(
    director: Director, wire: socket.socket, family: Family
) -> None:
    """On a trunk frames of all VLANs arrive; the kernel shows those that it has no interface for with their tag taken off."""
    frame = resolution.announcement(station(RIVAL), family.vip)
    tagged = frame[:12] + struct.pack("!HH", 0x8100, 30) + frame[12:]
    assert found_against(director, wire, family.vip, tagged, spacing_s=0.2) is None


def test_find_duplicate_station_in_a_priority_tagged_frame_is_told(
    director: Director, wire: socket.socket, family: Family
) -> None:
    frame = resolution.announcement(station(RIVAL), family.vip)
    tagged = frame[:12] + struct.pack("!HH", 0x8100, 5 << 13) + frame[12:]
    assert found_against(director, wire, family.vip, tagged, spacing_s=5) == RIVAL
