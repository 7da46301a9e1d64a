"""What people are told of a packet's headers."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbctl.daemon.headers import Packet, decode

CLIENT, VIP = IPv4Address("192.0.2.50"), IPv4Address("192.0.2.100")
CLIENT6, VIP6 = IPv6Address("2001:db8::50"), IPv6Address("2001:db8::100")
MACS = bytes(6) + bytes.fromhex("020000000032")


def tagged(kind: int, *tags: int) -> bytes:
    """Both MACs, tags (the outer one of 802.1ad if there are two), and the type of what follows."""
    types = [0x88A8, 0x8100] if len(tags) == 2 else [0x8100] * len(tags)
    words = b"".join(struct.pack(">HH", each, tag) for each, tag in zip(types, tags, strict=True))
    return MACS + words + struct.pack(">H", kind)


def ipv4(protocol: int, rest: bytes, *, fragment: int = 0, options: bytes = b"", tags: tuple[int, ...] = ()) -> bytes:
    first = 0x45 + len(options) // 4
    header = struct.pack(">BBHHHBBH4s4s", first, 0, 0, 7, fragment, 64, protocol, 0, CLIENT.packed, VIP.packed)
    return tagged(0x0800, *tags) + header + options + rest


def ipv6(protocol: int, rest: bytes) -> bytes:
    header = struct.pack(">IHBB16s16s", 6 << 28, len(rest), protocol, 64, CLIENT6.packed, VIP6.packed)
    return tagged(0x86DD) + header + rest


def tcp(flags: int) -> bytes:
    return struct.pack(">HHIIBBHHH", 41022, 104, 1, 2, 0x50, flags, 0, 0, 0)


def found4(protocol: str, details: str = "", *, source_port: int | None = 41022, port: int | None = 104) -> Packet:
    return Packet(
        protocol=protocol,
        source=CLIENT,
        source_port=source_port,
        destination=VIP,
        destination_port=port,
        details=details,
    )


def found6(protocol: str, details: str = "", *, has_ports: bool = False) -> Packet:
    ports = (41022, 104) if has_ports else (None, None)
    return Packet(
        protocol=protocol,
        source=CLIENT6,
        source_port=ports[0],
        destination=VIP6,
        destination_port=ports[1],
        details=details,
    )


UDP = struct.pack(">HHHH", 41022, 104, 8, 0)
NEIGHBOUR = struct.pack(">BBHI", 135, 0, 0, 0)
AUTHENTICATION = struct.pack(">BBHII", 6, 2, 0, 0, 0) + bytes(4)


@pytest.mark.parametrize(
    ("frame", "packet"),
    [
        (ipv4(6, tcp(0x02)), found4("tcp", "[S]")),
        (ipv4(6, tcp(0x18), tags=(20,)), found4("tcp", "[P.]")),
        (ipv4(6, tcp(0x11), tags=(100, 20)), found4("tcp", "[F.]")),
        (ipv4(6, tcp(0x00), options=bytes(12)), found4("tcp", "[none]")),
        (ipv4(6, tcp(0xFF)), found4("tcp", "[FSRP.UEW]")),
        (ipv4(17, UDP), found4("udp")),
        (ipv4(1, b"\x08\0"), found4("icmp", "echo request", source_port=None, port=None)),
        (ipv4(1, b"\x03\x04"), found4("icmp", "unreachable, code 4", source_port=None, port=None)),
        (ipv4(1, b"\x2a\0"), found4("icmp", "type 42", source_port=None, port=None)),
        (ipv4(47, b""), found4("protocol 47", source_port=None, port=None)),
        (ipv4(6, b"data", fragment=185), found4("tcp", "fragment from byte 1480", source_port=None, port=None)),
        (ipv4(6, tcp(0x02), fragment=0x2000), found4("tcp", "[S]")),
        (ipv4(6, tcp(0x02)[:4]), found4("tcp", "truncated")),
        (ipv4(6, b"\xa0"), found4("tcp", "truncated", source_port=None, port=None)),
        (ipv6(6, tcp(0x12)), found6("tcp", "[S.]", has_ports=True)),
        (ipv6(0, b"\x06\0" + bytes(6) + tcp(0x04)), found6("tcp", "[R]", has_ports=True)),
        (ipv6(44, b"\x11\0\0\x01" + bytes(4) + UDP), found6("udp", has_ports=True)),
        (ipv6(44, b"\x11\0\x05\xa8" + bytes(4) + b"data"), found6("udp", "fragment from byte 1448")),
        (ipv6(51, AUTHENTICATION + tcp(0x02)), found6("tcp", "[S]", has_ports=True)),
        (ipv6(58, NEIGHBOUR), found6("icmpv6", "neighbour solicitation")),
        (ipv6(43, b"\x06"), found6("protocol 43", "truncated")),
        (tagged(0x88CC), Packet(protocol="ethertype 0x88cc")),
        (b"", Packet(protocol="frame", details="truncated")),
    ],
)
def test_headers_are_told_as_far_as_they_go(frame: bytes, packet: Packet) -> None:
    assert decode(frame) == packet


def test_headers_of_arp_name_both_stations() -> None:
    rest = struct.pack(">HHBBH6s4s6s4s", 1, 0x0800, 6, 4, 1, MACS[6:], CLIENT.packed, bytes(6), VIP.packed)
    assert decode(tagged(0x0806) + rest) == Packet(
        protocol="arp", source=CLIENT, destination=VIP, details="request from 02:00:00:00:00:32"
    )


@given(st.binary(max_size=128), st.sampled_from([0x0800, 0x86DD, 0x0806, 0x8100, 0x88A8]))
def test_headers_of_anything_are_told_without_an_error(rest: bytes, kind: int) -> None:
    decode(MACS + struct.pack(">H", kind) + rest)
    decode(rest)


@given(st.integers(0, 80), st.booleans())
def test_headers_cut_anywhere_tell_no_more_than_whole_ones(length: int, is_ipv6: bool) -> None:
    whole = ipv6(0, b"\x06\0" + bytes(6) + tcp(0x02)) if is_ipv6 else ipv4(6, tcp(0x02))
    cut, complete = decode(whole[:length]), decode(whole)
    assert cut.source in (None, complete.source)
    assert cut.destination_port in (None, complete.destination_port)
    assert cut == complete or cut.details == "truncated"
