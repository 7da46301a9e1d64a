"""Neighbour discovery frames: the bytes of the RFCs, as scapy reads and writes them, and what a claim is."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet6 import (
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    ICMPv6NDOptUnknown,
    IPv6,
)
from scapy.layers.l2 import Ether

from lbctl.network import ndp
from lbctl.network.ndp import NdpPacket

OURS = bytes.fromhex("02000000000a")
THEIRS = bytes.fromhex("02000000000b")
DIRECTOR = IPv6Address("2001:db8::10")
VIP = IPv6Address("2001:db8::1:2345")
SERVER = IPv6Address("2001:db8::ab:cdef")
GROUP = IPv6Address("ff02::1:ff01:2345")

macs = st.binary(min_size=6, max_size=6)
addresses = st.ip_addresses(v=6)
packets = st.builds(
    NdpPacket,
    kind=st.sampled_from([ndp.SOLICITATION, ndp.ADVERTISEMENT]),
    sender_mac=macs,
    sender=addresses,
    recipient=addresses,
    target=addresses.filter(lambda address: not address.is_multicast),
    mac=st.none() | macs,
    flags=st.integers(0, 0xFFFFFFFF),
)


def test_solicited_node_group_and_its_mac_are_those_of_the_rfcs() -> None:
    """The example of RFC 4291 section 2.7.1, and the mapping of RFC 2464 section 7."""
    group = ndp.solicited_node(IPv6Address("4037::01:800:200E:8C6C"))
    assert group == IPv6Address("FF02::1:FF0E:8C6C")
    assert ndp.multicast_mac(group) == bytes.fromhex("3333ff0e8c6c")


def test_announcement_tells_all_nodes_to_override_what_they_know() -> None:
    written = (
        Ether(dst="33:33:00:00:00:01", src="02:00:00:00:00:0a")
        / IPv6(src=str(VIP), dst="ff02::1", hlim=255)
        / ICMPv6ND_NA(R=0, S=0, O=1, tgt=str(VIP))
        / ICMPv6NDOptDstLLAddr(lladdr="02:00:00:00:00:0a")
    )
    assert ndp.announcement(mac=OURS, address=VIP) == bytes(written)


def test_probe_claims_no_address_and_gives_no_mac() -> None:
    """RFC 4861 section 7.1.1 has a solicitation from the unspecified address discarded if it carries an option."""
    written = (
        Ether(dst="33:33:ff:01:23:45", src="02:00:00:00:00:0a")
        / IPv6(src="::", dst=str(GROUP), hlim=255)
        / ICMPv6ND_NS(tgt=str(VIP))
    )
    assert ndp.probe(mac=OURS, address=VIP) == bytes(written)


@pytest.mark.parametrize(
    ("to", "frame_to", "packet_to"),
    [(None, "33:33:ff:01:23:45", GROUP), (THEIRS, "02:00:00:00:00:0b", VIP)],
    ids=["everybody", "the known one"],
)
def test_request_goes_to_the_group_or_to_the_known_mac(to: bytes | None, frame_to: str, packet_to: IPv6Address) -> None:
    written = (
        Ether(dst=frame_to, src="02:00:00:00:00:0a")
        / IPv6(src=str(DIRECTOR), dst=str(packet_to), hlim=255)
        / ICMPv6ND_NS(tgt=str(VIP))
        / ICMPv6NDOptSrcLLAddr(lladdr="02:00:00:00:00:0a")
    )
    assert ndp.request(mac=OURS, sender=DIRECTOR, target=VIP, to=to) == bytes(written)


@given(packets, macs, st.binary(max_size=18))
def test_parse_of_a_built_frame_gives_the_packet_back_whatever_the_padding(
    packet: NdpPacket, to: bytes, padding: bytes
) -> None:
    assert ndp.parse(ndp.build(packet, to=to) + padding) == packet


@given(st.binary(max_size=120))
def test_parse_of_anything_never_raises(frame: bytes) -> None:
    assert ndp.parse(frame) is None


@given(packets, st.data())
def test_parse_of_a_damaged_frame_never_raises_and_never_reads_another_address(
    packet: NdpPacket, data: st.DataObject
) -> None:
    """One wrong octet in what the checksum covers is always found."""
    frame = bytearray(ndp.build(packet, to=OURS))
    place = data.draw(st.integers(0, len(frame) - 1))
    frame[place] ^= data.draw(st.integers(1, 255))
    parsed = ndp.parse(bytes(frame))
    assert parsed is None or replace(parsed, sender_mac=packet.sender_mac) == packet


@given(packets, st.data())
def test_parse_of_a_truncated_frame_is_none(packet: NdpPacket, data: st.DataObject) -> None:
    frame = ndp.build(packet, to=OURS)
    assert ndp.parse(frame[: data.draw(st.integers(0, len(frame) - 1))]) is None


def advertisement(*options: object, hlim: int = 255, code: int = 0, target: str = str(VIP)) -> bytes:
    """As scapy writes it, with a right checksum."""
    message = IPv6(src=str(VIP), dst="ff02::1", hlim=hlim) / ICMPv6ND_NA(code=code, tgt=target)
    for option in options:
        message = message / option
    return bytes(Ether(dst="33:33:00:00:00:01", src="02:00:00:00:00:0b") / message)


def test_parse_of_an_advertisement_without_option_takes_the_frames_own_mac() -> None:
    """A station that is asked by unicast leaves the option out."""
    packet = ndp.parse(advertisement())
    assert packet is not None
    assert (packet.mac, packet.station, packet.answered) == (None, THEIRS, VIP)


def test_parse_skips_options_that_are_unknown() -> None:
    """Such as the nonce of RFC 7527."""
    nonce = ICMPv6NDOptUnknown(type=14, len=1, data=b"noncen")
    packet = ndp.parse(advertisement(nonce, ICMPv6NDOptDstLLAddr(lladdr="02:00:00:00:00:0c")))
    assert packet is not None
    assert packet.station == bytes.fromhex("02000000000c")


@pytest.mark.parametrize(
    "frame",
    [
        advertisement(hlim=254),
        advertisement(code=1),
        advertisement(target="ff02::1"),
        advertisement(ICMPv6NDOptUnknown(type=14, len=0, data=b"noncen")),
        advertisement(ICMPv6NDOptUnknown(type=14, len=2, data=b"noncen")),
        bytes(Ether() / IPv6(src=str(VIP), hlim=255) / ICMPv6ND_NA(type=134, tgt=str(VIP))),
    ],
    ids=["from afar", "code", "multicast target", "option of no length", "option too long", "router advertisement"],
)
def test_parse_of_what_rfc_4861_has_discarded_is_none(frame: bytes) -> None:
    assert ndp.parse(advertisement()) is not None
    assert ndp.parse(frame) is None


@pytest.mark.parametrize(
    ("kind", "sender", "target", "expected"),
    [
        (ndp.ADVERTISEMENT, VIP, VIP, True),
        (ndp.ADVERTISEMENT, SERVER, VIP, True),
        (ndp.SOLICITATION, VIP, SERVER, True),
        (ndp.SOLICITATION, ndp.UNSPECIFIED, VIP, True),
        (ndp.SOLICITATION, SERVER, VIP, False),
        (ndp.SOLICITATION, ndp.UNSPECIFIED, SERVER, False),
        (ndp.ADVERTISEMENT, SERVER, SERVER, False),
    ],
    ids=["owner", "from another of its addresses", "asks", "rival", "asks for it", "rival for another", "of another"],
)
def test_claims_holds_for_users_and_rivals_only(
    kind: int, sender: IPv6Address, target: IPv6Address, expected: bool
) -> None:
    packet = NdpPacket(kind=kind, sender_mac=THEIRS, sender=sender, recipient=ndp.ALL_NODES, target=target)
    assert packet.claims(VIP) is expected
