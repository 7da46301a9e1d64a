"""Another station says that a VIP is its own: the director tells who it is, and says once more whose it is."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from lbctl.core.model import Address
from lbctl.daemon.models import ClaimStatus
from lbctl.lab.daemon import Daemon
from lbctl.lab.node import Node
from lbctl.lab.topology import VIP, VIP6, Lab, plan_lab
from lbctl.lab.wait import wait_until
from tests.netns.director_rig import ArpEar, asks_for, connects, status
from tests.netns.wide_rig import directing_wide, packets, wide_configuration

DEFENDED_WITHIN_S = 5.0
"""Of a first claim, for which the director looks every second."""
_NEIGHBOUR_ADVERTISEMENT = 136
_TO_ALL = "33:33:00:00:00:01"
_OVERRIDE = 0x2000_0000


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(plan_lab(backends=2, clients=2, ipv6=True)) as built:
        yield built


@pytest.fixture(scope="module")
def daemon(lab: Lab) -> Iterator[Daemon]:
    """What it announced at its start is past."""
    with directing_wide(lab, wide_configuration(lab)) as running:
        wait_until(lambda: status(running).daemon.uptime_s > 8, deadline_s=20, what="the start's announcements to end")
        yield running


def claim(node: Node, vip: Address) -> None:
    """Tell everybody that the VIP is the node's."""
    if vip.version == 4:
        node.run(["arping", "-c1", "-U", "-I", "eth0", str(vip)], check=False)
    else:
        advertise(node, vip)


def advertise(node: Node, vip: Address) -> None:
    """An unsolicited neighbour advertisement to all nodes (RFC 4861 sections 4.4 and 7.2.6)."""
    target = bytes([2, 1]) + bytes.fromhex(node.mac.replace(":", ""))
    message = struct.pack(">BBHI", _NEIGHBOUR_ADVERTISEMENT, 0, 0, _OVERRIDE) + vip.packed + target
    with node.enter(), socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as raw:
        raw.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
        raw.sendto(message, ("ff02::1", 0, 0, socket.if_nametoindex("eth0")))


@contextmanager
def owning(node: Node, vip: Address) -> Iterator[None]:
    """The address is on the node's NIC, where it must not be."""
    prefix = f"{vip}/{vip.max_prefixlen}"
    node.ip(f"address add {prefix} dev eth0")
    try:
        yield
    finally:
        node.ip(f"address delete {prefix} dev eth0")


def claims(daemon: Daemon, vip: Address, node: Node) -> list[ClaimStatus]:
    return [row for row in status(daemon).claims if row.vip == vip and row.mac == node.mac]


class AdvertisementEar:
    """Hears the unsolicited neighbour advertisements that reach a node."""

    def __init__(self, node: Node) -> None:
        with node.enter():
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            self._socket.bind((node.interface, 0x86DD))
        self._socket.settimeout(0.2)

    def hears(self, vip: Address, mac: str) -> bool:
        """Whether one comes in time that says that the VIP is at this MAC."""
        with suppress(TimeoutError):
            frame = self._socket.recv(2048)
            is_advertisement = frame[20] == socket.IPPROTO_ICMPV6 and frame[54] == _NEIGHBOUR_ADVERTISEMENT
            return is_advertisement and frame[62:78] == vip.packed and frame[:12].hex(":") == f"{_TO_ALL}:{mac}"
        return False

    def close(self) -> None:
        self._socket.close()


class AnnouncementEar:
    """Hears the gratuitous ARP packets that reach a node."""

    def __init__(self, node: Node) -> None:
        self._ear = ArpEar(node)

    def hears(self, vip: Address, mac: str) -> bool:
        """Whether one comes in time that says that the VIP is at this MAC."""
        with suppress(TimeoutError):
            packet = self._ear.next(deadline_s=0.2)
            return packet.sender == packet.target == vip and packet.sender_mac.hex(":") == mac
        return False

    def close(self) -> None:
        self._ear.close()


@pytest.mark.parametrize("vip", [VIP, VIP6], ids=["ipv4", "ipv6"])
def test_claim_of_a_stranger_is_told_with_its_mac_and_answered(lab: Lab, daemon: Daemon, vip: Address) -> None:
    client, stranger = lab.clients
    ear = (AnnouncementEar if vip.version == 4 else AdvertisementEar)(client)
    assert connects(client, vip=vip, timeout_s=5)
    with owning(stranger, vip):
        claim(stranger, vip)
        wait_until(
            lambda: ear.hears(vip, lab.director.mac),
            deadline_s=DEFENDED_WITHIN_S,
            what="the director to say whose the VIP is",
        )
        assert connects(client, vip=vip, timeout_s=5)  # by what it learnt last
        (told,) = wait_until(lambda: claims(daemon, vip, stranger), deadline_s=5, what="the claim to be told")
    ear.close()
    assert (told.backend, told.times) == (None, 1)
    assert str(vip) in told.message
    assert stranger.mac in told.message
    assert told.message in daemon.log.read_text()
    shown = daemon.ctl("status").stdout
    print(f"\n{shown}")
    assert told.message in " ".join(shown.split())
    assert packets(daemon, "vip_claimed") > 0


def test_claim_of_a_backend_names_it_and_says_what_to_set(lab: Lab, daemon: Daemon) -> None:
    """The classic: the VIP is on its loopback, but its kernel says so to everybody who asks, and when it asks itself."""
    node, client = lab.backends[0], lab.clients[0]
    for scope in ("all", "eth0"):
        node.sysctl(f"ipv4/conf/{scope}/arp_ignore", 0)
        node.sysctl(f"ipv4/conf/{scope}/arp_announce", 0)
    try:
        assert node.mac in asks_for(client, VIP)

        def is_told() -> list[ClaimStatus]:
            node.run(["arping", "-c1", "-w1", "-s", str(VIP), "-I", "eth0", str(client.address)], check=False)
            return claims(daemon, VIP, node)

        (told,) = wait_until(is_told, deadline_s=10, what="the claim to be told")
        assert told.backend == "servers/backend1"
        assert "servers/backend1 answers ARP for the VIP" in told.message
        assert "arp_ignore" in told.message
    finally:
        for scope in ("all", "eth0"):
            node.sysctl(f"ipv4/conf/{scope}/arp_ignore", 1)
            node.sysctl(f"ipv4/conf/{scope}/arp_announce", 2)
