"""Whom one asks from, and how, for an address of either family."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface

from lbctl.network import arp, ndp, resolution
from lbctl.network.port import Link

OURS = bytes.fromhex("02000000000a")
SERVER, SERVER6 = IPv4Address("192.0.2.11"), IPv6Address("2001:db8::11")


def link(*addresses: IPv4Interface | IPv6Interface) -> Link:
    return Link(ifindex=2, name="eth0", mac=OURS, addresses=addresses, is_up=True, mtu=1500)


def asked_from(asking: Link, target: IPv4Address | IPv6Address) -> object:
    packet = resolution.parse(resolution.question(asking, target, to=None))
    assert packet is not None
    return packet.sender


def test_question_is_asked_from_the_own_address_in_the_targets_subnet() -> None:
    asking = link(
        IPv4Interface("198.51.100.10/24"),
        IPv6Interface("2001:db8:1::10/64"),
        IPv4Interface("192.0.2.10/24"),
        IPv6Interface("2001:db8::10/64"),
    )
    assert asked_from(asking, SERVER) == IPv4Address("192.0.2.10")
    assert asked_from(asking, SERVER6) == IPv6Address("2001:db8::10")


def test_question_for_an_ipv4_address_off_subnet_is_asked_from_none() -> None:
    assert asked_from(link(IPv4Interface("198.51.100.10/24")), SERVER) == arp.UNSPECIFIED


def test_question_for_an_ipv6_address_is_never_asked_from_none() -> None:
    """A station that has just come up would give its address up."""
    assert asked_from(link(IPv6Interface("2001:db8:1::10/64")), SERVER6) == IPv6Address("2001:db8:1::10")
    assert resolution.can_ask(link(IPv6Interface("2001:db8:1::10/64")), SERVER6)
    assert not resolution.can_ask(link(IPv4Interface("192.0.2.10/24")), SERVER6)
    assert resolution.can_ask(link(), SERVER)


def test_announcement_and_probe_speak_the_addresss_own_language() -> None:
    assert resolution.announcement(link(), SERVER) == arp.announcement(mac=OURS, address=SERVER)
    assert resolution.announcement(link(), SERVER6) == ndp.announcement(mac=OURS, address=SERVER6)
    assert resolution.probe(link(), SERVER) == arp.probe(mac=OURS, address=SERVER)
    assert resolution.probe(link(), SERVER6) == ndp.probe(mac=OURS, address=SERVER6)
