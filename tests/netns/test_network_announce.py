"""`KernelNetwork` against a real kernel: announcements and duplicate addresses."""

from __future__ import annotations

import asyncio
import socket
from contextlib import closing

import pytest

from lbctl.errors import NetworkError
from lbctl.network import arp
from tests.netns.network_rig import ETH_P_ARP, VIP, Director, director, hosts, peer
from tests.netns.ns_helpers import Host, eventually

__all__ = ["director", "hosts", "peer"]  # fixtures


def arp_listener(host: Host) -> socket.socket:
    def open_it() -> socket.socket:
        listener = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ARP))
        listener.bind(("eth0", ETH_P_ARP))
        listener.settimeout(10)
        return listener

    return host.call(open_it)


def test_announce_is_seen_by_a_peer_as_gratuitous_arp(director: Director, peer: Host) -> None:
    with closing(arp_listener(peer)) as listener:
        director.loop.run(director.network.announce(director.link, VIP))
        frame = listener.recv(2048)
    assert frame[:6] == arp.BROADCAST
    assert arp.parse(frame) == arp.ArpPacket(
        operation=arp.REQUEST, sender_mac=director.link.mac, sender=VIP, target=VIP
    )


def test_announce_moves_the_vip_in_a_peers_cache(director: Director, peer: Host) -> None:
    peer.run(f"ip neigh add {VIP} lladdr 02:00:00:00:00:01 dev eth0 nud reachable")
    director.loop.run(director.network.announce(director.link, VIP))
    eventually(lambda: director.link.mac.hex(":") in peer.run(f"ip neigh show {VIP}"))


def test_announce_on_a_link_that_is_down_is_refused(director: Director) -> None:
    director.host.run("ip link set eth0 down")
    with pytest.raises(NetworkError, match=f"announce {VIP} on eth0"):
        director.loop.run(director.network.announce(director.link, VIP))


def test_find_duplicate_address_taken_tells_the_mac(director: Director, peer: Host) -> None:
    peer.run(f"ip addr add {VIP}/24 dev eth0")
    assert director.loop.run(director.network.find_duplicate(director.link, VIP)) == peer.mac


def test_find_duplicate_address_free_tells_none(director: Director, hosts: tuple[Host, ...]) -> None:
    with closing(arp_listener(hosts[1])) as listener:
        assert director.loop.run(director.network.find_duplicate(director.link, VIP)) is None
        seen = [arp.parse(listener.recv(2048)) for _ in range(3)]
    probe = arp.ArpPacket(operation=arp.REQUEST, sender_mac=director.link.mac, sender=arp.UNSPECIFIED, target=VIP)
    assert seen == [probe] * 3


def test_find_duplicate_own_address_is_no_conflict(director: Director) -> None:
    own = director.link.addresses[0].ip
    assert director.loop.run(director.network.find_duplicate(director.link, own)) is None


def test_find_duplicate_rival_that_probes_too_is_told(director: Director, peer: Host) -> None:
    rival = bytes.fromhex("020000000042")
    with closing(arp_listener(peer)) as wire:

        async def probe_against_a_rival() -> bytes | None:
            probing = asyncio.create_task(director.network.find_duplicate(director.link, VIP, spacing_s=5))
            await asyncio.to_thread(wire.recv, 2048)
            wire.send(arp.probe(mac=rival, address=VIP))
            return await probing

        assert director.loop.run(probe_against_a_rival()) == rival
