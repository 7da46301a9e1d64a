"""ARP frames: the bytes of the RFCs, and what a claim is."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbctl.network import arp
from lbctl.network.arp import ArpPacket

OURS = bytes.fromhex("02000000000a")
THEIRS = bytes.fromhex("02000000000b")
VIP = IPv4Address("192.0.2.100")
SERVER = IPv4Address("192.0.2.11")

macs = st.binary(min_size=6, max_size=6)
addresses = st.integers(0, 2**32 - 1).map(IPv4Address)
packets = st.builds(
    ArpPacket,
    operation=st.integers(0, 0xFFFF),
    sender_mac=macs,
    sender=addresses,
    target=addresses,
    target_mac=macs,
)


def test_announcement_is_a_broadcast_request_for_the_senders_own_address() -> None:
    assert arp.announcement(mac=OURS, address=VIP) == bytes.fromhex(
        "ffffffffffff 02000000000a 0806"
        "0001 0800 06 04 0001"
        "02000000000a c0000264"
        "000000000000 c0000264"
    )  # fmt: skip


def test_probe_claims_no_address() -> None:
    packet = arp.parse(arp.probe(mac=OURS, address=VIP))
    assert packet == ArpPacket(operation=arp.REQUEST, sender_mac=OURS, sender=IPv4Address("0.0.0.0"), target=VIP)


def test_request_to_a_known_mac_is_unicast() -> None:
    frame = arp.request(mac=OURS, sender=VIP, target=SERVER, to=THEIRS)
    assert frame[:6] == THEIRS
    assert frame[6:12] == OURS


@given(packets, st.binary(max_size=18))
def test_parse_of_a_built_frame_gives_the_packet_back_whatever_the_padding(packet: ArpPacket, padding: bytes) -> None:
    assert arp.parse(arp.build(packet) + padding) == packet


@given(st.binary(max_size=80))
def test_parse_of_anything_never_raises(frame: bytes) -> None:
    parsed = arp.parse(frame)
    assert parsed is None or arp.build(parsed, to=frame[:6])[14:] == frame[14:42]


@pytest.mark.parametrize(
    ("offset", "value"),
    [(12, b"\x08\x00"), (12, b"\x81\x00"), (14, b"\x00\x06"), (16, b"\x86\xdd"), (18, b"\x08"), (19, b"\x10")],
    ids=["ipv4", "tagged", "hardware type", "protocol type", "hardware length", "protocol length"],
)
def test_parse_of_other_than_ipv4_over_ethernet_is_none(offset: int, value: bytes) -> None:
    frame = bytearray(arp.announcement(mac=OURS, address=VIP))
    frame[offset : offset + len(value)] = value
    assert arp.parse(bytes(frame)) is None


def test_parse_of_a_frame_one_byte_short_is_none() -> None:
    assert arp.parse(arp.announcement(mac=OURS, address=VIP)[:-1]) is None


@pytest.mark.parametrize(
    ("operation", "sender", "target", "expected"),
    [
        (arp.REPLY, VIP, SERVER, True),
        (arp.REQUEST, VIP, SERVER, True),
        (arp.REQUEST, VIP, VIP, True),
        (arp.REQUEST, arp.UNSPECIFIED, VIP, True),
        (arp.REQUEST, SERVER, VIP, False),
        (arp.REPLY, SERVER, VIP, False),
        (arp.REPLY, arp.UNSPECIFIED, VIP, False),
        (arp.REQUEST, arp.UNSPECIFIED, SERVER, False),
    ],
    ids=["reply", "request", "announcement", "rival probe", "asks for it", "told of it", "nonsense", "other probe"],
)
def test_claims_holds_for_users_and_rivals_only(
    operation: int, sender: IPv4Address, target: IPv4Address, expected: bool
) -> None:
    assert ArpPacket(operation=operation, sender_mac=THEIRS, sender=sender, target=target).claims(VIP) is expected


def test_answered_is_the_address_of_a_reply_only() -> None:
    reply = ArpPacket(operation=arp.REPLY, sender_mac=THEIRS, sender=SERVER, target=VIP)
    assert (reply.answered, reply.station) == (SERVER, THEIRS)
    assert ArpPacket(operation=arp.REQUEST, sender_mac=THEIRS, sender=SERVER, target=VIP).answered is None
