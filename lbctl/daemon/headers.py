"""What the headers of a packet say, for people: addresses, ports, flags. Pure; never raises, whatever the bytes.

Read are Ethernet with up to two tags, ARP (RFC 826), IPv4 (RFC 791), IPv6 with its extension headers (RFC 8200), TCP, UDP and
the types of ICMP messages; nothing behind them.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address

from lbctl.core.model import Address

_ETHER_TYPE_AT = 12
_TAGS = (0x8100, 0x88A8, 0x9100)
_IPV4, _IPV6, _ARP = 0x0800, 0x86DD, 0x0806
_OPTIONS6 = (0, 43, 60)
"""Hop-by-hop, routing and destination options, whose length is told in words of 8 bytes without the first."""
_FRAGMENT6, _AUTHENTICATION6 = 44, 51
_NAMES = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmpv6"}
_FLAGS = "FSRP.UEW"
"""As tcpdump writes them, from the lowest bit on."""
_ICMP4 = {
    0: "echo reply",
    3: "unreachable",
    5: "redirect",
    8: "echo request",
    11: "time exceeded",
    12: "parameter problem",
}
_ICMP6 = {
    1: "unreachable",
    2: "packet too big",
    3: "time exceeded",
    4: "parameter problem",
    128: "echo request",
    129: "echo reply",
    135: "neighbour solicitation",
    136: "neighbour advertisement",
}
_TRUNCATED = "truncated"


@dataclass(frozen=True, slots=True, kw_only=True)
class Packet:
    """``details`` are TCP flags in brackets, the type of an ICMP message, and the like; ``protocol`` may be a number."""

    protocol: str
    source: Address | None = None
    source_port: int | None = None
    destination: Address | None = None
    destination_port: int | None = None
    details: str = ""


def decode(headers: bytes) -> Packet:
    """The headers of a frame, from the destination MAC on; as far as they go."""
    try:
        at, kind = _behind_tags(headers)
        if kind == _IPV4:
            return _ipv4(headers, at)
        if kind == _IPV6:
            return _ipv6(headers, at)
        return _arp(headers, at) if kind == _ARP else Packet(protocol=f"ethertype 0x{kind:04x}")
    except struct.error:
        return Packet(protocol="frame", details=_TRUNCATED)


def _behind_tags(headers: bytes) -> tuple[int, int]:
    """Where the network header begins, and of which kind it is."""
    at = _ETHER_TYPE_AT
    (kind,) = struct.unpack_from(">H", headers, at)
    while kind in _TAGS and at < _ETHER_TYPE_AT + 8:
        at += 4
        (kind,) = struct.unpack_from(">H", headers, at)
    return at + 2, kind


def _arp(headers: bytes, at: int) -> Packet:
    operation, mac, sender, _, target = struct.unpack_from(">H6s4s6s4s", headers, at + 6)
    words = {1: "request", 2: "reply"}.get(operation, f"operation {operation}")
    return Packet(
        protocol="arp",
        source=IPv4Address(sender),
        destination=IPv4Address(target),
        details=f"{words} from {mac.hex(':')}",
    )


def _ipv4(headers: bytes, at: int) -> Packet:
    first, fragment, protocol, source, destination = struct.unpack_from(">B5xHxB2x4s4s", headers, at)
    packet = Packet(protocol=_name(protocol), source=IPv4Address(source), destination=IPv4Address(destination))
    return _transport(packet, headers, at + 4 * (first & 15), protocol, offset=8 * (fragment & 0x1FFF))


def _ipv6(headers: bytes, at: int) -> Packet:
    protocol, source, destination = struct.unpack_from(">6xBx16s16s", headers, at)
    packet = Packet(protocol=_name(protocol), source=IPv6Address(source), destination=IPv6Address(destination))
    at, offset = at + 40, 0
    try:
        while protocol in (*_OPTIONS6, _FRAGMENT6, _AUTHENTICATION6) and not offset:
            following, words, fragment = struct.unpack_from(">BBH", headers, at)
            offset = fragment & 0xFFF8 if protocol == _FRAGMENT6 else 0
            at += _extension_length(protocol, words)
            protocol = following
    except struct.error:
        return replace(packet, details=_TRUNCATED)
    return _transport(replace(packet, protocol=_name(protocol)), headers, at, protocol, offset=offset)


def _extension_length(protocol: int, words: int) -> int:
    if protocol == _FRAGMENT6:
        return 8
    return 4 * (words + 2) if protocol == _AUTHENTICATION6 else 8 * (words + 1)


def _transport(packet: Packet, headers: bytes, at: int, protocol: int, *, offset: int) -> Packet:
    """With what the transport header says; ``offset`` (bytes) of a later fragment, which has none."""
    if offset:
        return replace(packet, details=f"fragment from byte {offset}")
    try:
        if protocol in (6, 17):
            source_port, destination_port = struct.unpack_from(">HH", headers, at)
            packet = replace(packet, source_port=source_port, destination_port=destination_port)
        return replace(packet, details=_details(headers, at, protocol))
    except struct.error:
        return replace(packet, details=_TRUNCATED)


def _details(headers: bytes, at: int, protocol: int) -> str:
    if protocol == 6:
        (bits,) = struct.unpack_from(">B", headers, at + 13)
        return f"[{''.join(letter for bit, letter in enumerate(_FLAGS) if bits >> bit & 1) or 'none'}]"
    if protocol in (1, 58):
        kind, code = struct.unpack_from(">BB", headers, at)
        word = (_ICMP4 if protocol == 1 else _ICMP6).get(kind, f"type {kind}")
        return f"{word}, code {code}" if code else word
    return ""


def _name(protocol: int) -> str:
    return _NAMES.get(protocol, f"protocol {protocol}")
